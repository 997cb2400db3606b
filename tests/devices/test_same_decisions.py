"""On every mesh a cycle decides as on one device, batch statistics and losses included."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cycles import GROUPS

HERE = Path(__file__).parent


@pytest.mark.parametrize("group", GROUPS)
def test_cycles_on_meshes(group, tmp_path):
    file = tmp_path / "found.npz"
    paths = os.pathsep.join([str(HERE.parent / "search"), os.environ.get("PYTHONPATH", "")])
    subprocess.run(
        [sys.executable, HERE / "cycles.py", group, file],
        check=True,
        env=os.environ | {"PYTHONPATH": paths},
    )
    with np.load(file) as arrays:
        found = dict(arrays)
    for method, meshes in GROUPS[group].items():
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
