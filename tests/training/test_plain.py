"""Files hold arrays that numpy reads alone, and give back the same values in the same types."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rso_jax import UserError
from rso_jax.training import run_folder
from rso_jax.training.checkpoint import load_checkpoint, save_checkpoint

# Types that hold fractions as small as those below, and those that hold whole numbers.
FLOATS = ["bfloat16", "float16", "float32", "float8_e4m3fn", "float8_e5m2", "float4_e2m1fn"]
INTEGERS = ["int2", "uint2", "int4", "uint4", "int8", "uint8", "int16", "int32", "uint32"]


def every_type():
    floats = {name: jnp.asarray([[-1.5, 0, 0.5], [1, 2, 3]], name) for name in FLOATS}
    integers = {name: jnp.asarray([0, 1, 1], name) for name in INTEGERS}
    return (
        floats
        | integers
        | {
            "bool": jnp.asarray([True, False]),
            "complex": jnp.asarray([1 + 2j], jnp.complex64),
            "scalar": jnp.asarray(0.1, jnp.bfloat16),
            "infinite": jnp.asarray([jnp.inf, -jnp.inf, jnp.nan], jnp.bfloat16),
            "empty": jnp.zeros((0, 3), jnp.bfloat16),
            "key": jax.random.key(5),
            "keys": jax.random.split(jax.random.key(5, impl="rbg"), (2, 3)),
        }
    )


def assert_equal(found, expected):
    assert found.dtype == expected.dtype and found.shape == expected.shape
    if jnp.issubdtype(expected.dtype, jax.dtypes.prng_key):
        found, expected = map(jax.random.key_data, (found, expected))
    assert np.asarray(found).tobytes() == np.asarray(expected).tobytes()


def test_params_of_every_type_are_read_by_numpy_alone_and_come_back(tmp_path):
    params, statistics = every_type(), {"batch_stats": every_type()}
    run_folder.write_params(tmp_path, params, statistics)
    with np.load(tmp_path / "params.npz", allow_pickle=False) as file:
        stored = {name: file[name] for name in file.files}
    assert stored.keys() == {f"{c}/{n}" for c in ("params", "batch_stats") for n in params}
    assert all(a.dtype.isbuiltin == 1 and a.dtype.kind in "biufc" for a in stored.values())
    assert stored["params/bfloat16"].dtype == np.float32
    assert stored["params/float16"].dtype == np.float16
    for like in (params, jax.eval_shape(lambda: params)):
        found, also = run_folder.read_params(tmp_path / "params.npz", like, statistics)
        jax.tree.map(assert_equal, (found, also), (params, statistics))


def test_checkpoints_hold_every_type(tmp_path):
    save_checkpoint(tmp_path, 1, every_type(), {})
    _, found, _ = load_checkpoint(tmp_path, every_type(), print)
    jax.tree.map(assert_equal, found, every_type())


@pytest.mark.parametrize(
    ("stored", "network"),
    [
        (jnp.asarray([0.1]), jnp.zeros(1, jnp.bfloat16)),
        (jnp.asarray([300]), jnp.zeros(1, jnp.int8)),
        (jnp.asarray([0.5]), jnp.zeros(1, jnp.int32)),
        (jnp.asarray([1]), jnp.zeros(1)),
        (jnp.asarray([0.5, 1]), jax.random.key(0)),
    ],
)
def test_a_type_that_does_not_hold_the_weights_is_refused(stored, network, tmp_path):
    run_folder.write_params(tmp_path, {"w": stored}, {})
    with pytest.raises(UserError, match=r"params/w is .*in the network"):
        run_folder.read_params(tmp_path / "params.npz", {"w": network}, {})


def test_a_wider_type_holds_them(tmp_path):
    run_folder.write_params(tmp_path, {"w": jnp.asarray([0.1], jnp.bfloat16)}, {})
    found, _ = run_folder.read_params(tmp_path / "params.npz", {"w": jnp.zeros(1)}, {})
    assert found["w"].dtype == np.float32 and found["w"] == jnp.asarray(0.1, jnp.bfloat16)


@pytest.mark.parametrize("leaf", ["text", print, object()])
def test_what_is_no_array_is_not_written(leaf, tmp_path):
    with pytest.raises(UserError, match=r"params/odd is a .*only arrays"):
        run_folder.write_params(tmp_path, {"odd": leaf}, {})
    assert not list(tmp_path.iterdir())


def test_one_name_for_two_arrays_is_refused(tmp_path):
    with pytest.raises(UserError, match="params/w is the name of a parameter and of a statistic"):
        run_folder.write_params(tmp_path, {"w": jnp.zeros(1)}, {"params": {"w": jnp.zeros(1)}})
