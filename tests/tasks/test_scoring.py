"""Scores against plain NumPy, and evaluation statistics from training images alone."""

import jax
import numpy as np
import pytest
from small_problem import points

from rso_jax import UserError
from rso_jax.networks import create
from rso_jax.tasks import calibrate, score

NETWORK = create("mlp", (4,), 3, hidden=(5,))


@pytest.fixture(scope="module")
def params():
    return NETWORK.init(jax.random.key(0), np.zeros((1, 4), np.float32))


def test_score_of_more_examples_than_a_chunk(params):
    data = points(train=2300)
    statistics = calibrate(NETWORK, params, data.x_train)
    logits = np.asarray(NETWORK.evaluate(params, statistics, data.x_train), np.float64)
    shifted = logits - logits.max(1, keepdims=True)
    log_shares = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    found = score(NETWORK, params, statistics, data.x_train, data.y_train)
    assert found.accuracy == np.mean(logits.argmax(1) == data.y_train)
    assert found.loss == pytest.approx(-np.mean(log_shares[np.arange(2300), data.y_train]), 1e-5)


def test_a_network_in_bfloat16_is_counted_exactly(params):
    """Its logits in bfloat16, of which a thousand cannot be added up in that type."""
    network = NETWORK._replace(
        evaluate=lambda p, s, x: NETWORK.evaluate(p, s, x).astype("bfloat16")
    )
    data = points(train=900)
    statistics = calibrate(network, params, data.x_train)
    logits = np.asarray(network.evaluate(params, statistics, data.x_train), np.float64)
    found = score(network, params, statistics, data.x_train, data.y_train)
    assert found.accuracy == np.mean(logits.argmax(1) == data.y_train)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda labels: labels + 1, "labels are from 1 to 3"),
        (lambda labels: labels - 1, "labels are from -1 to 1"),
        (lambda labels: labels[:, None], r"labels have shape \(20, 1\)"),
        (lambda labels: labels[:5], "20 images and 5 labels"),
    ],
)
def test_labels_that_do_not_fit_are_refused(params, change, said):
    data = points()
    statistics = calibrate(NETWORK, params, data.x_train)
    with pytest.raises(UserError, match=said):
        score(NETWORK, params, statistics, data.x_test, change(data.y_test))


def test_a_loss_that_is_not_finite_is_infinite(params):
    data = points()
    broken = jax.tree.map(lambda a: a * np.nan, params)
    statistics = calibrate(NETWORK, params, data.x_train)
    assert score(NETWORK, broken, statistics, data.x_test, data.y_test).loss == float("inf")


def test_statistics_come_from_the_first_2000_training_images(params):
    data = points(train=2300)
    statistics = calibrate(NETWORK, params, data.x_train)
    mean = (data.x_train[:2000] @ np.asarray(params["hidden1"]["kernel"])).mean(0)
    found = jax.tree_util.tree_leaves_with_path(statistics)
    assert any(leaf.shape == (5,) and np.allclose(leaf, mean, atol=1e-5) for _, leaf in found)

    later = data.x_train.copy()
    later[2000:] = 99.0
    for a, b in zip(
        jax.tree.leaves(statistics), jax.tree.leaves(calibrate(NETWORK, params, later)), strict=True
    ):
        np.testing.assert_array_equal(a, b)
