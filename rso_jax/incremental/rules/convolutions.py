"""The rule of convolutions, which follows that of products.

Of one input channel it makes the rest once, plus that channel's share; of one output channel, that
channel alone. Groups are convolutions side by side.
"""

import math
from collections.abc import Sequence
from typing import Any

from jax import Array

from rso_jax.incremental.convolution import convolution_of
from rso_jax.incremental.rules.rule import apply, rule_for
from rso_jax.incremental.values import (
    Range,
    Ranges,
    Same,
    Sliced,
    Sum,
    Value,
    inner_shape,
    mask,
    ranges_along,
    ranges_beside,
    reads_incumbent,
    set_range,
    sliced,
    take,
)
from rso_jax.incremental.views import common_sizes, merge, split_as, whole_along, widen


@rule_for("conv_general_dilated")
def conv_general_dilated(eqn: Any, operands: Sequence[Value]) -> Value | None:
    """One output channel from one column; from one input channel the rest once, plus its share."""
    image, kernel = operands
    if eqn.params["batch_group_count"] != 1:
        return None
    if isinstance(image, Same) and isinstance(kernel, Sliced):
        return _convolve_with_sliced_kernel(eqn, image.array, kernel)
    if isinstance(image, Sliced) and isinstance(kernel, Same):
        grouped = eqn.params["feature_group_count"] > 1
        return (_convolve_sliced_groups if grouped else _convolve_sliced_image)(
            eqn, image, kernel.array
        )
    return None


def _convolve_with_sliced_kernel(eqn: Any, image: Array, kernel: Sliced) -> Value | None:
    """Changed output channels, each of the image's channels that it reads."""
    numbers = eqn.params["dimension_numbers"]
    outputs, inputs, *window = numbers.rhs_spec
    groups = eqn.params["feature_group_count"]
    found = whole_along(kernel, window if groups == 1 else [inputs, *window])
    for axis in (outputs, inputs):
        found = merge(found, axis) if found is not None else None
    if found is None:
        return None
    out, channel = found.ranges[outputs], found.ranges[inputs]
    channels = numbers.lhs_spec[1]
    ranges = tuple(out if a == numbers.out_spec[1] else None for a in range(image.ndim))
    if groups > 1:
        read = _read_by(out, groups, kernel.shape[outputs], kernel.shape[inputs])
        if read is None:
            return None
        part = apply(
            eqn,
            take(image, _at(image.ndim, channels, read)),
            found.part,
            feature_group_count=read.size // kernel.shape[inputs],
        )
    elif channel is None:
        part = apply(eqn, image, found.part)
    else:
        there, beside = _at(image.ndim, channels, channel), _at(image.ndim, outputs, out)
        others = mask(take(found.base, beside), _at(image.ndim, inputs, channel), 0)
        part = apply(eqn, mask(image, there, 0), others)
        part = part + apply(eqn, take(image, there), found.part)
    known = found.base if groups == 1 else _finite(found)
    base = apply(eqn, image, known) if out is not None else part
    return sliced(base, part, ranges, (1,) * image.ndim)


def _finite(value: Sliced) -> Array:
    """The base without what means nothing: XLA may run groups as one product with zeros."""
    if reads_incumbent():
        return value.base
    return mask(value.base, value.ranges, 0)


