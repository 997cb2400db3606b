"""The digits that scikit-learn carries: small, and there without a download."""

import numpy as np

from rso_jax.data.dataset import Dataset, check

TEST_EXAMPLES = 360
BRIGHTEST = 16
"""Pixel values are 0..16 (documentation of ``sklearn.datasets.load_digits``)."""


def load_digits() -> Dataset:
    """Return scikit-learn's handwritten digits.

    Returns:
        Images [N, 8, 8, 1] float32 in [0, 1], 1437 to train and 360 to test, in 10 classes. The
        split is always the same, with equal class shares in both parts.
    """
    from sklearn import datasets
    from sklearn.model_selection import train_test_split

    source = datasets.load_digits()
    images = (source.images / BRIGHTEST).astype(np.float32)[..., None]
    x_train, x_test, y_train, y_test = train_test_split(
        images,
        source.target.astype(np.int32),
        test_size=TEST_EXAMPLES,
        random_state=0,
        stratify=source.target,
    )
    return check(Dataset("digits", x_train, y_train, x_test, y_test, classes=10))
