"""Convolutions put off until their result has to be there.

Average pooling is linear: a convolution that is pooled is again a convolution, of a larger window
and larger strides, with fewer products in all and a fraction of the results. What one changed
channel adds to a convolution is itself a convolution, with a single input channel; XLA's CPU
backend is poor at those, and a sum of shifted products is several times faster. Both are measured
by experiments/benchmarks/convolution_forms.py.
"""

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

MOST_TAPS = 49
"""Kernel positions up to which the sum is unrolled."""
SHIFTED_PRODUCTS = "shifted_products"
"""Name of the scope of a convolution written as multiply-adds, for ``count_flops``."""


class PendingConvolution(NamedTuple):
    """A convolution not yet carried out; layouts and settings as of ``lax``'s."""

    image: Array
    kernel: Array
    """Of the result's type, which may be wider than the image's: kernels are scaled and added up
    before they are rounded to it."""
    strides: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    numbers: Any
    precision: Any


def convolution_of(eqn: Any, image: Array, kernel: Array) -> PendingConvolution | None:
    """The convolution of an equation, applied to other operands.

    Args:
        eqn: equation of a convolution.
        image: its image, or some channels of it.
        kernel: its kernel, or what it has for these channels.

    Returns:
        None for one of integers, dilated or grouped, or whose result is of another type than its
        operands and not wider.
    """
    p, dtype = eqn.params, eqn.outvars[0].aval.dtype
    plain = {*p["lhs_dilation"], *p["rhs_dilation"]} == {1}
    plain = plain and p["feature_group_count"] == p["batch_group_count"] == 1
    plain = plain and jnp.issubdtype(dtype, jnp.inexact)  # kernels of integers cannot be scaled
    if not plain or image.dtype != kernel.dtype or not _holds(dtype, image.dtype):
        return None
    padding = tuple((int(low), int(high)) for low, high in p["padding"])
    strides, numbers = tuple(p["window_strides"]), p["dimension_numbers"]
    return PendingConvolution(
        image, kernel.astype(dtype), strides, padding, numbers, p["precision"]
    )


def _holds(dtype: Any, narrow: Any) -> bool:
    """Whether a type is another, or a floating one that represents all of another's values."""
    if dtype == narrow:
        return True
    return jnp.issubdtype(narrow, jnp.floating) and jnp.promote_types(dtype, narrow) == dtype


def pool(
    convolution: PendingConvolution, window: Sequence[int], strides: Sequence[int]
) -> PendingConvolution | None:
    """The convolution with its result summed over windows.

    Args:
        convolution: before pooling.
        window: of the pooling, along every axis of the result.
        strides: of the windows, likewise.

    Returns:
        None where pooling reaches over other axes than the spatial ones, where the convolution has
        strides of its own, or where it would take more products.
    """
    batch, channel, *spatial = convolution.numbers.out_spec
    if {*convolution.strides} != {1} or {
        *(window[batch], window[channel], strides[batch], strides[channel])
    } != {1}:
        return None
    axes = convolution.numbers.rhs_spec[2:]
    shape = convolution.kernel.shape
    # A larger window for each result, and fewer results: windows that overlap make it dearer.
    larger = math.prod(shape[axis] + window[at] - 1 for axis, at in zip(axes, spatial, strict=True))
    before = math.prod(shape[axis] for axis in axes)
    if larger > before * math.prod(strides[at] for at in spatial):
        return None
    kernels = []
    for offsets in itertools.product(*(range(window[at]) for at in spatial)):
        widths = [(0, 0)] * len(shape)
        for axis, at, offset in zip(axes, spatial, offsets, strict=True):
            widths[axis] = (offset, window[at] - 1 - offset)
        kernels.append(jnp.pad(convolution.kernel, widths))
    kernel = functools.reduce(lax.add, kernels)
    return convolution._replace(kernel=kernel, strides=tuple(strides[at] for at in spatial))


def convolve(convolution: PendingConvolution) -> Array:
    """Carry a convolution out, in the form that is fastest where it runs."""
    image, kernel, strides, padding, numbers, precision = convolution
    taps = [kernel.shape[axis] for axis in numbers.rhs_spec[2:]]
    if (
        jax.default_backend() == "cpu"
        and kernel.shape[numbers.rhs_spec[1]] == 1
        and numbers.lhs_spec == numbers.out_spec
        and all(n >= 0 for pair in padding for n in pair)
        and 0 < math.prod(taps) <= MOST_TAPS
        and _fits(convolution, taps)
    ):
        with jax.named_scope(SHIFTED_PRODUCTS):
            return _shifted_products(convolution, taps)
    return lax.conv_general_dilated(
        image,
        kernel.astype(image.dtype),
        strides,
        padding,
        dimension_numbers=numbers,
        precision=precision,
        preferred_element_type=kernel.dtype,
    )


def _fits(convolution: PendingConvolution, taps: Sequence[int]) -> bool:
    """Whether a window fits into the padded image; else there are no results."""
    sizes = (convolution.image.shape[axis] for axis in convolution.numbers.lhs_spec[2:])
    padded = (n + sum(pair) for n, pair in zip(sizes, convolution.padding, strict=True))
    return all(n >= tap for n, tap in zip(padded, taps, strict=True))


def _shifted_products(convolution: PendingConvolution, taps: Sequence[int]) -> Array:
    image, kernel, strides, padding, numbers, _ = convolution
    kernel = kernel.astype(image.dtype).astype(kernel.dtype)  # rounded as by any other form
    spatial = numbers.lhs_spec[2:]
    widths = [(0, 0)] * image.ndim
    for axis, pair in zip(spatial, padding, strict=True):
        widths[axis] = pair
    padded = jnp.pad(image, widths)
    # Kernel [taps..., outputs]; one tap weighs the outputs along the result's channel axis.
    to_front = (*numbers.rhs_spec[2:], numbers.rhs_spec[0], numbers.rhs_spec[1])
    weights = jnp.transpose(kernel, to_front)[..., 0]
    channels = [1] * image.ndim
    channels[numbers.out_spec[1]] = -1
    steps = [1] * image.ndim
    for axis, step in zip(spatial, strides, strict=True):
        steps[axis] = step
    total = None
    for tap in itertools.product(*map(range, taps)):
        starts, ends = [0] * image.ndim, [*padded.shape]
        for axis, start, n in zip(spatial, tap, taps, strict=True):
            starts[axis], ends[axis] = start, start + padded.shape[axis] - n + 1
        shifted = lax.slice(padded, starts, ends, steps)
        # A narrower image is widened piece by piece, as it is read.
        term = shifted.astype(kernel.dtype) * weights[tap].reshape(channels)
        total = term if total is None else total + term
    assert total is not None
    return total
