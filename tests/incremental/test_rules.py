"""A new rule is one function; without it the result is the same and costs more."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import Primitive
from jax.interpreters import mlir

from rso_jax.incremental import column_program, count_flops, rule_for
from rso_jax.incremental.rules import RULES, apply

halve_p = Primitive("halve")
halve_p.def_impl(lambda x: x / 2)
halve_p.def_abstract_eval(lambda x: x)
mlir.register_lowering(halve_p, mlir.lower_fun(lambda x: x / 2, multiple_results=False))


def loss(w, x):
    return jnp.mean(jnp.tanh(halve_p.bind(x @ w) @ jnp.ones((8, 8))) @ jnp.ones((8, 3)))


W, X = jax.random.normal(jax.random.key(0), (6, 8)), jnp.ones((5, 6))


def cost_and_value():
    program = column_program(loss, W, X, 0)
    arguments = (program.view(W, X, jnp.asarray(3)), W[:, 0])
    arguments = (*arguments, program.preactivation(*arguments))
    return count_flops(program.loss, *arguments), program.loss(*arguments)


@pytest.fixture
def a_rule_for_halve():
    @rule_for("halve")
    def halve(eqn, operands):
        (value,) = operands
        return value._replace(base=apply(eqn, value.base), part=apply(eqn, value.part))

    yield
    del RULES["halve"]


def test_without_a_rule_it_is_right():
    np.testing.assert_allclose(cost_and_value()[1], loss(W.at[:, 3].set(W[:, 0]), X), rtol=1e-6)


def test_with_a_rule_it_is_right_and_cheaper(a_rule_for_halve):
    cost, value = cost_and_value()
    np.testing.assert_allclose(value, loss(W.at[:, 3].set(W[:, 0]), X), rtol=1e-6)
    rule = RULES.pop("halve")
    assert cost < 0.7 * cost_and_value()[0]
    RULES["halve"] = rule
