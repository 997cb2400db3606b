"""Acceptance among equal losses, and what it does on a plateau."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from rso_jax import rso, step
from rso_jax.search import acceptance, proposals
from rso_jax.search.joint import Block, accepted

KEY = jax.random.key(0)
WAYS = {"drawn": acceptance.sideways, "moved": partial(acceptance.sideways, move=True)}


@partial(jax.jit, static_argnums=0)
def choices(way, keys, losses):
    return jax.vmap(lambda key: WAYS[way](key, losses, jnp.asarray(0)))(keys)


def possible(way, losses):
    """The candidates that may be kept, by the words of the documentation."""
    if not np.isfinite(losses).any():
        return {0}
    ties = {i for i, loss in enumerate(losses) if loss == min(losses)}
    return ties - {0} if way == "moved" and len(ties) > 1 else ties


@pytest.mark.parametrize("way", WAYS)
@given(losses=st.lists(st.sampled_from([0.0, -0.0, 0.25, 3.0, np.inf]), min_size=6, max_size=6))
@example(losses=[np.inf] * 6)
@example(losses=[np.inf, 1.0, np.inf, np.inf, 1.0, np.inf])
@settings(max_examples=40, deadline=None)
def test_each_of_the_smallest_is_kept_and_nothing_else(way, losses):
    found = choices(way, jax.random.split(KEY, 200), jnp.asarray(losses))
    assert set(found.tolist()) == possible(way, losses)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "losses", [[1.0] * 5, [2.0, 1.0, 1.0, 3.0, 1.0], [1.0, 2.0, 1.0, 1.0, 9.0]]
)
def test_ties_are_equally_likely(way, losses):
    found = choices(way, jax.random.split(jax.random.key(1), 20_000), jnp.asarray(losses))
    tied = sorted(possible(way, losses))
    counts = np.bincount(found, minlength=5)
    assert counts.sum() == counts[tied].sum()
    assert chisquare(counts[tied]).pvalue > 1e-3


def errors(weight, batch):
    """A staircase that falls from 0 on, with steps four times as wide as a proposal is long."""
    return -jnp.floor(weight / 4) * jnp.ones_like(batch[0])


@pytest.mark.parametrize("block", [None, Block(1, accepted())])
def test_a_search_crosses_plateaus_only_sideways(block):
    ends = {}
    for name, way in {"greedy": acceptance.greedy, **WAYS}.items():
        search = rso(
            errors, sigma=jnp.float32(1), acceptance=way, proposal=proposals.fixed, block=block
        )
        state = search.init(KEY, jnp.float32(2))
        for cycle in range(50):
            state, _ = step(search, jax.random.fold_in(KEY, cycle), state, jnp.ones((1, 1)))
        ends[name] = float(state.params)
    assert ends["greedy"] == 2.0
    assert ends["drawn"] > 4 and ends["moved"] > 4
