"""Directions: what a change of 1 of one weight adds to what depends on it linearly.

The column with one weight of 1 and the others 0 is never laid out: reshapes and transpositions only
move the place of the 1, a product picks what the weight is multiplied by, a convolution cuts a
shifted channel out of its image.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array, lax

from rso_jax.incremental.registry import Registry


class OneHot(NamedTuple):
    """An array that is 1 at one place and 0 elsewhere: a column with one weight of 1."""

    shape: tuple[int, ...]
    place: tuple[Array, ...]
    """Index of the 1 along every axis, traced."""


class Spread(NamedTuple):
    """What a product with a known array makes of one weight among several outputs.

    Along some axes it is 0 but at one index; along the others it is what that array has for the
    weight.
    """

    family: Array
    """[weights..., shape...]: for every index of the weights that were summed over what is there,
    of size 1 along the axes with one index."""
    weight: tuple[Array, ...]
    """Its index, traced, along the first axes of the family."""
    shape: tuple[int, ...]
    place: tuple[Array | None, ...]
    """Index along every axis, traced; None along those that are filled."""


class Shifted(NamedTuple):
    """The result of a convolution by a one-hot kernel, not yet cut out of its image."""

    image: Array
    """Padded, [channel, batch, spatial...]: what is cut out lies together in memory. It may be of
    a narrower type than the result."""
    channel: Array
    starts: tuple[Array, ...]
    """Where to begin along the spatial axes."""
    strides: tuple[int, ...]
    sizes: tuple[int, ...]
    """Of the result, along the spatial axes."""
    layout: tuple[int, ...]
    """Axes of the result: batch, channel, spatial..."""
    dtype: Any
    """Of the result."""


def _check(eqn: Any, found: Any) -> None:
    """Refuse a direction of another shape or type than the result of its equation."""
    result = eqn.outvars[0].aval
    if isinstance(found, OneHot):
        told = (found.shape, result.dtype)
    elif isinstance(found, Shifted):
        told = (result.shape, found.dtype)
    elif isinstance(found, Array):
        told = (found.shape, found.dtype)
    else:
        raise TypeError(f"it gives {type(found).__name__}, which is no direction")
    if told != (result.shape, result.dtype):
        raise ValueError(f"it gives {told[1]}{[*told[0]]}, not {result.dtype}{[*result.shape]}")


# From an equation and its operands, of which one is one-hot.
DIRECTION_RULES: Registry[Callable[[Any, Sequence[Any]], OneHot | Shifted | Array]] = Registry(
    "rule of directions", _check
)


@DIRECTION_RULES.register("convert_element_type", "copy")
def _same(eqn: Any, operands: Sequence[OneHot]) -> OneHot:
    """The 1 stays where it is."""
    return operands[0]


@DIRECTION_RULES.register("reshape", "squeeze", "expand_dims", "broadcast_in_dim")
def _reshape(eqn: Any, operands: Sequence[OneHot]) -> OneHot:
    """The 1 keeps its place in memory; a broadcast is here only where it stretches nothing."""
    value = operands[0]
    flat = jnp.zeros((), jnp.int32)
    for index, size in zip(value.place, value.shape, strict=True):
        flat = flat * size + index
    return one_hot_at(flat, eqn.outvars[0].aval.shape)


def one_hot_at(flat: Array, shape: Sequence[int]) -> OneHot:
    """The one-hot array of a shape with its 1 at a place in row-major order."""
    place: list[Array] = []
    for size in reversed(shape):
        place.insert(0, flat % size)
        flat = flat // size
    return OneHot(tuple(shape), tuple(place))


@DIRECTION_RULES.register("transpose")
def _transpose(eqn: Any, operands: Sequence[OneHot]) -> OneHot:
    """The place of the 1 moves with its axes."""
    value = operands[0]
    order = eqn.params["permutation"]
    return OneHot(tuple(value.shape[a] for a in order), tuple(value.place[a] for a in order))


@DIRECTION_RULES.register("dot_general")
def _dot_general(eqn: Any, operands: Sequence[Any]) -> Array:
    """What the weight is multiplied by."""
    position = next(i for i, value in enumerate(operands) if isinstance(value, OneHot))
    value, other = operands[position], operands[1 - position]
    contract, _ = eqn.params["dimension_numbers"]
    mine, theirs = contract[position], contract[1 - position]
    # Contracted axes first: what one weight reads then lies together in memory.
    free = [axis for axis in range(other.ndim) if axis not in theirs]
    taken = jnp.transpose(other, (*theirs, *free))
    for axis in mine:
        taken = lax.dynamic_index_in_dim(taken, value.place[axis], keepdims=False)
    result = eqn.outvars[0].aval
    return taken.reshape(result.shape).astype(result.dtype)


@DIRECTION_RULES.register("conv_general_dilated")
def _conv_general_dilated(eqn: Any, operands: Sequence[Any]) -> Shifted:
    """The input channel that the weight reads, shifted to its place in the window."""
    other, value = operands
    p, numbers, result = eqn.params, eqn.params["dimension_numbers"], eqn.outvars[0].aval
    batch, channel, *spatial = numbers.lhs_spec
    _, inputs, *window = numbers.rhs_spec
    image = jnp.transpose(other, (channel, batch, *spatial))
    holes = [(*pair, d - 1) for pair, d in zip(p["padding"], p["lhs_dilation"], strict=True)]
    return Shifted(
        image=lax.pad(image, jnp.zeros((), image.dtype), [(0, 0, 0), (0, 0, 0), *holes]),
        channel=value.place[inputs],
        starts=tuple(value.place[a] * d for a, d in zip(window, p["rhs_dilation"], strict=True)),
        strides=tuple(p["window_strides"]),
        sizes=tuple(result.shape[axis] for axis in numbers.out_spec[2:]),
        layout=tuple(numbers.out_spec),
        dtype=result.dtype,
    )


def spread(eqn: Any, operands: Sequence[Any]) -> Spread | None:
    """What a product with a known array makes of one weight of several outputs.

    Args:
        eqn: equation of a ``dot_general``.
        operands: of it, of which one is one-hot.

    Returns:
        None where the product has batch axes.
    """
    position = next(i for i, value in enumerate(operands) if isinstance(value, OneHot))
    value, other = operands[position], operands[1 - position]
    contract, batch = eqn.params["dimension_numbers"]
    if any(batch):
        return None
    mine, theirs = contract[position], contract[1 - position]
    others = [axis for axis in range(other.ndim) if axis not in theirs]
    free = tuple(i for axis, i in enumerate(value.place) if axis not in mine)
    family = jnp.transpose(other, (*theirs, *others))
    filled = family.shape[len(theirs) :]
    ones, nowhere = (1,) * len(free), (None,) * len(filled)
    shape = (*filled, *ones) if position == 1 else (*ones, *filled)
    return Spread(
        family.reshape(*family.shape[: len(theirs)], *shape),
        tuple(value.place[axis] for axis in mine),
        eqn.outvars[0].aval.shape,
        (*nowhere, *free) if position == 1 else (*free, *nowhere),
    )


def transpose_spread(eqn: Any, value: Spread) -> Spread:
    """The places move with their axes.

    Args:
        eqn: equation of a ``transpose``.
        value: its operand.
    """
    order, first = eqn.params["permutation"], len(value.weight)
    return value._replace(
        family=jnp.transpose(value.family, (*range(first), *(first + a for a in order))),
        shape=tuple(value.shape[a] for a in order),
        place=tuple(value.place[a] for a in order),
    )


def multiply_spread(eqn: Any, operands: Sequence[Any]) -> Array:
    """What a spread weight is multiplied by: one of the products of all weights, known ahead.

    Args:
        eqn: equation of a ``dot_general`` without batch axes, to one output: all axes of what is
            spread are summed over, or of size 1.
        operands: of it, of which one is spread.
    """
    position = next(i for i, value in enumerate(operands) if isinstance(value, Spread))
    value, other = operands[position], operands[1 - position]
    contract, _ = eqn.params["dimension_numbers"]
    pairs = list(zip(contract[position], contract[1 - position], strict=True))
    at_one = [(mine, theirs) for mine, theirs in pairs if value.place[mine] is not None]
    filled = [(mine, theirs) for mine, theirs in pairs if value.place[mine] is None]
    met = [theirs for _, theirs in (*at_one, *filled)]
    free = [axis for axis in range(other.ndim) if axis not in met]
    first = len(value.weight)
    sizes = [value.shape[mine] for mine, _ in filled]
    left = [first + mine for mine, _ in filled]
    left += [axis for axis in range(first, value.family.ndim) if axis not in left]
    family = jnp.transpose(value.family, (*range(first), *left))
    family = family.reshape(*family.shape[:first], *sizes)
    taken = jnp.transpose(other, (*[t for _, t in filled], *[t for _, t in at_one], *free))
    # What one weight reads lies together in memory then.
    products = jnp.tensordot(family, taken, axes=len(filled))
    for index in (*value.weight, *(value.place[mine] for mine, _ in at_one)):
        products = lax.dynamic_index_in_dim(products, index, keepdims=False)
    result = eqn.outvars[0].aval
    return products.reshape(result.shape).astype(result.dtype)


def lay_out(value: Spread) -> Array:
    """The whole array."""
    array = value.family
    for index in value.weight:
        array = lax.dynamic_index_in_dim(array, index, keepdims=False)
    starts = [jnp.int32(0) if i is None else jnp.asarray(i, jnp.int32) for i in value.place]
    return lax.dynamic_update_slice(jnp.zeros(value.shape, array.dtype), array, starts)


def pool(eqn: Any, value: Shifted) -> Shifted | None:
    """Sums over windows of what is cut out, as something cut out of sums over windows.

    Args:
        eqn: equation of a ``reduce_window_sum``.
        value: its operand.

    Returns:
        None where windows reach over other axes than the spatial ones, or beyond the edge.
    """
    p = eqn.params
    batch, channel, *spatial = value.layout
    window, strides = p["window_dimensions"], p["window_strides"]
    inside = {*p["base_dilation"], *p["window_dilation"]} == {1} and not any(map(any, p["padding"]))
    if not inside or {*(window[batch], window[channel], strides[batch], strides[channel])} != {1}:
        return None
    image = lax.reduce_window(
        value.image.astype(value.dtype),
        jnp.zeros((), value.dtype),
        lax.add,
        (1, 1, *(window[a] for a in spatial)),
        (1,) * value.image.ndim,
        "VALID",
        window_dilation=(1, 1, *value.strides),
    )
    return value._replace(
        image=image,
        strides=tuple(s * strides[a] for s, a in zip(value.strides, spatial, strict=True)),
        sizes=tuple(eqn.outvars[0].aval.shape[a] for a in spatial),
    )


def cut(value: Shifted) -> Array:
    """The result of the convolution, cut out of its image."""
    spans = [(n - 1) * step + 1 for n, step in zip(value.sizes, value.strides, strict=True)]
    taken = lax.dynamic_slice(
        value.image,
        [jnp.asarray(i, jnp.int32) for i in (value.channel, 0, *value.starts)],
        (1, value.image.shape[1], *spans),
    )[0].astype(value.dtype)
    taken = taken[(slice(None), *(slice(None, None, step) for step in value.strides))]
    # [batch, spatial...] into the order of the layout, whose channel axis has size 1.
    batch, channel, *spatial = value.layout
    order = sorted(range(taken.ndim), key=(batch, *spatial).__getitem__)
    return jnp.expand_dims(jnp.transpose(taken, order), channel)
