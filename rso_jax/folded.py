"""Convolutions of several candidates at once, on a mini-batch that devices share.

Under ``vmap`` a convolution of n images and c candidates becomes one of c * n images, all of the
first candidate's before those of the second. Of such a sequence no device can hold "its images of
every candidate": where a mesh divides the images, XLA gathers them all on every device first. In
the other order, the candidates of the first image before those of the second, nothing moves.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.custom_batching import custom_vmap

from rso_jax.incremental.jaxprs import called_by, evaluate, evaluate_by


def candidates_within_images(loss: Callable[..., Array]) -> Callable[..., Array]:
    """The same loss, whose convolutions lie under ``vmap`` with candidates within images."""

    def folded(*arguments: Any) -> Array:
        flat, tree = jax.tree.flatten(arguments)
        closed = jax.make_jaxpr(lambda *flat: loss(*jax.tree.unflatten(tree, flat)))(*flat)
        (result,) = evaluate_by(_folding, closed, flat)
        return result

    return folded


def _folding(eqn: Any, operands: list[Array]) -> list[Array]:
    if (called := called_by(eqn)) is not None:
        return evaluate_by(_folding, called, operands)
    if eqn.primitive.name == "conv_general_dilated" and eqn.params["batch_group_count"] == 1:
        return [_convolution(eqn)(*operands)]
    return evaluate(eqn, operands)


def _convolution(eqn: Any) -> Callable[[Array, Array], Array]:
    (images_in, *_), (images_out, *_) = (
        eqn.params["dimension_numbers"].lhs_spec,
        eqn.params["dimension_numbers"].out_spec,
    )

    def plain(image: Array, kernel: Array) -> Array:
        (result,) = evaluate(eqn, [image, kernel])
        return result

    convolution = custom_vmap(plain)

    @convolution.def_vmap
    def of_candidates(count: int, batched: list[bool], image: Array, kernel: Array) -> Any:
        if batched != [True, False]:
            return jax.vmap(plain, [0 if b else None for b in batched])(image, kernel), True
        folded = jnp.moveaxis(image, 0, images_in + 1)
        shape = list(folded.shape)
        shape[images_in : images_in + 2] = [-1]
        result = plain(folded.reshape(shape), kernel)
        shape = list(result.shape)
        shape[images_out : images_out + 1] = [-1, count]
        return jnp.moveaxis(result.reshape(shape), images_out + 1, 0), True

    return convolution
