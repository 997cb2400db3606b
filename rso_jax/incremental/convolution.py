"""Convolution of a single channel, in the form that is fastest where it runs.

What a changed channel adds to the next convolution is a convolution with one input channel.
XLA's CPU backend is poor at it: for 3x3 kernels and 16 outputs, the sum of shifted products below
took a half to a ninth of the time (experiments/benchmarks/one_channel_convolution.py).
"""

import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

MOST_TAPS = 49
"""Kernel positions up to which the sum is unrolled."""


def one_channel_convolution(eqn: Any, image: Array, kernel: Array) -> Array | None:
    """A convolution of one input channel as a sum of shifted products, where that is faster.

    Args:
        eqn: equation of the convolution, for its padding and layout.
        image: with one channel, in the layout of the equation.
        kernel: with one input channel, likewise.

    Returns:
        The result, or None where the form does not apply or does not pay.
    """
    p, numbers = eqn.params, eqn.params["dimension_numbers"]
    spatial, taps = numbers.lhs_spec[2:], [kernel.shape[a] for a in numbers.rhs_spec[2:]]
    steps = (*p["window_strides"], *p["lhs_dilation"], *p["rhs_dilation"])
    if (
        jax.default_backend() != "cpu"
        or numbers.lhs_spec != numbers.out_spec
        or any(step != 1 for step in steps)
        or any(n < 0 for pair in p["padding"] for n in pair)
        or math.prod(taps) > MOST_TAPS
        or p["preferred_element_type"] not in (None, image.dtype)
    ):
        return None
    padding = [(0, 0)] * image.ndim
    for axis, pair in zip(spatial, p["padding"], strict=True):
        padding[axis] = pair
    padded = jnp.pad(image, padding)
    sizes = [padded.shape[a] - n + 1 for a, n in zip(spatial, taps, strict=True)]
    # Kernel [taps..., outputs]; one tap weighs the outputs along the result's channel axis.
    weights = jnp.moveaxis(
        kernel, (*numbers.rhs_spec[2:], numbers.rhs_spec[0]), range(len(taps) + 1)
    )
    weights = weights[..., 0] if weights.ndim > len(taps) + 1 else weights
    channels = [1] * image.ndim
    channels[numbers.out_spec[1]] = -1
    total = None
    for tap in itertools.product(*map(range, taps)):
        shifted = padded
        for axis, start, size in zip(spatial, tap, sizes, strict=True):
            shifted = lax.slice_in_dim(shifted, start, start + size, axis=axis)
        term = shifted * weights[tap].reshape(channels)
        total = term if total is None else total + term
    return total
