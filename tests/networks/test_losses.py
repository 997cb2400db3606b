"""Losses of logits: their values, and labels that do not fit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rso_jax import UserError
from rso_jax.networks import cross_entropy, zero_one

LOGITS = jnp.asarray(np.random.default_rng(0).normal(size=(5, 4)), jnp.float32)
LABELS = jnp.asarray([0, 3, 1, 1, 2])


@given(shape=st.sampled_from([(3,), (2, 3), (1, 2, 2)]), seed=st.integers(0, 99))
def test_against_the_equations_with_a_label_for_each_token_too(shape, seed):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(*shape, 4)).astype(np.float32)
    labels = rng.integers(0, 4, shape).astype(rng.choice(["int32", "uint8", "int8"]))
    exponentials = np.exp(logits.astype(np.float64))
    chances = exponentials / exponentials.sum(-1, keepdims=True)
    losses = -np.log(np.take_along_axis(chances, labels[..., None].astype(int), -1))
    assert float(cross_entropy(logits, labels)) == pytest.approx(losses.mean(), rel=1e-5)
    summed = cross_entropy(logits, labels, reduction="sum")
    assert float(summed) == pytest.approx(losses.sum(), rel=1e-5)
    wrong = (logits.argmax(-1) != labels).mean()
    assert float(zero_one(logits, labels)) == pytest.approx(wrong)


@pytest.mark.parametrize("loss", [cross_entropy, zero_one])
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(
    ("logits", "labels", "said"),
    [
        (LOGITS, LABELS[:, None], r"shape \(5, 1\).*pass labels\[\.\.\., 0\]"),
        (LOGITS, LABELS[:3], r"labels must have shape \(5,\)"),
        (LOGITS, LABELS[0], r"labels must have shape \(5,\)"),
        (LOGITS, jax.nn.one_hot(LABELS, 4, dtype=int), r"argmax"),
        (LOGITS, LABELS.astype(float), "labels are float32; pass an array of whole numbers"),
        (LOGITS, LABELS > 0, "labels are bool"),
        (LOGITS[:, None], LABELS, r"labels must have shape \(5, 1\)"),
        (LOGITS[:, 0], LABELS, r"logits have shape \(5,\)"),
        (LABELS[:, None], LABELS, "logits are int32"),
        ((LOGITS, 1), LABELS, "logits are tuple"),
    ],
)
def test_what_does_not_fit_is_refused(loss, compiled, logits, labels, said):
    with pytest.raises(UserError, match=said) as told:
        (jax.jit(loss) if compiled else loss)(logits, labels)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("wrong", [-1, 4, 100])
def test_labels_that_are_no_class(wrong):
    labels = LABELS.at[2].set(wrong)
    for loss in (cross_entropy, zero_one):
        with pytest.raises(UserError, match=r"they must be in 0\.\.3"):
            loss(LOGITS, labels)
    assert np.isnan(jax.jit(cross_entropy)(LOGITS, labels)), "not the loss of another class"


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_more_classes_than_the_labels_could_count(dtype):
    logits = jnp.zeros((2, 300))
    found = jax.jit(cross_entropy)(logits, jnp.asarray([5, 120], dtype))
    assert float(found) == pytest.approx(np.log(300))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"reduction": "men"}, "reduction is 'men'; it must be one of mean, sum"),
        ({"precision": "float16"}, "precision is 'float16'"),
        ({"precision": "float64"}, "64-bit mode"),
    ],
)
def test_settings_of_cross_entropy(options, said):
    with pytest.raises(UserError, match=said):
        cross_entropy(LOGITS, LABELS, **options)
