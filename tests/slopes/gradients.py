"""What slopes are held against."""

from functools import partial

import jax


@partial(jax.jit, static_argnums=0)
def gradient_of(losses, params, batch):
    """The gradient of the mean of the losses, compiled in one: its operations are many."""
    return jax.grad(lambda params: losses(params, batch).mean())(params)
