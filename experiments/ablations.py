"""What each part of sequential RSO is good for: ``authors_code`` with one thing changed.

Networks, data, mini-batches and the held-out training images that are scored are those of
``study.py``. Every run gets the image evaluations of the reference, with two exceptions: a larger
or smaller mini-batch gets as many cycles instead, and a draw for a whole array a sixteenth of the
evaluations. On digits a mini-batch is all of the data, and cannot be larger or another.

    python experiments/ablations.py --dataset digits
    python experiments/ablations.py --dataset mnist --data-dir DIR --max-minutes 100
"""

from collections.abc import Sequence

import jax
import optax
from study import Variant, run_study, sequential

from rso_jax.leaves import Leaf
from rso_jax.search import joint, minibatches, order, sigma
from rso_jax.search.joint import Block


def only_kernels(key: jax.Array, leaves: Sequence[Leaf]) -> list[Leaf]:
    """``last_to_first`` without the scales and shifts of batch norm."""
    return [leaf for leaf in order.last_to_first(key, leaves) if len(leaf.shape) > 1]


ABLATIONS = {
    "authors_code": Variant(sequential()),
    "batch / 4": Variant(sequential(), 1 / 4, 1 / 4),
    "batch / 2": Variant(sequential(), 1 / 2, 1 / 2),
    "batch x 2": Variant(sequential(), 2.0, 2.0),
    "batch x 4": Variant(sequential(), 4.0, 4.0),
    "no annealing": Variant(sequential(schedule=optax.constant_schedule(1.0))),
    "sigma / 10 from the start": Variant(sequential(schedule=optax.constant_schedule(0.1))),
    "sigma measured after initialisation": Variant(sequential(sigma=sigma.empirical)),
    "first layer first": Variant(sequential(order=order.first_to_last)),
    "layers in random order": Variant(sequential(order=order.random_order)),
    "a column at once, one draw": Variant(
        sequential(block=Block("column", joint.together, probe=False))
    ),
    "an array at once, one draw": Variant(
        sequential(block=Block("leaf", joint.together, probe=False)), share=1 / 16
    ),
    "no weight decay": Variant(sequential(weight_decay=0.0)),
    "weight decay x 10": Variant(sequential(weight_decay=1e-3)),
    "batch norm not searched": Variant(sequential(order=only_kernels)),
    "a fresh mini-batch for every visit": Variant(sequential(minibatches=minibatches.fresh)),
}
SAME_ON_ONE_BATCH = ("a fresh mini-batch for every visit", "batch x 2", "batch x 4")


if __name__ == "__main__":
    run_study("ablations", ABLATIONS, SAME_ON_ONE_BATCH)
