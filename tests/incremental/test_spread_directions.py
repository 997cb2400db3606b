"""Directions of weights that a product with constants spreads before they meet the examples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rso_jax.incremental import column_program, count_flops

EXAMPLES, OUTPUTS = 7, 4
draw = np.random.default_rng(0).standard_normal
SHARES = draw((5, 6, 9)).astype(np.float32)
LOW_RANK = draw((8, 3)).astype(np.float32)
BY_GROUP = draw((2, 4, 3)).astype(np.float32)


def bins(w, x):
    return jnp.tensordot(x, jnp.einsum("hwb,cbk->hwck", SHARES, w), 3)


def bins_from_the_left(w, x):
    return jnp.tensordot(jnp.einsum("cbk,hwb->kchw", w, SHARES), x, ((1, 2, 3), (3, 1, 2))).T


def low_rank(w, x):
    return x @ (LOW_RANK @ w)


def low_rank_turned(w, x):
    return x @ jnp.einsum("rk,dr->kd", w, LOW_RANK).T


def by_group(w, x):
    return jnp.einsum("ngd,gdk->nk", x, jnp.einsum("gdr,grk->gdk", BY_GROUP, w))


def twice(w, x):
    return x @ (LOW_RANK @ (LOW_RANK[:3] @ w))


CASES = {
    bins: ((2, 9), (5, 6, 2)),
    bins_from_the_left: ((2, 9), (5, 6, 2)),
    low_rank: ((3,), (8,)),
    low_rank_turned: ((3,), (8,)),
    by_group: ((2, 3), (2, 4)),
    twice: ((3,), (8,)),
}
"""Axes of the weights but the outputs, and of an example, by case."""


def staged(case):
    """The program, a column of it, its weights, and their pre-activation."""
    of_weights, of_example = CASES[case]
    params = jnp.asarray(draw((*of_weights, OUTPUTS)), jnp.float32)
    batch = jnp.asarray(draw((EXAMPLES, *of_example)), jnp.float32)

    def loss(params, batch):
        return jnp.sum(jnp.tanh(case(params, batch)))

    program = column_program(loss, params, batch, 0)
    z = case(params, batch)[:, 2]
    return program, program.view(params, batch, jnp.int32(2)), params[..., 2], z


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_every_direction_is_what_its_weight_adds(case):
    program, view, weights, expected = staged(case)
    made = jax.jit(program.preactivation)
    told = jax.jit(program.direction)
    (before,) = made(view, weights)
    np.testing.assert_allclose(before.reshape(-1), expected, atol=1e-5)
    for k in range(weights.size):
        changed = weights.reshape(-1).at[k].add(1).reshape(weights.shape)
        (after,), (direction,) = made(view, changed), told(view, k)
        np.testing.assert_allclose(direction, after - before, atol=1e-5)


@pytest.mark.parametrize("case", [bins, bins_from_the_left])
def test_a_direction_is_picked_from_products_known_ahead(case):
    program, view, weights, _ = staged(case)
    assert count_flops(program.direction, view, jnp.int32(0)) < 3 * EXAMPLES
    assert count_flops(program.preactivation, view, weights) < 3 * EXAMPLES * weights.size
