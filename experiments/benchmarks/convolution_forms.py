"""Forms of the convolutions inside a candidate: of one channel, and followed by average pooling.

Milliseconds for 3x3 kernels and 16 outputs on images of the paper's MNIST network: the share of
one channel by XLA's convolution, as a product with patches, and as shifted products; a
convolution of 16 channels pooled afterwards and at once. The forms in turn, medians.
``rso_jax.incremental.convolution`` chooses by these.

    python experiments/benchmarks/convolution_forms.py

Writes ``experiments/results/benchmarks/convolution_forms.json``. About a minute on 2 CPU cores.
"""

import json
import statistics
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from rso_jax.files import replace_file
from rso_jax.incremental.convolution import PendingConvolution, convolve, pool
from rso_jax.machine import machine

RESULT = Path(__file__).parents[1] / "results" / "benchmarks" / "convolution_forms.json"
REPETITIONS = 9
SIZES = (28, 14, 7)
LAYOUT = ("NHWC", "HWIO", "NHWC")
WINDOW = (1, 2, 2, 1)


def by_xla(image: Array, kernel: Array) -> Array:
    """XLA's convolution."""
    return lax.conv_general_dilated(image, kernel, (1, 1), "SAME", dimension_numbers=LAYOUT)


def by_patches(image: Array, kernel: Array) -> Array:
    """A matrix product with patches of the image."""
    patches = lax.conv_general_dilated_patches(
        image, kernel.shape[:2], (1, 1), "SAME", dimension_numbers=LAYOUT
    )
    weights = jnp.moveaxis(kernel, 2, 0).reshape(-1, kernel.shape[-1])
    return patches @ weights


def put_off(image: Array, kernel: Array) -> PendingConvolution:
    """As the package holds it."""
    numbers = lax.conv_dimension_numbers(image.shape, kernel.shape, LAYOUT)
    return PendingConvolution(image, kernel, (1, 1), ((1, 1), (1, 1)), numbers, None)


def by_package(image: Array, kernel: Array) -> Array:
    """As the package carries it out; for one channel on a CPU, shifted products."""
    return convolve(put_off(image, kernel))


def pooled_afterwards(image: Array, kernel: Array) -> Array:
    """A convolution, then sums over 2x2 windows."""
    result = by_xla(image, kernel)
    return lax.reduce_window(result, 0.0, lax.add, WINDOW, WINDOW, "VALID")


def pooled_at_once(image: Array, kernel: Array) -> Array:
    """One convolution of larger window and stride."""
    found = pool(put_off(image, kernel), WINDOW, WINDOW)
    assert found is not None
    return convolve(found)


def compare(channels: int, size: int, forms: list[Any], batch: int = 1000) -> dict[str, Any]:
    """Median milliseconds of each form on the same operands; all must agree."""
    key = jax.random.key(0)
    image = jax.random.normal(key, (batch, size, size, channels), jnp.float32)
    kernel = jax.random.normal(key, (3, 3, channels, 16), jnp.float32)
    compiled = {form.__name__: jax.jit(form) for form in forms}
    results = [run(image, kernel) for run in compiled.values()]
    error = max(float(jnp.abs(r - results[0]).max()) for r in results)
    taken: dict[str, list[float]] = {name: [] for name in compiled}
    for _ in range(REPETITIONS):
        for name, run in compiled.items():
            began = time.perf_counter()
            jax.block_until_ready(run(image, kernel))
            taken[name].append(1e3 * (time.perf_counter() - began))
    medians = {name: round(statistics.median(t), 3) for name, t in taken.items()}
    return {"channels": channels, "image": size, "largest_difference": error, "ms": medians}


def main() -> None:
    """Measure; print and write."""
    rows = [compare(1, size, [by_xla, by_patches, by_package]) for size in SIZES]
    for channels in (1, 16):
        forms = [pooled_afterwards, pooled_at_once]
        rows += [compare(channels, size, forms) for size in SIZES if size % 2 == 0]
    for row in rows:
        times = "  ".join(f"{name} {ms:.2f} ms" for name, ms in row["ms"].items())
        print(f"{row['channels']:>2} channels of {row['image']}x{row['image']}: {times}")
    found = {
        "what": "milliseconds of a 3x3 convolution to 16 outputs, batch 1000, medians",
        "repetitions": REPETITIONS,
        **machine(),
        "rows": rows,
    }
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    replace_file(RESULT, json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
