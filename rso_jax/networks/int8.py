"""Networks of whole numbers: 8-bit weights and activations, as a microcontroller multiplies them.

Everything is a multiple of a power of two: inputs and activations of ``UNIT``, a kernel's weights
of a unit that follows from its fan-in, biases of ``BIAS_UNIT``. So a network of a floating-point
framework computes exactly what whole numbers and shifts do, as long as no sum outgrows the 24 bits
of a float32; and what is trained is what is deployed, bit by bit. ``export_int8`` writes a
multilayer perceptron as plain arrays, and ``predict_int8`` evaluates those in NumPy.
"""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rso_jax.errors import UserError
from rso_jax.networks.grids import Grid, is_kernel, scale_of

PyTree = Any

UNIT = 2.0**-4
"""Of inputs and activations, which reach to 127 of them."""
BIAS_UNIT = 2.0**-8
MOST = 127
"""Units of a weight or an activation."""
MOST_INPUTS = 1000
"""Of a layer: 1040 products of 127 by 127 fill the 24 bits of a float32."""


def round_inputs(x: Array) -> Array:
    """Inputs as an 8-bit device has them, multiples of ``UNIT`` from -128 to 127 of them."""
    return jnp.clip(jnp.floor(x / UNIT + 0.5), -MOST - 1, MOST) * UNIT


@jax.custom_jvp
def activate(z: Array) -> Array:
    """ReLU, rounded to ``UNIT``, halves upwards, and at most 127 of them.

    A gradient passes as if nothing were rounded, between 0 and the most.
    """
    return jnp.clip(jnp.floor(z / UNIT + 0.5), 0, MOST) * UNIT


def _pass_through(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (z,), (moved,) = primals, tangents
    return activate(z), jnp.where((z > 0) & (z < MOST * UNIT), moved, 0)


activate.defjvp(_pass_through)


def unit_of(kernel: Any) -> float:
    """Of a kernel's weights: the power of two of which its scale is about 32."""
    return 2.0 ** round(math.log2(scale_of(kernel) / 32))


def _nearest(array: Array) -> Array:
    unit = unit_of(array) if is_kernel(array) else BIAS_UNIT
    codes = jnp.floor(array / unit + 0.5)
    return (jnp.clip(codes, -MOST, MOST) if is_kernel(array) else codes) * unit


def _bound(array: Array) -> Array:
    most = MOST * unit_of(array) if is_kernel(array) else 64.0
    return jnp.clip(array, -most, most)


grid = Grid(_nearest, _bound)
"""A kernel's weights are up to 127 units either way; biases multiples of ``BIAS_UNIT``."""


def export_int8(params: Mapping[str, Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """A multilayer perceptron on ``grid`` as arrays of whole numbers.

    Args:
        params: layers in their order, each with ``kernel`` [inputs, outputs] and ``bias``.

    Returns:
        For layer i, from 0: ``kernel_i`` int8, ``bias_i`` int32 in units of its sums, and
        ``shift_i``, by how many bits a sum is shifted to the right to be an activation.

    Raises:
        UserError: what is no perceptron, or weights that are not on the grid.
    """
    arrays: dict[str, np.ndarray] = {}
    for i, (name, layer) in enumerate(params.items()):
        if set(layer) != {"kernel", "bias"} or np.ndim(layer["kernel"]) != 2:
            raise UserError(
                f"layer {name} is no matrix with a bias; an int8 export is of --model mlp with "
                "--norm none and without heads"
            )
        kernel, bias = (np.asarray(layer[part], np.float64) for part in ("kernel", "bias"))
        unit = unit_of(kernel)
        codes, offsets = kernel / unit, bias / (unit * UNIT)
        if (codes % 1).any() or (offsets % 1).any() or np.abs(codes).max() > MOST:
            raise UserError(f"layer {name} has weights that no int8 has; train with --weights int8")
        arrays[f"kernel_{i}"] = codes.astype(np.int8)
        arrays[f"bias_{i}"] = offsets.astype(np.int32)
        arrays[f"shift_{i}"] = np.asarray(-math.log2(unit), np.int32)
    return arrays


def quantise_images(images: np.ndarray) -> np.ndarray:
    """Normalised images as the device is given them, int8 [n, ...]: ``round_inputs`` in NumPy."""
    codes = np.floor(images / np.float32(UNIT) + 0.5)
    return np.clip(codes, -MOST - 1, MOST).astype(np.int8)


def predict_int8(arrays: Mapping[str, np.ndarray], images: np.ndarray) -> np.ndarray:
    """Classes [n], by whole numbers alone: products, sums, shifts and comparisons.

    Args:
        arrays: as of ``export_int8``.
        images: int8 [n, ...], as of ``quantise_images``.
    """
    x = images.reshape(len(images), -1).astype(np.int32)
    layers = len(arrays) // 3
    for i in range(layers):
        x = x @ arrays[f"kernel_{i}"].astype(np.int32) + arrays[f"bias_{i}"]
        if i < layers - 1:
            half = 1 << (arrays[f"shift_{i}"] - 1)
            x = np.clip((x + half) >> arrays[f"shift_{i}"], 0, MOST)
    return x.argmax(axis=1)
