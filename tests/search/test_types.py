"""Types that a search keeps, and JAX's strict settings, under which it decides the same."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from searching import stage_of

from rso_jax import presets, rso, step
from rso_jax.mesh import make_mesh, place
from rso_jax.method import run_stage
from rso_jax.search import joint, minibatches
from rso_jax.search.decay import shrink
from rso_jax.search.joint import Block

KEY = jax.random.key(0)
X = jax.random.normal(KEY, (2, 6, 5))


def same_bits(one, other):
    for a, b in zip(*map(jax.tree.leaves, (one, other)), strict=True):
        assert a.dtype == b.dtype and np.asarray(a).tobytes() == np.asarray(b).tobytes()


@pytest.mark.parametrize("settings", [{}, {"block": Block("leaf", joint.accepted())}])
def test_a_number_of_python_leaves_a_bfloat16_loss_bfloat16(settings):
    params = {"w": X[0].T.astype(jnp.bfloat16), "t": 1.5, "n": 2}
    settings = settings | {"minibatches": minibatches.per_leaf}
    x = X[:1].astype(jnp.bfloat16)

    def loss(p, b):
        return jnp.mean(jnp.tanh((b @ p["w"]) * p["t"]) ** p["n"]) + p["t"] ** 2

    states = {}
    for evaluation in ("column", "full", "cached"):
        search = rso(loss, evaluation=evaluation, **settings)
        state = search.init(KEY, params)
        for cycle in range(2):
            state, info = step(search, jax.random.fold_in(KEY, cycle), state, x)
        assert info.loss.dtype == jnp.bfloat16
        assert state.params["t"].weak_type and state.params["n"].weak_type
        assert not state.params["w"].weak_type
        # The user's loss says of the result what the search said; on a mesh it is kept too.
        assert float(loss(state.params, x[0])) == float(info.loss)
        assert place(make_mesh(1, 1), state).params["t"].weak_type
        states[evaluation] = state
    same_bits(states["full"].params, states["cached"].params)
    same_bits(states["full"].params, states["column"].params)


@pytest.mark.parametrize("mesh", [None, (1, 1)])
def test_typed_keys_among_parameters_and_batches(mesh):
    mesh = make_mesh(*mesh) if mesh else None
    batches = {"x": X, "key": jax.random.split(KEY, (2, 6))}

    def loss(p, b):
        noise = jax.vmap(jax.random.normal)(b["key"]) + jax.random.normal(p["key"])
        return jnp.mean((b["x"] @ p["w"] + noise) ** 2)

    search = rso(loss, mesh=mesh, weight_decay=1e-3)
    state = search.init(KEY, {"w": jnp.ones(5), "key": jax.random.key(7)})
    state, info = step(search, KEY, state, place(mesh, batches, None, "data"))
    assert jnp.issubdtype(state.params["key"].dtype, jax.dtypes.prng_key)
    assert info.visits == 5 and np.isfinite(info.loss)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float8_e4m3fn"])
def test_weight_decay_in_narrow_types_is_right_on_average(dtype):
    share, count = 1e-3, 40_000
    for value in (1.0, -3.0, 0.02, 1.875, 0.0):
        weight = jnp.asarray(value, dtype)
        found = shrink(KEY, jnp.full(count, weight), share).astype(jnp.float32)
        assert len(np.unique(found)) <= 2
        wanted, step = float(weight) * (1 - share), np.ptp(np.asarray(found))
        assert abs(float(np.mean(found)) - wanted) <= 4 * max(step, 1e-9) / (2 * count**0.5) + 1e-7


def test_weight_decay_of_wide_types_and_of_what_is_not_finite():
    for dtype in ("float32", "float64"):
        with jax.enable_x64(dtype == "float64"):
            weights = jax.random.normal(KEY, (9,), dtype)
            same_bits(shrink(KEY, weights, 1e-4), weights * jnp.asarray(1 - 1e-4, dtype))
    odd = jnp.array([jnp.inf, -jnp.inf, jnp.nan, jnp.finfo("bfloat16").max], jnp.bfloat16)
    same_bits(shrink(KEY, odd, 0.0), odd)
    same_bits(shrink(KEY, odd, 1e-4)[:3], odd[:3])


def test_weight_decay_shrinks_a_bfloat16_search_and_a_sweep_in_parts_alike():
    params = {"w": jnp.ones(300, jnp.bfloat16)}
    search = rso(lambda p, b: 0 * jnp.sum(p["w"]) + jnp.mean(b), weight_decay=0.01)
    start = search.init(KEY, params)
    stage = stage_of(search, KEY, start, "w", X)
    whole, _ = run_stage(search, KEY, start, stage, X)
    assert float(jnp.mean(whole.params["w"].astype(jnp.float32))) == pytest.approx(0.99, abs=1e-3)
    state = start
    for begin, end in ((0, 100), (100, 300)):
        prepared = search.prepare(KEY, state, stage, X)
        state, _ = search.advance(KEY, state, stage, prepared, begin, end)
    same_bits(state.params, whole.params)


STRICT = {
    "checks": lambda: jax.enable_checks(True),
    "ranks": lambda: jax.numpy_rank_promotion("raise"),
    "types": lambda: jax.numpy_dtype_promotion("strict"),
    "nans": lambda: jax.debug_nans(True),
}
SEARCHES = {
    "visits": presets.authors_code(3),
    "blocks": presets.authors_code(3) | {"block": Block("leaf", joint.parabola())},
}


def one_cycle(search, context=contextlib.nullcontext):
    def loss(p, b):
        hidden = jax.nn.relu(jnp.dot(b, p["w"]) + p["c"][None])
        return jnp.mean(jnp.dot(hidden, p["v"]) ** 2)

    params = {"w": X[0, :5, :4], "c": jnp.zeros(4), "v": X[1, :4, :1]}
    with context():
        made = rso(loss, searched={"w": True, "c": True, "v": False}, **SEARCHES[search])
        return step(made, KEY, made.init(KEY, params), X)[0].params


@pytest.fixture(scope="module")
def plain():
    return {search: one_cycle(search) for search in SEARCHES}


@pytest.mark.parametrize("setting", STRICT)
@pytest.mark.parametrize("search", SEARCHES)
def test_strict_settings_decide_the_same(search, setting, plain):
    same_bits(one_cycle(search, STRICT[setting]), plain[search])
