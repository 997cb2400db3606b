"""Examples that meet over an axis named by ``vmap``: as cheap as along that axis."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from rso_jax.incremental import column_program, count_flops

W, X = jax.random.normal(jax.random.key(0), (6, 8)), jax.random.normal(jax.random.key(1), (5, 6))
OUT = jax.random.normal(jax.random.key(2), (8, 3))
MEET = {"psum": jnp.sum, "pmean": jnp.mean, "pmax": jnp.max, "pmin": jnp.min}


def by_name(meet):
    """Over the axis of examples, and over one beside them that is within the column."""

    def of_one(w, x):
        z = jax.vmap(lambda row: getattr(lax, meet)(x @ w - row, "rows"), axis_name="rows")(X @ w)
        return jnp.tanh(z[0] + getattr(lax, meet)(x @ w, "examples")) @ OUT

    return lambda w, x: jax.vmap(of_one, (None, 0), axis_name="examples")(w, x).mean()


def by_axis(meet):
    def loss(w, x):
        z = MEET[meet]((x @ w)[:, None] - X @ w, axis=1)
        return (jnp.tanh(z + MEET[meet](x @ w, axis=0)) @ OUT).mean()

    return loss


@pytest.mark.parametrize("meet", MEET)
@pytest.mark.parametrize("from_incumbent", [False, True])
def test_a_column_stays_a_column(meet, from_incumbent):
    def value_and_cost(loss):
        program = column_program(loss, W, X, 0, from_incumbent=from_incumbent)
        arguments = (program.view(W, X, jnp.asarray(3)), W[:, 0])
        arguments = (*arguments, program.preactivation(*arguments))
        return program.loss(*arguments), count_flops(program.loss, *arguments)

    value, cost = value_and_cost(by_name(meet))
    np.testing.assert_allclose(value, by_name(meet)(W.at[:, 3].set(W[:, 0]), X), rtol=1e-5)
    np.testing.assert_allclose(value, by_axis(meet)(W.at[:, 3].set(W[:, 0]), X), rtol=1e-5)
    assert cost <= 1.1 * value_and_cost(by_axis(meet))[1]
