"""Classification of images that are changed anew in every cycle."""

import jax
import numpy as np
import pytest
from small_problem import StopAtLook

from rso_jax import UserError
from rso_jax.baselines import cosine_sgd, gradient_method
from rso_jax.data import Dataset
from rso_jax.data.augmentation import shift
from rso_jax.mesh import make_mesh
from rso_jax.networks import create, loss_of
from rso_jax.tasks import classification
from rso_jax.training import train

NETWORK = create("mlp", (4, 4, 1), 2, hidden=(), norm="none")
MAKE = np.random.default_rng(0)
IMAGES, LABELS = (
    MAKE.normal(size=(12, 4, 4, 1)).astype(np.float32),
    np.arange(12, dtype=np.int32) % 2,
)
DATA = Dataset("noise", IMAGES, LABELS, IMAGES[:4], LABELS[:4], 2)


def task(augment=None, mesh=None):
    return classification(NETWORK, DATA, batch_size=4, augment=augment, mesh=mesh)


def batches(task, seed=5):
    return jax.tree.map(np.asarray, task.batches(np.random.default_rng(seed), 0))


def test_the_mini_batches_are_those_of_the_task_without_it_shifted():
    plain, shifted = batches(task()), batches(task(shift(1)))
    np.testing.assert_array_equal(plain["label"], shifted["label"])
    wide = np.pad(plain["image"], [(0, 0), (0, 0), (1, 1), (1, 1), (0, 0)], mode="edge")
    moves = [wide[:, :, i : i + 4, j : j + 4] for i in range(3) for j in range(3)]
    agree = np.array([(shifted["image"] == moved).all(axis=(2, 3, 4)) for moved in moves])
    assert (agree.sum(0) == 1).all()
    assert agree.any(axis=(1, 2)).sum() > 3 and not (agree[:, 0] == agree[:, 1]).all()
    np.testing.assert_array_equal(batches(task(shift(1)))["image"], shifted["image"])
    assert np.any(batches(task(shift(1)), seed=6)["image"] != shifted["image"])
    on_mesh = batches(task(shift(1), make_mesh(1, 1)))
    np.testing.assert_array_equal(on_mesh["image"], shifted["image"])


def test_what_is_scored_is_not_changed():
    params = task().init(jax.random.key(0))
    scores = [t.score(params, t.keep(params)) for t in (task(), task(shift(2)))]
    assert scores[0] == scores[1]


def test_interrupted_it_goes_on_to_the_same_end(tmp_path):
    method = gradient_method(loss_of(NETWORK), cosine_sgd(learning_rate=0.1, steps=6))
    whole = train(method, task(shift(1)), cycles=2)
    train(method, task(shift(1)), cycles=2, folder=tmp_path, stop=StopAtLook(1))
    resumed = train(method, task(shift(1)), cycles=2, folder=tmp_path, resume=True)
    for a, b in zip(*map(jax.tree.leaves, (whole.params, resumed.params)), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("augment", "said"),
    [
        (2, "augment is an int; pass"),
        (lambda key, images: images[:, :2], r"augment makes .*\(2, 2, 4, 1\).* must keep"),
        (lambda key, images: images.astype("int32"), "augment makes .* must keep"),
    ],
)
def test_what_is_no_augmentation_is_refused(augment, said):
    with pytest.raises(UserError, match=said):
        task(augment)
