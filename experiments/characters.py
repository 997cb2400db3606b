"""Characters of a text: a small transformer by slopes without derivatives, and by gradients.

A loss for every token: a node probe moves a pre-activation at every token of every window at once.
What a matrix does to its own token's loss is learned from that loss alone (``credit="own"``); keys
and values, which work through the tokens that follow, from all of those (``"following"``). Adam
takes the steps, along slopes as along gradients: the same initial weights, the same windows, the
same rate.

The text is a file of yours; ours is Tiny Shakespeare (Karpathy, char-rnn, 1,115,394 characters),
whose last tenth only tests. ``--tune`` chooses the rate of both, for gradients, on the last tenth
of the rest.

    python experiments/characters.py --text FILE --tune
    python experiments/characters.py --text FILE --max-minutes 60
"""

import hashlib
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import optax
import tyro
from frozen import RESULTS, Names, OptionalFloat, publish, tuning_file

from rso_jax.baselines import gradient_method
from rso_jax.cli.compiled import keep_compiled_programs
from rso_jax.errors import UserError, check_name
from rso_jax.files import replace_file
from rso_jax.machine import machine
from rso_jax.method import Method
from rso_jax.networks import Transformer, cross_entropy, linen_network, loss_of
from rso_jax.slopes import probes, slopes_method
from rso_jax.tasks import Task, characters
from rso_jax.training import ConsoleReporter, stop_on_signals, train
from rso_jax.training.run_folder import CONFIG, create_run, read_config

NETWORK = {"width": 96, "heads": 4, "layers": 2, "length": 32}
MINIBATCHES = {"batch_size": 16, "batches_per_cycle": 50}
RUNS: dict[str, dict[str, Any]] = {
    "slopes": {"method": "slopes", "cycles": 8},
    "adam": {"method": "adam", "cycles": 8},
}
"""Settings by name of the run, without the rate."""
TUNED, RATES = "adam", (0.001, 0.003, 0.01)
"""Run that ``--tune`` chooses the rate for, which all have, and what it tries."""


@dataclass(frozen=True)
class Options:
    """Run what is missing of this experiment."""

    text: Path
    """Text file."""
    only: Names = ()
    """Names of the runs; all by default."""
    seed: int = 0
    max_minutes: OptionalFloat = None
    """Stop after so many minutes; the same command goes on."""
    tune: bool = False
    """Choose the learning rate, on the end of the training text, and run nothing."""


def main(options: Options) -> int:
    """Run or tune what is asked for."""
    keep_compiled_programs()
    if options.max_minutes is not None and options.max_minutes <= 0:
        raise UserError(f"--max-minutes is {options.max_minutes:g}; it must be above 0")
    if not options.text.is_file():
        raise UserError(f"--text {options.text} is no file; pass a text file")
    text = options.text.read_text()
    names = options.only or tuple(RUNS)
    for name in names:
        check_name("--only", name, RUNS)
    if options.tune:
        tune(text, options.seed)
        return 0
    for name in names:
        if stopped := run(name, text, options):
            print(f"stopped: {stopped}; the same command goes on")
            return 0
    return 0


def tune(text: str, seed: int) -> None:
    """Write what every rate comes to on the last tenth of the training text, and the best."""
    part = text[: len(text) * 9 // 10]
    cycles = RUNS[TUNED]["cycles"]
    losses = {}
    for rate in RATES:
        method, task = make(RUNS[TUNED] | {"learning_rate": rate}, part)
        (line,) = train(method, task, cycles=cycles, seed=seed, score_every=cycles).metrics
        losses[rate] = round(line["test_loss"], 4)
        print(f"{TUNED} at {rate}: {losses[rate]} nats", flush=True)
    found = {
        "what": f"{TUNED} on characters: loss on held-out training text, nats",
        "text": identity(text),
        "seed": seed,
        "grid": [
            {"settings": {"learning_rate": rate}, "cycles": cycles, "held_out_loss": loss}
            for rate, loss in losses.items()
        ],
        "chosen": {"learning_rate": min(losses, key=losses.__getitem__)},
    }
    path = tuning_file("characters", TUNED)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, json.dumps(found, indent=2) + "\n")


def chosen() -> dict[str, float]:
    """The learning rate, as a setting."""
    path = tuning_file("characters", TUNED)
    if not path.exists():
        raise UserError(f"{path} does not exist; run the same command with --tune first")
    return json.loads(path.read_text())["chosen"]


def identity(text: str) -> dict[str, Any]:
    """What tells a text from others."""
    return {"characters": len(text), "sha256": hashlib.sha256(text.encode()).hexdigest()}


def run(name: str, text: str, options: Options) -> str | None:
    """Begin a run or go on with it, and publish it once it is complete; why it stopped, if so."""
    folder, result = (
        top / "characters" / f"{name}-seed{options.seed}" for top in (Path("runs"), RESULTS)
    )
    if result.exists():
        return None
    settings = {"seed": options.seed, **NETWORK, **MINIBATCHES, **RUNS[name], **chosen()}
    config = {"settings": settings, "text": identity(text)}
    begun = (folder / CONFIG).exists()
    if begun and any(read_config(folder)[key] != value for key, value in config.items()):
        raise UserError(f"{folder} was started with other settings or another text; remove it")
    if not begun:
        create_run(folder, config | machine(), overwrite=False)
    method, task = make(settings, text)
    with stop_on_signals(options.max_minutes) as stop:
        outcome = train(
            method,
            task,
            cycles=settings["cycles"],
            seed=options.seed,
            folder=folder,
            resume=begun,
            stop=stop,
            reporter=ConsoleReporter(),
        )
    publish(folder, result)
    return outcome.stopped


def make(settings: Mapping[str, Any], text: str) -> tuple[Method, Task]:
    """The method and the task of some settings."""
    vocabulary = len(set(text))
    network = linen_network(Transformer(vocabulary=vocabulary, **NETWORK))
    task = characters(text, network, length=NETWORK["length"], **MINIBATCHES)
    steps = settings["cycles"] * MINIBATCHES["batches_per_cycle"]
    rate = optax.warmup_cosine_decay_schedule(0, settings["learning_rate"], steps // 10, steps)
    return METHODS[settings["method"]](
        partial(loss_of, network, inputs="text", labels="next"), optax.adam(rate)
    ), task


def by_slopes(loss_by: Callable[..., Any], optimizer: optax.GradientTransformation) -> Method:
    """Descent along slopes."""
    losses = loss_by(loss=partial(cross_entropy, reduction="none"))
    return slopes_method(losses, optimizer, probes_of)


def probes_of(path: str) -> probes.Probes:
    """What the slopes of a leaf are learned by."""
    works_later = path.endswith(("key/kernel", "value/kernel"))
    return probes.nodes(positions="together", credit="following" if works_later else "own")


def by_gradients(loss_by: Callable[..., Any], optimizer: optax.GradientTransformation) -> Method:
    """Descent along gradients."""
    return gradient_method(loss_by(loss=cross_entropy), optimizer)


METHODS = {"slopes": by_slopes, "adam": by_gradients}


if __name__ == "__main__":
    try:
        sys.exit(main(tyro.cli(Options, description=__doc__)))
    except UserError as error:
        sys.exit(f"error: {error}")
