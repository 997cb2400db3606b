"""Variants of the search at equal image evaluations, on digits and on MNIST.

What is counted, scored and searched: see ``study.py``. Sequential search is preset
``authors_code``: MNIST 8 cycles of 4 mini-batches of 1000, digits 12 cycles on all images. The
others get as many evaluations, or a share of them.

    python experiments/search_variants.py --dataset digits
    python experiments/search_variants.py --dataset mnist --data-dir DIR --max-minutes 100

Every run ends as a folder under ``experiments/results/search_variants/``; runs that are there
are left alone, so that what was interrupted goes on. About 2 minutes for a run of MNIST.

Results named ``leaves, ...`` and ``blocks of 16, differences`` are of joint steps down measured
slopes, which ``rso_jax.slopes`` has replaced; see ``docs/spectral.md``.
"""

from functools import partial

from adaptive_search import Race, adapting, racing, revisiting
from study import Variant, run_study, sequential

from rso_jax.leaves import LossFn
from rso_jax.schedules import in_parts
from rso_jax.search import Search, joint, minibatches, proposals
from rso_jax.search.joint import Block


def blocks(size: int | str, step: joint.JointStep) -> Variant:
    """``authors_code`` with a block."""
    return Variant(sequential(block=Block(size, step)), waits=2)


def changing(*sizes: int, usual: float) -> Variant:
    """Blocks of one size after the other, each for as many cycles."""

    def search(loss_fn: LossFn, cycles: int) -> Search:
        blocks = [Block(size, joint.parabola()) for size in sizes]
        return sequential(block=in_parts(blocks, cycles))(loss_fn, cycles)

    return Variant(search, waits=2, usual=usual)


ONE = minibatches.per_leaf
ONE_SIDE = proposals.one_way(proposals.normal_distance)
GROWING = (1 / 8, 1 / 8, 1 / 4, 1 / 4, 1 / 2, 1 / 2, 1.0, 1.0)
VARIANTS = {
    "sequential": Variant(sequential()),
    "sequential, batch / 4": Variant(sequential(), 1 / 4),
    "sequential, batch / 4, quarter": Variant(sequential(), 1 / 4, 1 / 4),
    "sequential, growing batch": Variant(sequential(), GROWING),
    "sequential, a batch for a leaf": Variant(sequential(weight_decay=0.0, minibatches=ONE)),
    "sequential, two pairs": Variant(
        sequential(proposal=proposals.antithetic(proposals.normal_distance, pairs=2)), 4 / 5
    ),
    "sequential, fixed distance": Variant(sequential(proposal=proposals.fixed)),
    "sequential, a batch for a column": Variant(
        sequential(weight_decay=0.0, minibatches=minibatches.per_column)
    ),
    "sequential, one side": Variant(sequential(proposal=ONE_SIDE)),
    "sequential, racing": Variant(
        partial(racing, race=Race(least=2, most=16, clear=2.0)), usual=0.75, waits=1
    ),
    "sequential, gainers again": Variant(partial(revisiting, share=0.25), usual=1.25),
    "sequential, adapted sigma": Variant(partial(adapting, widen=1.5, narrow=0.8)),
    "blocks of 16, accepted": blocks(16, joint.accepted()),
    "blocks of 16, parabola": blocks(16, joint.parabola()),
    "blocks of 144, parabola": blocks(144, joint.parabola()),
    "blocks that grow": changing(4, 16, 64, 144, usual=0.75),
    "blocks that shrink": changing(144, 64, 16, 4, usual=1.19),
    "a draw for a column": Variant(sequential(block=Block("column", joint.together, probe=False))),
    "a draw for a leaf": Variant(
        sequential(block=Block("leaf", joint.together, probe=False)), share=1 / 16
    ),
}

SAME_ON_ONE_BATCH = ("sequential, a batch for a leaf", "sequential, a batch for a column")


if __name__ == "__main__":
    run_study("search_variants", VARIANTS, SAME_ON_ONE_BATCH)
