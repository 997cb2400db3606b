"""Small runs, and reading their folders as a user without rso_jax would."""

import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np

PROGRAM = "import sys; from rso_jax.cli import main; sys.exit(main())"
IN_TURN = """
import contextlib, io, json, sys
from rso_jax.cli import main
found = []
for words in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        with contextlib.redirect_stderr(io.StringIO()) as err:
            status = main(words)
    found.append({"status": status, "out": out.getvalue(), "err": err.getvalue()})
print(json.dumps(found))
"""


def arrays(seed=0):
    """Three clouds of points in 12 dimensions."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(3, 12))
    found = {}
    for split, n in (("train", 60), ("test", 30)):
        labels = rng.integers(0, 3, n)
        noise = rng.normal(size=(n, 12))
        found |= {
            f"x_{split}": (centres[labels] + noise).astype(np.float32),
            f"y_{split}": labels,
        }
    return found


def sgd_arguments(points, folder, *more):
    settings = ["--dataset", str(points), "--optimizer", "sgd", "--hidden", "5"]
    schedule = ["--cycles", "3", "--batch-size", "20"]
    return ["train", *settings, *schedule, "--out", str(folder), *more]


def start(*arguments, before=""):
    """The program in a process of its own."""
    return _start(before + PROGRAM, arguments)


def run_in_turn(*commands):
    """Run the program with each command in turn, in one process; ``(status, out, err)`` of each."""
    process = _start(IN_TURN, [json.dumps([[str(word) for word in words] for words in commands])])
    out, errors = process.communicate()
    assert process.returncode == 0, errors
    return [SimpleNamespace(**found) for found in json.loads(out.splitlines()[-1])]


def _start(program, arguments):
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def metrics_of(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def content_of(folder):
    """Every file of a folder, to see that nothing changed."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_same_run(found, expected):
    """The same parameters, bit for bit, and the same metrics but for the time they took."""
    with np.load(found / "params.npz") as mine, np.load(expected / "params.npz") as theirs:
        assert sorted(mine.files) == sorted(theirs.files)
        for name in theirs.files:
            assert mine[name].tobytes() == theirs[name].tobytes(), name

    def timeless(folder):
        return [{k: v for k, v in line.items() if k != "seconds"} for line in metrics_of(folder)]

    assert timeless(found) == timeless(expected)
