"""A small network and data, and a stop after so many looks."""

from functools import cache

import numpy as np

from rso_jax import presets, rso
from rso_jax.data import Dataset
from rso_jax.networks import create, loss_of
from rso_jax.tasks import classification
from rso_jax.training import StopRequest

CYCLES, BATCH = 2, 10
NETWORK = create("mlp", (4,), 3, hidden=())


def points(train=30, test=20, seed=0):
    rng = np.random.default_rng(seed)

    def split(n):
        labels = rng.integers(0, 3, n).astype(np.int32)
        images = rng.normal(size=(n, 4)) + 2 * np.eye(3, 4)[labels]
        return images.astype(np.float32), labels

    (x_train, y_train), (x_test, y_test) = split(train), split(test)
    return Dataset("points", x_train, y_train, x_test, y_test, 3)


def task(data=None, **options):
    """To tell the three kinds of points apart."""
    data = points() if data is None else data
    return classification(NETWORK, data, **({"batch_size": BATCH} | options))


@cache
def search():
    """One for all tests: what it has compiled stays compiled."""
    return rso(loss_of(NETWORK), **presets.authors_code(CYCLES))


class StopAtLook(StopRequest):
    """Asks to stop when it is looked at for the n-th time."""

    def __init__(self, looks):
        super().__init__(None)
        self.looks = looks

    def reason(self):
        self.looks -= 1
        return "stopped by the test" if self.looks < 0 else None
