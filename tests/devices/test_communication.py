"""What devices tell each other inside a visit: sums of a few numbers, for mini-batches of any size.

Run as a program, on eight CPU devices: compiles the sweep of a convolution's kernel for
mini-batches of each size given, and prints what its programs communicate.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "experiments" / "benchmarks"
# Divides no other size of the network.
MARK = 13
DATA, CANDIDATE, CHANNELS, CANDIDATES = 4, 2, 3, 4


@pytest.fixture(scope="module")
def communicated():
    """By size of the mini-batch, what a visit on a mesh of data=4, candidate=2 communicates."""
    paths = os.pathsep.join([str(BENCHMARKS), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, __file__, str(4 * MARK), str(12 * MARK)]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": paths}, stdout=subprocess.PIPE)
    assert done.returncode == 0
    return json.loads(done.stdout)


def test_a_visit_sums_a_few_numbers(communicated):
    for levels in communicated.values():
        visit = levels["visit"]
        assert any("all-reduce over data" in kind for kind in visit["kinds"])
        assert any("over candidate" in kind for kind in visit["kinds"])
        # At most the statistics of every channel, or the losses, of a device's candidates.
        assert visit["largest"][0] <= 4 * CANDIDATES * CHANNELS
        assert visit["sent"] < 500


def test_no_visit_communicates_more_for_a_larger_minibatch(communicated):
    small, large = communicated.values()
    assert not small["visit"]["grow_with_batch"]
    assert small["visit"] == large["visit"]


def test_groups_of_devices_are_read_however_they_are_written(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    from _collectives import groups_of

    rows, columns = ((0, 1), (2, 3), (4, 5), (6, 7)), ((0, 2, 4, 6), (1, 3, 5, 7))
    written = {
        "replica_groups={{0,1},{2,3},{4,5},{6,7}}, to_apply=%add": rows,
        "replica_groups=[4,2]<=[8], dimensions={0}": rows,
        "replica_groups=mesh['a'=4,'b'=2] {'b'}, to_apply=%add": rows,
        "replica_groups=mesh['a'=8] {'a':(4)2}, to_apply=%add": rows,
        "replica_groups={{0,2,4,6},{1,3,5,7}}": columns,
        "replica_groups=[2,4]<=[4,2]T(1,0), dimensions={1}": columns,
        "replica_groups=mesh['a'=2,'b'=4], device_ids=([4,2]T(1,0)) {'b'}, x={}": columns,
        "replica_groups=mesh['a'=4,'b'=2] {'a'}, to_apply=%add": columns,
        "channel_id=1, replica_groups={}, to_apply=%add": (tuple(range(8)),),
        "source_target_pairs={{1,0},{3,2}}, metadata={}": ((1, 0), (3, 2)),
    }
    for text, groups in written.items():
        assert groups_of(text, 8) == groups, text


def main(sizes):
    import jax

    jax.config.update("jax_num_cpu_devices", DATA * CANDIDATE)
    import jax.numpy as jnp
    from _collectives import volume

    from rso_jax import presets, rso
    from rso_jax.mesh import make_mesh, place

    key, mesh = jax.random.key(0), make_mesh(DATA, CANDIDATE)

    def loss_fn(kernels, batch):
        x = batch["x"]
        for kernel in kernels:
            x = jax.lax.conv_general_dilated(
                x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
            )
            mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
            x = jax.nn.relu((x - mean) * jax.lax.rsqrt(variance + 1e-5))
        return jnp.sum((x.max((1, 2)) - batch["y"]) ** 2)

    settings = presets.authors_code(3) | {"candidate_axis": "vmap"}
    search = rso(loss_fn, mesh=mesh, **settings)
    state = search.init(key, [jnp.ones((2, 2, CHANNELS, CHANNELS))] * 3)
    found = {}
    for size in sizes:
        batches = {"x": jnp.zeros((1, size, 4, 4, CHANNELS)), "y": jnp.zeros((1, size, CHANNELS))}
        batches = place(mesh, batches, None, "data")
        stage = next(s for s in search.stages(key, state, batches) if s.name == "0")
        prepared = search.prepare(key, state, stage, batches)
        sweep = jax.jit(lambda k, s, p, a=stage: search.advance(k, s, a, p, 0, a.visits))
        hlo = sweep.lower(key, state, prepared).compile().as_text()
        levels = "sweep", "column", "segment", "visit"
        found[size] = volume(hlo, dict(mesh.shape), levels, MARK)
    print(json.dumps(found))


if __name__ == "__main__":
    main(list(map(int, sys.argv[1:])))
