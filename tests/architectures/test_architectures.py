"""Column programs of whole architectures: every leaf, some columns of it, against the full loss."""

import equinox_models
import jax
import linen_models
import nnx_models
import plain_convolutions
import plain_models
import plain_sequences
import pytest
from parts import numbers
from stages import check_stages, staged

from rso_jax.incremental import column_program
from rso_jax.search.leaves import named_leaves

FAMILIES = {
    "plain": (plain_models, plain_convolutions, plain_sequences),
    "linen": (linen_models,),
    "nnx": (nnx_models,),
    "equinox": (equinox_models,),
}
ARCHITECTURES = {
    f"{family}-{name}": make
    for family, modules in FAMILIES.items()
    for module in modules
    for name, make in module.ARCHITECTURES.items()
}


def some(n):
    """The first, the last and one between."""
    return sorted({0, n // 2, n - 1})


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_leaf_by_column_and_in_full(name):
    with jax.enable_x64(True):  # so that rounding cannot hide a wrong term
        params, loss_fn, batch = ARCHITECTURES[name]()
        full = jax.jit(loss_fn)  # stages are cheaper operation by operation: few are new
        for i, (path, leaf) in enumerate(named_leaves(params).items()):
            assert leaf.dtype == "float64", path
            program = column_program(loss_fn, params, batch, i)
            weights = numbers(300 + i, *leaf.shape[:-1]) / 2
            for o in some(leaf.shape[-1] if leaf.shape else 1):
                k = (3 * o + 1) % weights.size
                found = staged(program, full, i, params, batch, o, weights, k)
                check_stages(found, f"{path}, column {o}")
