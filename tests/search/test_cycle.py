"""One step is one cycle; types, counting and bad input."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problems import clusters, layer_loss, mlp_loss, mlp_params
from searching import stage_of, sweep

from rso_jax import UserError, presets, rso, step
from rso_jax.method import run_stage
from rso_jax.search import joint, minibatches, proposals
from rso_jax.search.joint import Block

KEY = jax.random.key(1)
SEARCH = rso(mlp_loss, weight_decay=1e-3)


@pytest.mark.parametrize(("preset", "cycles"), [("paper", 3), ("authors_code", 3)])
def test_presets_learn(preset, cycles):
    params, batches = mlp_params(KEY)["last"], clusters(KEY, inputs=5)
    search = rso(layer_loss, **presets.PRESETS[preset](cycles))
    state = search.init(KEY, params)
    everything = jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), batches)
    before = float(layer_loss(params, everything))
    for cycle in range(cycles):
        state, _ = step(search, jax.random.fold_in(KEY, cycle), state, batches)
    assert int(state.cycle) == cycles
    assert float(layer_loss(state.params, everything)) < 0.5 * before
    chex.assert_tree_all_finite(state.params)


def test_a_step_is_its_sweeps_and_its_sweeps_are_its_visits():
    batches, search = clusters(KEY), SEARCH
    start = search.init(KEY, mlp_params(KEY))
    stepped, info = step(search, KEY, start, batches)
    swept = visited = start
    for stage in search.stages(KEY, start, batches):
        swept, _ = run_stage(search, KEY, swept, stage, batches)
        prepared = search.prepare(KEY, visited, stage, batches)
        half = int(stage.boundaries[len(stage.boundaries) // 2])
        visited, first = search.advance(KEY, visited, stage, prepared, 0, half)
        # Prepared again halfway, as a resumed run does.
        prepared = search.prepare(KEY, visited, stage, batches)
        visited, second = search.advance(KEY, visited, stage, prepared, half, stage.visits)
        choices = first.choices + second.choices
        np.testing.assert_array_equal(choices, info.stages[stage.name].choices)
    chex.assert_trees_all_equal(stepped.params, swept.params, visited.params)


def test_costs_are_counted():
    params, batches = mlp_params(KEY), clusters(KEY, minibatches=3, size=40)
    weights = sum(a.size for a in jax.tree.leaves(params))
    _, info = step(SEARCH, KEY, SEARCH.init(KEY, params), batches)
    assert info.visits == weights
    assert info.image_evaluations == 3 * 40 * weights
    assert int(info.accepted) == sum(int((s.choices != 0).sum()) for s in info.stages.values())
    assert sum(s.image_evaluations for s in info.stages.values()) == info.image_evaluations


VARIANTS = {
    "one pair": {},
    "three pairs at two scales": {
        "proposal": proposals.antithetic(proposals.normal_distance, pairs=3, scales=(1.0, 0.1))
    },
    "a mini-batch for a column": {"minibatches": minibatches.per_column},
    "a mini-batch for a cycle": {"minibatches": minibatches.per_cycle},
    "the same, weights decaying": {"minibatches": minibatches.per_cycle, "weight_decay": 1e-3},
    "blocks of a column": {"block": Block(3, joint.parabola())},
    "blocks of two columns": {"block": Block(10, joint.accepted())},
    "one draw for a leaf": {"block": Block("leaf", joint.together, probe=False)},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_image_evaluations_are_those_a_counter_in_the_loss_sees(variant):
    counted = []

    def loss(params, batch):
        jax.debug.callback(lambda x: counted.append(len(x)), batch["x"])
        return layer_loss(params, batch)

    searched = {"kernel": True, "bias": True, "scale": False}
    settings = {"evaluation": "full", "candidate_axis": "map", "searched": searched}
    search = rso(loss, **settings, **VARIANTS[variant])
    params, batches = mlp_params(KEY)["last"], clusters(KEY, minibatches=2, size=7, inputs=5)
    _, info = step(search, KEY, search.init(KEY, params), batches)
    jax.effects_barrier()
    assert sum(counted) == info.image_evaluations
    foreseen = search.cost(params, batches)
    assert sum(cost.image_evaluations for cost in foreseen) == info.image_evaluations


def test_the_schedule_scales_the_perturbations():
    params, batches = {"w": jnp.zeros(200)}, jnp.ones((1, 1))
    search = rso(
        lambda p, b: -jnp.sum(jnp.abs(p["w"])) * b.mean(),  # accepts every perturbation
        sigma={"w": jnp.asarray(2.0)},
        schedule=optax.linear_schedule(1.0, 0.1, 9),
    )
    state = search.init(KEY, params)
    for cycle in (0, 9):
        moved, _ = step(search, KEY, state._replace(cycle=jnp.asarray(cycle)), batches)
        expected = 2.0 * (1.0 if cycle == 0 else 0.1)
        assert float(jnp.std(moved.params["w"])) == pytest.approx(expected, rel=0.15)


def test_sigma_may_be_one_value_for_each_weight():
    params, batches = {"w": jnp.zeros(4)}, jnp.ones((1, 1))
    search = rso(
        lambda p, b: -jnp.sum(jnp.abs(p["w"])) * b.mean(), sigma={"w": jnp.array([0.0, 1, 0, 1])}
    )
    state, _ = step(search, KEY, search.init(KEY, params), batches)
    np.testing.assert_array_equal(state.params["w"] != 0, [False, True, False, True])


def test_bfloat16_parameters_stay_bfloat16_and_learn():
    params = mlp_params(KEY, dtype=jnp.bfloat16)["last"]
    batches = clusters(KEY, inputs=5, dtype=jnp.bfloat16)
    search = rso(layer_loss, **presets.authors_code(2))
    state = search.init(KEY, params)
    before = layer_loss(params, jax.tree.map(lambda a: a[0], batches))
    for cycle in range(2):
        state, info = step(search, jax.random.key(cycle), state, batches)
    assert {a.dtype for a in jax.tree.leaves(state.params)} == {jnp.dtype(jnp.bfloat16)}
    assert info.loss < before


def test_64_bit_mode_keeps_64_bits_and_leaves_32_bits_alone():
    with jax.enable_x64(True):
        for name in ("float64", "float32"):
            batches = clusters(KEY, inputs=5, dtype=jnp.dtype(name))
            params = mlp_params(KEY, dtype=jnp.dtype(name))["last"]
            searched = {"kernel": True, "bias": False, "scale": False}
            search = rso(layer_loss, searched=searched, **presets.authors_code(2))
            state, info = step(search, KEY, search.init(KEY, params), batches)
            assert {a.dtype for a in jax.tree.leaves(state.params)} == {jnp.dtype(name)}
            assert info.loss.dtype == jnp.dtype(name)


@pytest.mark.parametrize("tree", ["dictionary", "tuple", "bare array", "scalar"])
def test_any_pytree_of_parameters(tree):
    w = jnp.ones((2, 1))
    params, get = {
        "dictionary": ({"a": {"b": w}}, lambda p: p["a"]["b"]),
        "tuple": (((w,), jnp.zeros(())), lambda p: p[0][0] + p[1]),
        "bare array": (w, lambda p: p),
        "scalar": (jnp.asarray(1.0), lambda p: p),
    }[tree]
    search = rso(lambda p, b: jnp.mean((b * get(p).sum() - 0.3) ** 2))
    state = search.init(KEY, params)
    state, info = step(search, KEY, state, jnp.ones((1, 4)))
    assert jax.tree.structure(state.params) == jax.tree.structure(params)
    assert info.loss < (2 - 0.3) ** 2


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (lambda p, b: (b @ p["w"]).ravel(), r"shape \(4,\); return one scalar"),
        (lambda p, b: jnp.sum(b @ p["w"]).astype(jnp.int32), "int32; return a floating-point"),
        (lambda p, b: (jnp.sum(b @ p["w"]), {}), "tuple; return the loss alone"),
    ],
)
def test_a_loss_that_is_no_scalar_is_refused(loss, said):
    search = rso(loss)
    state = search.init(KEY, {"w": jnp.ones((2, 1))})
    with pytest.raises(UserError, match=said):
        step(search, KEY, state, jnp.ones((1, 4, 2)))


def test_other_bad_input():
    params, batches = {"w": jnp.ones((2, 1))}, jnp.ones((1, 4, 2))

    def loss(p, b):
        return jnp.mean(b @ p["w"])

    with pytest.raises(UserError, match="weight_decay is 1"):
        rso(loss, weight_decay=1.0)
    with pytest.raises(UserError, match="sigma has the structure"):
        rso(loss, sigma={"v": 1.0}).init(KEY, params)
    with pytest.raises(UserError, match=r"sigma of w has shape \(3,\)"):
        rso(loss, sigma={"w": jnp.ones(3)}).init(KEY, params)
    with pytest.raises(UserError, match="complex"):
        rso(loss).init(KEY, {"w": jnp.ones(2), "z": jnp.ones(2, jnp.complex64)})
    search = rso(loss)
    state = search.init(KEY, params)
    with pytest.raises(UserError, match="no leaf 'v' to search; there are: w"):
        sweep(search, KEY, state, "v", batches)
    with pytest.raises(UserError, match="two leading axes"):
        step(search, KEY, state, jnp.ones(4))
    stage = stage_of(search, KEY, state, "w", batches)
    prepared = search.prepare(KEY, state, stage, batches)
    with pytest.raises(UserError, match="visits 0 to 3 of w, which has 2;"):
        search.advance(KEY, state, stage, prepared, 0, 3)
