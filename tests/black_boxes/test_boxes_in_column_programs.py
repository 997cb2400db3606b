"""Column programs around a black box: candidates cost less, and their losses are the same."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from rso_jax.black_boxes import black_box
from rso_jax.incremental import column_program

rng = np.random.default_rng(0)
PARAMS = {
    "b": rng.normal(size=4).astype(np.float32),
    "v": rng.normal(size=(4, 3)).astype(np.float32),
    "w": rng.normal(size=(5, 4)).astype(np.float32),
}
X = rng.normal(size=(6, 5)).astype(np.float32)


def host(a):
    return np.sin(a) * np.tanh(a[..., :1])


def same(a):
    return jnp.sin(a) * jnp.tanh(a[..., :1])


def loss_with(function, where, of):
    """A loss in which a part of the values at a point is what a function makes of it."""

    def loss(params, x):
        def at(name, values):
            return values.at[of].set(function(values[of])) if name == where else values

        w = at("weights", params["w"])
        z = at("pre-activations", at("inputs", x) @ w + params["b"])
        out = at("outputs", at("activations", jnp.tanh(z)) @ params["v"])
        return jnp.mean(out**2) + jnp.mean(at("side", z) ** 3)

    return loss


@settings(max_examples=8)
@given(
    where=st.sampled_from(
        ["inputs", "weights", "pre-activations", "activations", "outputs", "side"]
    ),
    rows=st.sampled_from([slice(None), slice(0, 2), slice(3, None)]),
    columns=st.sampled_from([slice(None), slice(1, 3)]),
    leaf=st.sampled_from([0, 1, 2]),
    batched=st.booleans(),
)
def test_losses_of_candidates_are_those_of_the_same_function_in_jax(
    where, rows, columns, leaf, batched
):
    box = black_box(host, batched=batched, result=lambda a: a.shape)
    x = jnp.asarray(X)
    loss, reference = (loss_with(f, where, (rows, columns)) for f in (box, same))
    params = {name: jnp.asarray(a) for name, a in PARAMS.items()}
    program = column_program(loss, params, x, leaf)
    name = list(params)[leaf]
    index = params[name].shape[-1] - 1
    view = program.view(params, x, index)
    tried = params[name][..., index] + jnp.array([0.0, 0.5, -1.0]).reshape(
        3, *[1] * (params[name].ndim - 1)
    )

    def score(weights):
        return program.loss(view, weights, program.preactivation(view, weights))

    def score_all(weights):
        return reference(params | {name: params[name].at[..., index].set(weights)}, x)

    found, expected = jax.vmap(score)(tried), jax.vmap(score_all)(tried)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
