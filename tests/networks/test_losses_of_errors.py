"""Losses of decisions against scikit-learn, margins, and lexicographic sums."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn import metrics

from rso_jax import UserError
from rso_jax.networks import (
    auc,
    cost_matrix,
    f1,
    false_alarms,
    hinge,
    lexicographic,
    margin,
    top_k,
    zero_one,
)

EXAMPLES, CLASSES = 12, 4
seeds = st.integers(0, 2**32 - 1)
quick = settings(max_examples=50, deadline=None)


quick_f1, quick_auc = jax.jit(f1), jax.jit(auc)


def draw_logits(seed, ties=False):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(EXAMPLES, CLASSES)).astype(np.float32)
    return np.round(logits) if ties else logits, rng.integers(0, CLASSES, EXAMPLES)


def draw_scores(seed):
    """Scores with ties and labels of any share, all or none among them."""
    rng = np.random.default_rng(seed)
    scores = np.round(2 * rng.normal(size=EXAMPLES)).astype(np.float32)
    return scores, (rng.random(EXAMPLES) < rng.random()).astype(int)


@given(seed=seeds, k=st.integers(1, CLASSES - 1))
@quick
def test_top_k(seed, k):
    logits, labels = draw_logits(seed)
    right = metrics.top_k_accuracy_score(labels, logits, k=k, labels=np.arange(CLASSES))
    assert float(top_k(logits, labels, k)) == pytest.approx(1 - right)


@given(seed=seeds)
@quick
def test_of_equal_logits_the_first_class_counts(seed):
    logits, labels = draw_logits(seed, ties=True)
    one = top_k(logits, labels, 1, reduction="none")
    np.testing.assert_array_equal(one, zero_one(logits, labels, reduction="none"))
    order = np.argsort(-logits, axis=-1, kind="stable")[:, :2]
    missed = ~(order == labels[:, None]).any(-1)
    np.testing.assert_array_equal(top_k(logits, labels, 2, reduction="none"), missed)


@given(seed=seeds)
@quick
def test_costs(seed):
    logits, labels = draw_logits(seed, ties=True)
    costs = np.random.default_rng(seed + 1).normal(size=(CLASSES, CLASSES)).astype(np.float32)
    counts = metrics.confusion_matrix(labels, logits.argmax(-1), labels=np.arange(CLASSES))
    total = (counts * costs).sum()
    found = cost_matrix(logits, labels, costs, reduction="sum")
    assert float(found) == pytest.approx(total, abs=1e-4)
    errors = cost_matrix(logits, labels, 1 - np.eye(CLASSES))
    assert float(errors) == pytest.approx(float(zero_one(logits, labels)))


@given(seed=seeds)
@quick
def test_f1_of_scores_and_of_logits(seed):
    scores, labels = draw_scores(seed)
    score = metrics.f1_score(labels, scores > 0, zero_division=0.0)
    assert float(quick_f1(scores, labels)) == pytest.approx(1 - score, abs=1e-6)
    logits, labels = draw_logits(seed)
    logits, labels = logits[:6], labels[:6]  # so few that classes are missing
    score = metrics.f1_score(labels, logits.argmax(-1), average="macro")
    assert float(quick_f1(logits, labels)) == pytest.approx(1 - score, abs=1e-6)


@given(seed=seeds)
@example(seed=0)
@quick
def test_area_under_the_curve(seed):
    scores, labels = draw_scores(seed)
    found = float(quick_auc(scores, labels))
    if len(set(labels)) == 1:
        assert np.isnan(found)
    else:
        assert found == pytest.approx(1 - metrics.roc_auc_score(labels, scores), abs=1e-6)
    scores[3] = np.nan
    assert np.isnan(quick_auc(scores, labels))


def test_area_of_many_examples_is_exact():
    rng = np.random.default_rng(0)
    scores, labels = rng.normal(size=8_192).astype(np.float32), np.arange(8_192) % 2
    wanted = 1 - metrics.roc_auc_score(labels, scores)
    assert float(auc(scores, labels)) == pytest.approx(wanted, abs=1e-7)


@given(seed=seeds, at_most=st.sampled_from([0.0, 0.01, 0.2, 0.5]))
@quick
def test_false_alarms(seed, at_most):
    scores, labels = draw_scores(seed)
    (zeros, false), (_, _) = metrics.confusion_matrix(labels, scores > 0, labels=[0, 1])
    negatives = max(zeros + false, 1)
    found = float(false_alarms(scores, labels, at_most=at_most))
    if false > at_most * negatives:
        more = false - np.floor(at_most * negatives)
        assert found == pytest.approx(1 + more / negatives)
        assert found > 1
    else:
        recall = metrics.recall_score(labels, scores > 0, zero_division=1.0)
        assert found == pytest.approx(1 - recall, abs=1e-6)


@pytest.mark.parametrize("share", [0.01, 0.03, 0.07, 0.29, 0.57])
@pytest.mark.parametrize("negatives", [100, 200, 700])
def test_what_is_allowed_is_not_lost_to_rounding(share, negatives):
    allowed = round(share * negatives)
    labels = jnp.asarray([0] * negatives + [1])
    scores = jnp.where(jnp.arange(negatives + 1) < allowed, 1.0, -1.0)
    assert float(false_alarms(scores, labels, at_most=share)) == 1.0, "the only 1 is missed"
    assert float(false_alarms(scores.at[-2].set(1.0), labels, at_most=share)) > 1


@given(seed=seeds)
@quick
def test_margins_and_hinge(seed):
    logits, labels = draw_logits(seed)
    own = np.take_along_axis(logits, labels[:, None], -1)[:, 0]
    others = np.where(np.arange(CLASSES) == labels[:, None], -np.inf, logits).max(-1)
    found = margin(logits, labels, reduction="none")
    np.testing.assert_allclose(found, others - own, rtol=1e-6)
    np.testing.assert_array_equal(found > 0, zero_one(logits, labels, reduction="none"))
    wanted = metrics.hinge_loss(labels, logits, labels=np.arange(CLASSES))
    assert float(hinge(logits, labels)) == pytest.approx(wanted, rel=1e-5)
    lacking = np.maximum(others - own, 0).sum()
    assert float(hinge(logits, labels, width=0, reduction="sum")) == pytest.approx(lacking, 1e-5)


anything = st.floats(width=32, allow_nan=False)
combined = jax.jit(lambda first, second, step: lexicographic(first, second, step=step))


@given(
    counts=st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)),
    seconds=st.tuples(anything, anything),
)
@example(counts=(999_999, 10**6), seconds=(np.inf, -np.inf))
@example(counts=(3, 3), seconds=(2.0**24, 2.0**24 + 2))
@pytest.mark.parametrize("whole", [True, False])
@settings(max_examples=200, deadline=None)
def test_fewer_errors_win_and_then_the_second_loss(whole, counts, seconds):
    step = 1.0 if whole else 1e-6
    firsts = [float(np.float32(count * step)) for count in counts]
    a, b = (float(combined(f, s, step)) for f, s in zip(firsts, seconds, strict=True))
    if counts[0] != counts[1]:
        assert (a < b) == (counts[0] < counts[1])
    elif seconds[0] < seconds[1]:
        assert a <= b
    elif seconds[0] == seconds[1]:
        assert a == b


def test_what_float32_resolves_of_the_second_loss():
    for count, told in ((0, 5e-7), (10, 1e-5), (1_000, 5e-4)):
        assert float(lexicographic(count, 0.0, step=1)) < float(lexicographic(count, told, step=1))


def test_losses_of_examples_and_those_that_are_not_finite():
    first, second = jnp.asarray([0.0, 1.0, 0.0, jnp.inf]), jnp.asarray([1.0, -5.0, jnp.nan, 0.0])
    found = lexicographic(first, second, step=1)
    assert found.shape == (4,) and found[0] < found[1]
    assert np.isnan(found[2]) and np.isinf(found[3])
    assert lexicographic(jnp.asarray([True, False]), jnp.bfloat16(0), step=1).dtype == jnp.float32


LOGITS, LABELS = (jnp.asarray(a) for a in draw_logits(0))
OF_LOGITS = {
    "zero_one": zero_one,
    "top_k": partial(top_k, k=2),
    "cost_matrix": partial(cost_matrix, costs=1 - np.eye(CLASSES)),
    "margin": margin,
    "hinge": hinge,
}
OF_SCORES = {"f1": f1, "auc": auc, "false_alarms": false_alarms}


@pytest.mark.parametrize("name", OF_LOGITS)
def test_reductions_and_labels_for_each_token(name):
    loss = OF_LOGITS[name]
    alone = loss(LOGITS, LABELS, reduction="none")
    assert alone.shape == LABELS.shape and alone.dtype == jnp.float32
    assert float(loss(LOGITS, LABELS)) == pytest.approx(float(alone.mean()))
    assert float(loss(LOGITS, LABELS, reduction="sum")) == pytest.approx(float(alone.sum()))
    tokens = loss(LOGITS.reshape(3, 4, -1), LABELS.reshape(3, 4), reduction="none")
    np.testing.assert_array_equal(tokens.ravel(), alone)


@pytest.mark.parametrize("name", sorted({*OF_LOGITS} - {"zero_one"}))
@pytest.mark.parametrize("wrong", [-1, CLASSES])
def test_labels_that_are_no_class(name, wrong):
    labels = LABELS.at[2].set(wrong)
    with pytest.raises(UserError, match=r"they must be in 0\.\.3"):
        OF_LOGITS[name](LOGITS, labels)
    assert np.isnan(jax.jit(OF_LOGITS[name])(LOGITS, labels)), "not the loss of another class"


SCORES = LOGITS[:, 0]


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(
    ("loss", "arguments", "said"),
    [
        *((loss, (LOGITS, LABELS[:3]), "labels must have shape") for loss in OF_LOGITS.values()),
        *((loss, (SCORES, LABELS[:3]), "labels must have shape") for loss in OF_SCORES.values()),
        *((loss, (SCORES, LABELS > 0), "labels are bool") for loss in OF_SCORES.values()),
        (auc, (LOGITS, LABELS), r"shape \(12, 4\); pass one for each example"),
        (false_alarms, (1.0, LABELS), "shape None; pass one for each example"),
        (f1, (LOGITS.reshape(3, 4, -1), LABELS.reshape(3, 4)), r"\[examples, classes\]"),
        (margin, (LOGITS[:, :1], 0 * LABELS), "two classes or more"),
        (zero_one, (LOGITS, LABELS, "men"), "reduction is 'men'"),
    ],
)
def test_what_does_not_fit_is_refused(loss, arguments, said, compiled):
    logits, labels, *more = arguments
    loss = partial(loss, reduction=more[0]) if more else loss
    with pytest.raises(UserError, match=said) as told:
        (jax.jit(loss) if compiled and jnp.ndim(logits) else loss)(logits, labels)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: auc(SCORES, LABELS), r"they must be in 0\.\.1"),
        (lambda: top_k(LOGITS, LABELS, 0), "k is 0; it must be at least 1"),
        (lambda: top_k(LOGITS, LABELS, 4), "k is 4 of 4 classes"),
        (lambda: top_k(LOGITS, LABELS, 1.5), "k is 1.5; it must be a whole number"),
        (lambda: cost_matrix(LOGITS, LABELS, np.eye(3)), r"shape \(3, 3\).*\(4, 4\)"),
        (lambda: cost_matrix(LOGITS, LABELS, np.full((4, 4), np.inf)), "not finite"),
        (lambda: false_alarms(SCORES, 0 * LABELS, at_most=1), "at_most is 1"),
        (lambda: hinge(LOGITS, LABELS, width=-1), "width is -1"),
        (lambda: lexicographic(0.0, 0.0, step=0), "step is 0; it must be above 0"),
    ],
)
def test_settings(call, said):
    with pytest.raises(UserError, match=said):
        call()
