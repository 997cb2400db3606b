"""Column programs of whole architectures, some columns of each leaf, against the full loss.

Of the larger architectures every eighth leaf, to save time; all leaves of all of them, by hand:

    python -m pytest tests/architectures --hypothesis-profile=fresh
"""

from functools import partial

import equinox_models
import hypothesis
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
from rso_jax.trees import named_leaves

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
FRESH = hypothesis.settings.get_current_profile_name() == "fresh"
LARGE = 4
"""Leaves from which on an architecture is large."""


def some(n):
    """The first, the last and one between."""
    return sorted({0, n // 2, n - 1})


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_leaf_by_column_and_in_full(name):
    with jax.enable_x64(True):  # so that rounding cannot hide a wrong term
        params, loss_fn, batch = ARCHITECTURES[name]()
        leaves = list(named_leaves(params).items())
        step = 1 if FRESH or len(leaves) < LARGE else 8
        for i, (path, leaf) in list(enumerate(leaves))[len(name) % min(step, len(leaves)) :: step]:
            assert leaf.dtype == "float64", path
            program = column_program(loss_fn, params, batch, i)
            stages = jax.jit(partial(staged, program, loss_fn, i))
            weights = numbers(300 + i, *leaf.shape[:-1]) / 2
            for o in some(leaf.shape[-1] if leaf.shape else 1):
                k = (3 * o + 1) % weights.size
                check_stages(stages(params, batch, o, weights, k), f"{path}, column {o}")
