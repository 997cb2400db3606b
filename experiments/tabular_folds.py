"""The folds of ``tabular.py``: small tables, five times cut into five parts."""

from typing import NamedTuple

import numpy as np
from sklearn import datasets
from sklearn.model_selection import StratifiedKFold

from rso_jax.data import load
from rso_jax.errors import check_name

SETS = {
    "breast_cancer": datasets.load_breast_cancer,
    "iris": datasets.load_iris,
    "diabetes": datasets.load_diabetes,
    "wine": datasets.load_wine,
}
SEEDS, FOLDS = 5, 5
INNER = StratifiedKFold(5, shuffle=True, random_state=0)
"""Folds of a training fold, by which a C is chosen."""


class Folds(NamedTuple):
    """All folds of a table, inputs standardised by the training part of each."""

    x: np.ndarray
    """[folds, training examples, columns]"""
    y: np.ndarray
    fitted: np.ndarray
    """[inner folds, folds, training examples]: 1 where an inner fold fits, 0 where it holds out."""
    x_all: np.ndarray
    """[folds, all examples, columns]"""
    y_all: np.ndarray
    """[all examples]"""
    tested: np.ndarray
    """[folds, all examples]: 1 in the test part."""

    @property
    def classes(self) -> int:
        return int(self.y_all.max()) + 1


def read_table(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Inputs [examples, columns] and classes."""
    if name.endswith(".npz"):
        data = load(name)
        return data.x_train.reshape(len(data.x_train), -1).astype(float), data.y_train
    check_name("--only", name, SETS)
    x, y = SETS[name](return_X_y=True)
    if name == "diabetes":
        y = (y > np.median(y)).astype(int)
    return x, 1 - y if name == "breast_cancer" else y  # 1 is malignant


def split(x: np.ndarray, y: np.ndarray) -> Folds:
    """The folds, of one size: the example or two that some have more are left out."""
    pairs = [
        (np.random.default_rng(seed).permutation(train), test)
        for seed in range(SEEDS)
        for train, test in StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(x, y)
    ]
    size = min(len(train) for train, _ in pairs)
    rows = np.stack([train[:size] for train, _ in pairs])
    means, scales = x[rows].mean(1, keepdims=True), x[rows].std(1, keepdims=True)
    whole = ((x[None] - means) / np.where(scales > 0, scales, 1)).astype(np.float32)
    fitted = np.ones((INNER.n_splits, *rows.shape), np.float32)
    tested = np.zeros((len(rows), len(y)), bool)
    for i, (_, test) in enumerate(pairs):
        tested[i, test] = True
        for j, (_, held) in enumerate(INNER.split(whole[i, rows[i]], y[rows[i]])):
            fitted[j, i, held] = 0
    return Folds(np.take_along_axis(whole, rows[..., None], 1), y[rows], fitted, whole, y, tested)


def share(wrong: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Of each fold, among some of its examples."""
    return (wrong * among).sum(1) / among.sum(1)
