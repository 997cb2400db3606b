"""A proposal for each leaf: some take few values, others real numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rso_jax import rso, step
from rso_jax.errors import UserError
from rso_jax.search import joint, proposals
from rso_jax.search.joint import Block
from rso_jax.search.proposals import ByLeaf

KEY = jax.random.key(1)
PARAMS = {"signs": jnp.array([[1.0, -1.0], [1.0, 1.0]]), "free": jnp.eye(2), "more": jnp.ones(2)}
BATCHES = jax.random.normal(KEY, (2, 20, 2))


def loss(params, batch):
    found = jnp.tanh(batch @ params["signs"] @ params["free"]) * params["more"]
    return jnp.mean((found - jnp.sin(3 * batch)) ** 2)


def choose(path):
    return (
        proposals.sign_flip
        if path == "signs"
        else proposals.antithetic(proposals.normal_distance, pairs=2)
    )


@pytest.mark.parametrize("block", [None, Block(2, joint.accepted())])
def test_each_leaf_has_the_candidates_of_its_own_proposal(block):
    search = rso(loss, proposal=ByLeaf(choose), block=block)
    state = search.init(KEY, PARAMS)
    counted = search.cost(PARAMS, BATCHES)
    state, info = step(search, KEY, state, BATCHES)
    assert len(np.unique(np.abs(state.params["free"]))) > 2
    assert info.image_evaluations == sum(c.image_evaluations for c in counted)
    if block is None:
        np.testing.assert_array_equal(jnp.abs(state.params["signs"]), 1)
        visits = {"signs": 4 * 2, "free": 4 * 5, "more": 2 * 5}
        assert info.image_evaluations == 20 * sum(visits.values())


def test_one_for_all_leaves_is_the_same_by_leaf():
    states = []
    for proposal in (proposals.uniform, ByLeaf(lambda path: proposals.uniform)):
        search = rso(loss, proposal=proposal)
        states.append(step(search, KEY, search.init(KEY, PARAMS), BATCHES)[0].params)
    jax.tree.map(np.testing.assert_array_equal, *states)


def test_a_proposal_of_one_leaf_that_cannot_work_is_refused_before_the_search():
    with pytest.raises(UserError, match="choose of proposal"):
        rso(loss, proposal=ByLeaf(3))
    wrong = ByLeaf(lambda path: (lambda key, w, s: w) if path == "more" else proposals.normal)
    with pytest.raises(UserError, match="proposal returned"):
        rso(loss, proposal=wrong).init(KEY, PARAMS)
