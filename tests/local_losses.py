"""A network of two layers, each with a loss of its own, as a reader would write it."""

import jax
import jax.numpy as jnp

SHAPES = {
    "first": {"kernel": (4, 5), "bias": (5,)},
    "first_head": {"kernel": (5, 3)},
    "second": {"kernel": (5, 6), "bias": (6,)},
    "second_head": {"kernel": (6, 3)},
}
OWN = {"first": 0, "first_head": 0, "second": 1, "second_head": 1}
"""Place of the loss that each layer is searched on."""


def layer(weights, x):
    return jnp.tanh(x @ weights["kernel"] + weights["bias"])


def losses_of_head(weights, h, batch):
    scores = jax.nn.log_softmax(h @ weights["kernel"])
    return -jnp.take_along_axis(scores, batch["y"][:, None], axis=1)[:, 0]


def example_losses(params, batch):
    """Two losses of every example."""
    h = layer(params["first"], batch["x"])
    g = layer(params["second"], h)
    return (
        losses_of_head(params["first_head"], h, batch),
        losses_of_head(params["second_head"], g, batch),
    )


def losses(params, batch):
    """Two scalars."""
    return tuple(found.mean() for found in example_losses(params, batch))


def one_of(losses_fn, place):
    """One of the losses alone."""
    return lambda params, batch: losses_fn(params, batch)[place]


def make_params(key, dtype=jnp.float32):
    leaves, treedef = jax.tree.flatten(SHAPES, is_leaf=lambda x: isinstance(x, tuple))
    keys = jax.random.split(key, len(leaves))
    arrays = [jax.random.normal(k, s, dtype) for k, s in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(treedef, arrays)


def make_batches(key, count=3, size=8, dtype=jnp.float32):
    x_key, y_key = jax.random.split(key)
    return {
        "x": jax.random.normal(x_key, (count, size, 4), dtype),
        "y": jax.random.randint(y_key, (count, size), 0, 3),
    }
