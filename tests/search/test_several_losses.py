"""A search of several losses: each leaf is searched on its own, and pays for no other."""

import jax
import jax.numpy as jnp
import numpy as np
import plain_reference
import pytest
from local_losses import OWN, losses, make_batches, make_params, one_of
from searching import position_of, sweep

from rso_jax import UserError, rso, step
from rso_jax.incremental import bfloat16_products
from rso_jax.search import joint, minibatches, proposals
from rso_jax.search.joint import Block

KEY = jax.random.key(5)
PARAMS, BATCHES = make_params(KEY), make_batches(KEY)
PATHS = ["first/kernel", "first/bias", "first_head/kernel", "second/kernel", "second_head/kernel"]


def same_bits(one, other):
    for a, b in zip(*map(jax.tree.leaves, (one, other)), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


@pytest.mark.parametrize("path", PATHS)
def test_a_leaf_is_decided_as_by_brute_force_on_its_own_loss(path):
    settings = {"sigma": lambda params: jax.tree.map(lambda a: 0.3, params), "weight_decay": 1e-3}
    search = rso(losses, **settings)
    state, info = sweep(search, KEY, search.init(KEY, PARAMS), path, BATCHES)
    params, choices, _ = plain_reference.sweep(
        one_of(losses, OWN[path.split("/")[0]]),
        PARAMS,
        path,
        position_of(PARAMS, path),
        KEY,
        BATCHES,
        sigma=0.3,
        proposal=proposals.normal,
        minibatches=minibatches.cycled,
        decay=1e-3,
    )
    layer, name = path.split("/")
    np.testing.assert_allclose(state.params[layer][name], params[layer][name], rtol=1e-5)
    assert any(choices) and int(info.accepted) == np.count_nonzero(choices)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"evaluation": "full"},
        {"evaluation": "cached"},
        {"minibatches": minibatches.per_column},
        {"block": Block("column", joint.accepted())},
        {"block": Block("leaf", joint.parabola())},
    ],
)
@pytest.mark.parametrize("path", ["first/kernel", "second/kernel"])
def test_a_sweep_is_that_of_a_search_of_the_one_loss(settings, path):
    search, alone = rso(losses, **settings), rso(one_of(losses, OWN[path[:-7]]), **settings)
    state, info = sweep(search, KEY, search.init(KEY, PARAMS), path, BATCHES)
    expected, told = sweep(alone, KEY, alone.init(KEY, PARAMS), path, BATCHES)
    same_bits(state.params, expected.params)
    same_bits((info.choices, info.losses), (told.choices, told.losses))
    assert info.image_evaluations == told.image_evaluations


def test_looking_ahead_and_names():
    def named(params, batch):
        near, far = losses(params, batch)
        return {"near": near, "far": far}

    far, near = (rso(one_of(losses, place)) for place in (1, 0))
    path = "first/kernel"
    expected = {"far": sweep(far, KEY, far.init(KEY, PARAMS), path, BATCHES)[0].params}
    expected["near"] = sweep(near, KEY, near.init(KEY, PARAMS), path, BATCHES)[0].params
    for look_ahead, name in (
        (1, "far"),
        (7, "far"),
        (lambda path: "far" if path.startswith("first/") else 0, "far"),
        ({"first": "far", "first_head": 0, "second": 0, "second_head": "far"}, "far"),
        (
            {"first": {"kernel": 1, "bias": 0}, "first_head": 0, "second": 0, "second_head": 0},
            "far",
        ),
        (0, "near"),
    ):
        search = rso(named, look_ahead=look_ahead)
        state, _ = sweep(search, KEY, search.init(KEY, PARAMS), path, BATCHES)
        same_bits(state.params, expected[name])


def test_only_the_own_loss_is_paid_for():
    costs = {cost.path: cost for cost in rso(losses).cost(PARAMS, BATCHES)}
    ahead = {cost.path: cost for cost in rso(losses, look_ahead=1).cost(PARAMS, BATCHES)}
    for place in (0, 1):
        alone = rso(one_of(losses, place), searched=lambda path: path.startswith("first/"))
        for cost in alone.cost(PARAMS, BATCHES):
            found = (costs, ahead)[place][cost.path]
            assert found.candidate_flops == cost.candidate_flops
            assert found.candidate_bytes == cost.candidate_bytes
            assert found.sweep_flops == cost.sweep_flops
    assert ahead["first/kernel"].candidate_flops > 1.5 * costs["first/kernel"].candidate_flops
    assert len({cost.forward_flops for cost in costs.values()}) == 1


