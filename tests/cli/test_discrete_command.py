"""Networks that take few values, from the command line: trained by any method, resumed, refused."""

import json

import numpy as np
import pytest
from small_runs import assert_same_run

from rso_jax.networks.int8 import export_int8

BRIEFLY = ("--max-minutes", "1e-6")
METHODS = {
    "rso": ("--optimizer", "rso", "--batch-size", "20"),
    "slopes": ("--optimizer", "slopes", "--step", "adamw", "--batch-size", "20"),
    "adam": ("--optimizer", "adam", "--batch-size", "20"),
    "spsa": ("--optimizer", "spsa", "--batch-size", "20", "--population", "4"),
}


@pytest.fixture
def data(tmp_path):
    """Three kinds of small vectors."""
    rng = np.random.default_rng(0)
    found = {}
    for split, n in (("train", 40), ("test", 20)):
        labels = rng.integers(0, 3, n)
        inputs = rng.normal(size=(n, 6)) + labels[:, None]
        found |= {f"x_{split}": inputs.astype(np.float32), f"y_{split}": labels}
    np.savez(tmp_path / "vectors.npz", **found)
    return ("--dataset", tmp_path / "vectors.npz", "--hidden", "5", "--norm", "none")


def kernels_of(folder):
    with np.load(folder / "params.npz") as saved:
        return [saved[name] for name in saved if name.endswith("kernel")]


@pytest.mark.parametrize(
    ("method", "weights"), [("rso", "ternary"), ("slopes", "int8"), ("adam", "binary")]
)
def test_weights_stay_on_their_grid_and_a_resumed_run_is_the_same(
    method, weights, data, rso, tmp_path
):
    flags = (*data, *METHODS[method], "--cycles", "2", "--weights", weights)
    for name, more in (("whole", ()), ("run", BRIEFLY)):
        found = rso("train", *flags, "--out", tmp_path / name, *more)
        assert found.status == 0, found.err
    assert f"mlp, {weights} weights (" in found.out
    assert json.loads((tmp_path / "run/config.json").read_text())["settings"]["weights"] == weights
    assert rso("train", "--resume", tmp_path / "run").status == 0
    assert_same_run(tmp_path / "whole", tmp_path / "run")
    for kernel in kernels_of(tmp_path / "run"):
        values = {"binary": 2, "ternary": 3}.get(weights)
        assert values is None or len(np.unique(kernel)) <= values
    assert rso("evaluate", tmp_path / "run").status == 0


def test_networks_of_signs_and_of_eight_bits_train_by_probes_towards_a_step(data, rso, tmp_path):
    towards = (*METHODS["slopes"], "--probes", "towards", "--cycles", "2")
    found = rso("train", *data, *towards, "--activation", "sign", "--out", tmp_path / "sign")
    assert found.status == 0 and "mlp, sign activations (" in found.out
    eight = ("--activation", "int8", "--weights", "int8")
    assert rso("train", *data, *METHODS["spsa"], "--cycles", "1", *eight).status == 0
    slopes = (*METHODS["slopes"], "--eps", "0.1", "--cycles", "1", "--out", tmp_path / "int8")
    assert rso("train", *data, *slopes, *eight).status == 0
    with np.load(tmp_path / "int8/params.npz") as saved:
        layers = {
            layer: {part: saved[f"params/{layer}/{part}"] for part in ("kernel", "bias")}
            for layer in ("hidden1", "output")
        }
    assert export_int8(layers)["kernel_0"].dtype == np.int8


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--weights", "quaternary"), "weights is 'quaternary'"),
        (("--activation", "tanh"), "activation is 'tanh'"),
        (("--window", "0.5"), "of activation sign"),
        (("--weights", "binary", "--weight-decay", "0.1"), "cannot shrink"),
        (("--weights", "binary", "--proposal", "ternary"), "says itself what is tried"),
        (("--weights", "binary", "--optimizer", "slopes", "--preset", "spectral"), "steps real"),
        (("--activation", "int8", "--norm", "batch"), "activation int8 is of model mlp"),
    ],
)
def test_what_does_not_go_together_is_refused(flags, said, data, rso):
    found = rso("train", *data, *flags)
    assert found.status == 2 and said in found.err
    assert found.err.count("\n") == 1
