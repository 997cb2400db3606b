"""On every mesh a cycle decides as on one device, batch statistics and losses included."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cycles import GROUPS, IN_PROCESSES

from rso_jax.search.order import visiting_order

HERE = Path(__file__).parent


def start(*arguments):
    paths = os.pathsep.join([str(HERE.parent / "search"), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, HERE / "cycles.py", *map(str, arguments)]
    return subprocess.Popen(command, env=os.environ | {"PYTHONPATH": paths})


def assert_same(file, methods):
    with np.load(file) as arrays:
        found = dict(arrays)
    for method, meshes in methods.items():
        start = f"{method}/none/"
        expected = {k.removeprefix(start): v for k, v in found.items() if k.startswith(start)}
        assert any("params" in name for name in expected)
        for mesh in meshes:
            for name, theirs in expected.items():
                key = f"{method}/{mesh}/{name}"
                if name.startswith(("choices", "evaluations")):
                    np.testing.assert_array_equal(found[key], theirs, err_msg=key)
                else:
                    np.testing.assert_allclose(found[key], theirs, 1e-9, 1e-9, err_msg=key)


@pytest.mark.parametrize("group", [group for group in GROUPS if group != "float32"])
def test_cycles_on_meshes(group, tmp_path):
    file = tmp_path / "found.npz"
    assert start(group, file).wait() == 0
    assert_same(file, GROUPS[group])


def test_in_single_precision_only_near_ties_differ(tmp_path):
    file = tmp_path / "found.npz"
    assert start("float32", file).wait() == 0
    with np.load(file) as arrays:
        found = dict(arrays)
    start_of = "authors_code/none/choices/"
    # In the order of the sweeps, and of the visits in each.
    for name in [key.removeprefix(start_of) for key in found if key.startswith(start_of)]:
        order = np.asarray(visiting_order(found[start_of + name].shape))
        choices, losses = (
            [found[f"authors_code/{mesh}/{kind}/{name}"].ravel()[order] for mesh in ("none", "8x1")]
            for kind in ("choices", "losses")
        )
        differing = np.flatnonzero(choices[0] != choices[1])
        same = differing[0] if differing.size else choices[0].size
        np.testing.assert_allclose(losses[0][:same], losses[1][:same], 1e-5)
        if differing.size:  # up to here both had the same weights
            assert abs(losses[0][same] - losses[1][same]) <= 1e-5 * abs(losses[1][same])
            return  # from here on they have not


def test_cycles_in_two_processes(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{free.getsockname()[1]}"
    files = [tmp_path / f"found-{i}.npz" for i in range(2)]
    both = [start("processes", file, where, 2, i) for i, file in enumerate(files)]
    assert [process.wait() for process in both] == [0, 0]
    for file in files:
        assert_same(file, IN_PROCESSES["processes"])
