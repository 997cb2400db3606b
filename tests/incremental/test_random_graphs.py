"""Column programs of generated losses: random compositions of the operations that losses have.

The same 60 on every run. A thousand fresh ones, by hand:

    python -m pytest tests/incremental/test_random_graphs.py --hypothesis-profile=fresh
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from random_leaves import LEAVES
from random_operations import BINARY, FILLS, ODD, SHAPE, TILT, UNARY
from stages import check_stages, staged

from rso_jax.incremental import column_program

FRESH = settings.get_current_profile_name() == "fresh"
EXAMPLES = {} if FRESH else {"max_examples": 60}


class Step(NamedTuple):
    """An operation on the values made so far; i and j count back from the last of them."""

    kind: str
    name: str
    i: int = 0
    j: int = 0


def softmax_loss(values):
    logits = values[-1].mean((1, 2))
    return jnp.mean(jax.nn.logsumexp(logits, -1) - logits[:, 1])


LOSSES = {
    "last": lambda values: values[-1].mean(),
    "square of last": lambda values: jnp.mean(values[-1] ** 2),
    "all": lambda values: sum(jnp.mean(v * (k + 1)) for k, v in enumerate(values)),
    "cross entropy": softmax_loss,
    "largest": lambda values: values[-1].max(),
    "errors": lambda values: jnp.mean((values[-1].mean((1, 2)) + TILT).argmax(-1) != 1.0) * 1.0,
    "ordinal": lambda values: jnp.abs(jnp.sign(values[-1] - ODD).sum(-1) - 1).mean(),
    "product of means": lambda values: values[-1].mean() * values[-1][:, 1].sum(),
    "margin": lambda values: jax.nn.relu(0.5 - values[-1][0] * values[-1][1]).sum(),
    "batch only": lambda values: values[0].mean(),  # constant in the leaf
}


def build(kind_of_leaf, steps, name):
    """The loss that carries out the steps, and the values it makes on the way."""
    _, of_leaf = LEAVES[kind_of_leaf]

    def values_of(w, x):
        values = [x]
        for step in steps:
            a, b = values[-1 - step.i % len(values)], values[-1 - step.j % len(values)]
            if step.kind == "unary":
                made = UNARY[step.name](a)
            elif step.kind == "binary":
                made = BINARY[step.name](a, b)
            elif step.kind == "fill":
                made = FILLS[step.name]()
            else:
                made = of_leaf[step.name](a, w)
            assert made.shape == SHAPE, step
            values.append(made)
        return values

    return lambda w, x: LOSSES[name](values_of(w, x)), values_of


def largest(values_of, w, x):
    """The largest value that the steps make."""
    sizes = jax.jit(lambda w, x: [jnp.abs(v).max() for v in values_of(w, x)])(w, x)
    return max(float(size) for size in sizes)


def steps_of(kind, names, reach=3):
    back = st.integers(0, reach)
    return st.builds(Step, st.just(kind), st.sampled_from(sorted(names)), back, back)


@st.composite
def graphs(draw):
    """The kind of leaf, the steps, how they end in a loss."""
    kind_of_leaf = draw(st.sampled_from(sorted(LEAVES)))
    leaf = steps_of("leaf", LEAVES[kind_of_leaf][1])
    others = st.one_of(
        steps_of("unary", UNARY), steps_of("unary", UNARY), steps_of("binary", BINARY), leaf
    )
    before = st.lists(st.one_of(steps_of("fill", FILLS), steps_of("unary", UNARY)), max_size=2)
    steps = [*draw(before), draw(leaf), *draw(st.lists(others, max_size=5))]
    return kind_of_leaf, steps, draw(st.sampled_from(sorted(LOSSES)))


@settings(suppress_health_check=list(HealthCheck), **EXAMPLES)
@given(graphs(), st.integers(0, 7), st.integers(0, 63), st.integers(0, 10))
def test_a_generated_loss_is_evaluated_exactly(graph, o, k, seed):
    shape, _ = LEAVES[graph[0]]
    loss, values_of = build(*graph)
    draw = np.random.default_rng(seed).standard_normal  # JAX's is compiled for every shape
    with jax.enable_x64(True):  # so that rounding cannot hide a wrong term
        w, x, weights = (jnp.asarray(draw(n)) for n in (shape, SHAPE, shape[:-1]))
        w = w / 2
        o, k = o % shape[-1] if shape else 0, k % weights.size
        size = largest(values_of, w, x)
        assume(size < 1e6)
        program = column_program(loss, w, x, 0)
        stages = jax.jit(lambda w, x, weights: staged(program, loss, 0, w, x, o, weights, k))
        found = stages(w, x, weights)
        check_stages(found, "here", rtol=1e-9, atol=1e-12 * max(1, size) ** 2)


@settings(suppress_health_check=list(HealthCheck), **EXAMPLES)
@given(graphs(), st.integers(0, 7), st.integers(0, 10))
def test_a_program_from_the_incumbent_evaluates_exactly(graph, o, seed):
    shape, _ = LEAVES[graph[0]]
    loss, values_of = build(*graph)
    draw = np.random.default_rng(seed).standard_normal
    with jax.enable_x64(True):
        w, x, weights = (jnp.asarray(draw(n)) for n in (shape, SHAPE, shape[:-1]))
        w, o = w / 2, o % shape[-1] if shape else 0
        changed = w.at[..., o].set(weights) if shape else weights
        size = max(largest(values_of, leaf, x) for leaf in (w, changed))
        assume(size < 1e6)
        program = column_program(loss, w, x, 0, from_incumbent=True)

        def both(w, changed, x, weights):
            view = program.view(w, x, o)
            found = program.loss(view, weights, program.preactivation(view, weights))
            return found, loss(changed, x)

        tolerance = 1e-12 * max(1, size) ** 2
        found, expected = jax.jit(both)(w, changed, x, weights)
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=tolerance)