def _read_by(out: Range | None, groups: int, outputs: int, inputs: int) -> Range | None:
    """The image's channels that some outputs of a grouped convolution read, as whole groups."""
    each = outputs // groups
    if out is None:
        return None
    group, within = out.start.divided(each)
    if out.size == 1 or (out.size % each == 0 and within.is_static and within.constant == 0):
        return Range(group.times(inputs), max(out.size // each, 1) * inputs)
    return None


def _convolve_sliced_image(eqn: Any, image: Sliced, kernel: Array) -> Value | None:
    """The rest of the input channels once, plus the share of those in the box."""
    numbers = eqn.params["dimension_numbers"]
    examples, channels, *spatial = numbers.lhs_spec
    found = whole_along(image, spatial)
    found = merge(found, examples) if found is not None else None
    if found is None:
        return None
    axes = found.axes()[channels]
    # The kernel's input channels in the view of the image's.
    inputs = numbers.rhs_spec[1]
    sizes = [found.base.shape[a] for a in axes]
    split = kernel.reshape([*kernel.shape[:inputs], *sizes, *kernel.shape[inputs + 1 :]])
    read = [found.ranges[a] for a in axes]
    of_kernel = (
        *[None] * inputs,
        *read,
        *[None] * (kernel.ndim - inputs - 1),
    )

    def plain(array: Array, axis: int) -> Array:
        """An array with the view's axes for one axis as one again."""
        shape = array.shape
        return array.reshape([*shape[:axis], -1, *shape[axis + len(axes) :]])

    begin = axes[0]
    beside = ranges_beside(found.ranges, axes)
    ranges = tuple(
        found.ranges[found.axes()[examples][0]] if a == numbers.out_spec[0] else None
        for a in range(kernel.ndim)
    )
    ones = (1,) * kernel.ndim
    if not any(read):
        base, part = (apply(eqn, plain(x, begin), kernel) for x in (found.base, found.part))
        return Sliced(base, part, ranges, ones)
    others, rest_kernel, own = take(found.base, beside), split, found.part
    if reads_incumbent():
        own = own - take(found.base, found.ranges)
    else:
        others = mask(others, ranges_along(found.ranges, axes), 0)
        rest_kernel = mask(rest_kernel, of_kernel, 0)
    others, rest_kernel = plain(others, begin), plain(rest_kernel, inputs)
    own, own_kernel = plain(own, begin), plain(take(split, of_kernel), inputs)
    if not any(ranges):
        rest, share = (
            convolution_of(eqn, x, k) for x, k in ((others, rest_kernel), (own, own_kernel))
        )
        if rest is not None and share is not None:
            return Sum((rest,), (share,))
    part = apply(eqn, others, rest_kernel) + apply(eqn, own, own_kernel)
    base = apply(eqn, plain(found.base, begin), kernel) if any(ranges) else part
    return sliced(base, part, ranges, ones)


def _convolve_sliced_groups(eqn: Any, image: Sliced, kernel: Array) -> Value | None:
    """A box in some groups reaches those groups' outputs."""
    numbers, groups = eqn.params["dimension_numbers"], eqn.params["feature_group_count"]
    examples, channels, *spatial = numbers.lhs_spec
    found = whole_along(image, spatial)
    found = merge(found, examples) if found is not None else None
    split = _grouped(found, channels, groups) if found is not None else None
    if split is None:
        return None
    axes = split.axes()[channels]
    *of_groups, inputs = axes  # axes of the view: for the groups, and for the channels of each
    split = widen(split, set_range(split.ranges, inputs, None))
    if split is None:
        return None
    sizes = [split.base.shape[a] for a in of_groups]
    box = tuple(split.ranges[a] for a in of_groups)
    # The kernel's outputs, and the result's channels, in the same groups.
    outputs = numbers.rhs_spec[0]
    each = kernel.shape[outputs] // groups
    before, after = kernel.shape[:outputs], kernel.shape[outputs + 1 :]
    own = take(
        kernel.reshape([*before, *sizes, each, *after]),
        (*[None] * len(before), *box, *[None] * (1 + len(after))),
    ).reshape([*before, -1, *after])
    count = math.prod(inner_shape(sizes, box))
    begin = axes[0]

    def plain(array: Array) -> Array:
        shape = array.shape
        return array.reshape([*shape[:begin], -1, *shape[begin + len(axes) :]])

    part = apply(eqn, plain(split.part), own, feature_group_count=count)
    base = apply(eqn, plain(_finite(split)), kernel)
    at, batch = numbers.out_spec[1], split.ranges[split.axes()[examples][0]]
    ranges: list[Range | None] = [
        batch if a == numbers.out_spec[0] else None for a in range(base.ndim)
    ]
    view, inside = list(base.shape), list(part.shape)
    ranges[at : at + 1] = [*box, None]
    view[at : at + 1] = [*sizes, each]
    inside[at : at + 1] = [*inner_shape(sizes, box), each]
    counts = [len(axes) if a == at else 1 for a in range(base.ndim)]
    return sliced(base.reshape(view), part.reshape(inside), tuple(ranges), counts)


def _grouped(value: Sliced, axis: int, groups: int) -> Sliced | None:
    """The value with axes of its view for the groups along an axis, and one for what each holds."""
    own = [value.base.shape[a] for a in value.axes()[axis]]
    each = math.prod(own) // groups
    common = common_sizes([n for n in own if n > 1], [n for n in (groups, each) if n > 1])
    if common is None:
        return None
    if each == 1:
        common = [*common, 1]
    sizes = [[value.base.shape[a] for a in axes] for axes in value.axes()]
    outer = next(i for i in range(len(common) + 1) if math.prod(common[:i]) == groups)
    split = split_as(value, [*sizes[:axis], common, *sizes[axis + 1 :]])
    if split is None or len(common) - outer == 1:
        return split
    # What a group holds is one axis, read whole.
    axes = split.axes()[axis]
    ranges = tuple(None if a in axes[outer:] else r for a, r in enumerate(split.ranges))
    split = widen(split, ranges)
    view = [*sizes[:axis], [*common[:outer], each], *sizes[axis + 1 :]]
    return split_as(split, view) if split is not None else None


def _at(ndim: int, axis: int, r: Range | None) -> Ranges:
    return tuple(r if a == axis else None for a in range(ndim))