@pytest.mark.parametrize("evaluation", ["column", "full"])
def test_what_only_others_need_is_not_called(evaluation):
    called = []

    def measure(x):
        called.append(x)
        return np.asarray(x)

    def counted(params, batch):
        first, second = losses(params, batch)
        shape = jax.ShapeDtypeStruct((), second.dtype)
        return first, jax.pure_callback(measure, shape, second, vmap_method="sequential")

    search = rso(counted, evaluation=evaluation)
    state, info = sweep(search, KEY, search.init(KEY, PARAMS), "first/kernel", BATCHES)
    jax.block_until_ready((state, info))
    assert not called
    sweep(search, KEY, state, "second_head/kernel", BATCHES)
    jax.effects_barrier()
    assert len(called) > 18


def test_the_loss_that_is_told_is_that_of_the_leaf():
    search = rso(losses)
    batches = jax.tree.map(lambda a: a[:1], BATCHES)
    batch = jax.tree.map(lambda a: a[0], BATCHES)
    for path, own in (("first/kernel", 0), ("second/kernel", 1)):
        state, info = sweep(search, KEY, search.init(KEY, PARAMS), path, batches)
        np.testing.assert_allclose(info.loss, losses(state.params, batch)[own], rtol=1e-5)


def test_with_keys_auxiliary_results_and_arrays_that_all_share():
    def noisy(params, batch, key):
        kept = jax.random.bernoulli(key, 0.9, batch["x"].shape)
        first, second = losses(params, batch | {"x": batch["x"] * kept * batch["scale"]})
        return [first, second], {"both": first + second}

    batches = BATCHES | {"scale": 1.5}
    search = rso(noisy, keyed=True, has_aux=True, shared=lambda path: path == "scale")
    _, info = step(search, KEY, search.init(KEY, PARAMS), batches)
    assert np.isfinite(info.loss) and np.isfinite(info.aux["both"])


def test_parts_of_a_sweep_decide_as_the_whole():
    search = rso(losses)
    whole = step(search, KEY, search.init(KEY, PARAMS), BATCHES)[0]
    state = search.init(KEY, PARAMS)
    for stage in search.stages(KEY, state, BATCHES):
        half = stage.next_boundary(0, stage.visits // 2)
        for start, stop in ((0, half), (half, stage.visits)):
            prepared = search.prepare(KEY, state, stage, BATCHES)
            state, _ = search.advance(KEY, state, stage, prepared, start, stop)
    same_bits(state.params, whole.params)


def test_products_in_bfloat16_keep_the_order_of_losses():
    def named(params, batch):
        first, second = losses(params, batch)
        return {"z": first, "a": second}

    rounded = bfloat16_products(named)
    assert list(rounded(PARAMS, jax.tree.map(lambda a: a[0], BATCHES))) == ["z", "a"]
    costs = {cost.path: cost for cost in rso(rounded).cost(PARAMS, BATCHES)}
    assert costs["first/kernel"].candidate_flops < costs["second/kernel"].candidate_flops * 1.5


def unseen(params, batch):
    return losses(params, batch)[0], jnp.sum(params["second_head"]["kernel"] ** 2)


@pytest.mark.parametrize(
    ("loss_fn", "settings", "message"),
    [
        (unseen, {}, "none of the losses 0, 1 depends on second/bias.*searched"),
        (losses, {"look_ahead": lambda path: "2"}, "names the loss '2' for .*losses are 0, 1"),
        (losses, {"look_ahead": lambda path: "0"}, "'0' for second/bias.*those that do are 1"),
        (losses, {"look_ahead": lambda path: None}, "look_ahead of .* is None"),
        (losses, {"look_ahead": {"first": 0}}, "look_ahead has the structure"),
        (one_of(losses, 0), {"look_ahead": lambda path: "last"}, "it returns one loss"),
        (lambda p, b: (), {}, "returned a tuple; return the loss alone"),
        (lambda p, b: {3: jnp.float32(1)}, {}, "under the name 3"),
        (lambda p, b: (losses(p, b)[0], b["x"]), {}, "loss '1' of .* an array of shape"),
        (lambda p, b: {"a": losses(p, b)[0], "b": 1}, {}, "loss 'b' of .* returned int"),
    ],
)
def test_what_is_refused(loss_fn, settings, message):
    search = rso(loss_fn, **settings)
    with pytest.raises(UserError, match=message):
        search.stages(KEY, search.init(KEY, PARAMS), BATCHES)


@pytest.mark.parametrize("look_ahead", [-1, True, 0.5, None, {"first": -2}])
def test_a_look_ahead_that_is_wrong_by_itself(look_ahead):
    with pytest.raises(UserError, match=r"look_ahead is .*whole number, 0 or more"):
        rso(losses, look_ahead=look_ahead)


def test_a_leaf_that_is_not_searched_needs_no_loss():
    search = rso(unseen, searched=lambda path: not path.startswith("second/"))
    _, info = step(search, KEY, search.init(KEY, PARAMS), BATCHES)
    assert set(info.stages) == {"first/kernel", "first/bias", "first_head/kernel"} | {
        "second_head/kernel"
    }
