"""Small losses to search."""

import jax
import jax.numpy as jnp


def batch_norm(layer, h):
    h = h - h.mean(0)
    return h / jnp.sqrt((h * h).mean(0) + 1e-5) * layer["scale"] + layer["bias"]


def mlp_loss(params, batch):
    """Mean cross-entropy of a small perceptron with batch norm."""
    h = jax.nn.relu(batch_norm(params["first"], batch["x"] @ params["first"]["kernel"]))
    return layer_loss(params["last"], batch | {"x": h})


def layer_loss(layer, batch):
    """Mean cross-entropy of its last layer alone."""
    logits = batch_norm(layer, batch["x"] @ layer["kernel"])
    picked = jnp.take_along_axis(jax.nn.log_softmax(logits), batch["y"][:, None], axis=1)
    return -picked.mean()


def mlp_params(key, inputs=6, hidden=5, classes=3, dtype=jnp.float32):
    def layer(key, fan_in, out):
        kernel = jax.random.normal(key, (fan_in, out)) * (2 / fan_in) ** 0.5
        return {
            "kernel": kernel.astype(dtype),
            "scale": jnp.ones(out, dtype),
            "bias": jnp.zeros(out, dtype),
        }

    first, last = jax.random.split(key)
    return {"first": layer(first, inputs, hidden), "last": layer(last, hidden, classes)}


def clusters(key, minibatches=3, size=40, inputs=6, classes=3, dtype=jnp.float32):
    """A stack of mini-batches of labelled points around one centre per class."""
    centre_key, label_key, noise_key = jax.random.split(key, 3)
    centres = 2 * jax.random.normal(centre_key, (classes, inputs))
    y = jax.random.randint(label_key, (minibatches, size), 0, classes)
    x = centres[y] + jax.random.normal(noise_key, (minibatches, size, inputs))
    return {"x": x.astype(dtype), "y": y}


def conv_loss(params, batch):
    """A loss with a convolution, on images [n, h, w, c]."""
    h = jax.lax.conv_general_dilated(
        batch["x"],
        params["conv"]["kernel"],
        (1, 1),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    h = jax.nn.relu(h).max((1, 2)) @ params["dense"]["kernel"]
    return jnp.mean((h[:, 0] - batch["y"]) ** 2)
