"""The training loop: resume from any point, what it counts, what it reports."""

import hashlib
import json

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_problem import BATCH, CYCLES, NETWORK, StopAtLook, points, search, task

from rso_jax import UserError, rso
from rso_jax.baselines import cosine_sgd, gradient_method
from rso_jax.networks import create, loss_of
from rso_jax.tasks import classification, score
from rso_jax.training import SilentReporter, StopRequest, train
from rso_jax.training.run_folder import read_metrics

DATA = points()
WEIGHTS = 4 * 3 + 2 * 3


def sgd():
    return gradient_method(loss_of(NETWORK), cosine_sgd(learning_rate=0.1, steps=3 * CYCLES))


@pytest.fixture(scope="module", params=[search, sgd])
def method(request):
    return request.param()


def run(method, batches_per_cycle=None, **options):
    return train(
        method, task(DATA, batches_per_cycle=batches_per_cycle), cycles=CYCLES, seed=4, **options
    )


@pytest.fixture(scope="module")
def uninterrupted(method):
    return run(method)


def timeless(metrics):
    return [{k: v for k, v in line.items() if k != "seconds"} for line in metrics]


def assert_same(found, expected):
    for mine, theirs in zip(
        jax.tree.leaves((found.params, found.kept)),
        jax.tree.leaves((expected.params, expected.kept)),
        strict=True,
    ):
        assert np.asarray(mine).tobytes() == np.asarray(theirs).tobytes()
    assert timeless(found.metrics) == timeless(expected.metrics)


def test_a_run_that_stops_before_its_first_visit_keeps_its_first_weights(tmp_path):
    stop = StopRequest(max_minutes=0)
    found = run(sgd(), folder=tmp_path / "new", stop=stop)
    assert found.stopped and not found.metrics and read_metrics(str(tmp_path / "new")) == []
    assert (tmp_path / "new" / "params.npz").exists()
    gone_on = run(sgd(), folder=tmp_path / "new", resume=True)
    assert [line["cycle"] for line in gone_on.metrics] == list(range(1, CYCLES + 1))


@settings(max_examples=5)
@given(looks=st.lists(st.integers(0, 6), min_size=1, max_size=4))
def test_stopped_anywhere_it_goes_on_to_the_same_end(
    looks, method, uninterrupted, tmp_path_factory
):
    folder = tmp_path_factory.mktemp("run")
    for n in looks:
        run(method, folder=folder, resume=True, stop=StopAtLook(n))
    resumed = run(method, folder=folder, resume=True)
    assert resumed.stopped is None
    assert_same(resumed, uninterrupted)


def test_it_stops_when_asked_and_says_why(method):
    stopped = run(method, stop=StopAtLook(1))
    assert stopped.stopped == "stopped by the test"
    assert len(stopped.metrics) < CYCLES


def test_metrics_are_those_of_the_parameters(method, uninterrupted):
    last = uninterrupted.metrics[-1]
    for split in ("train", "test"):
        images, labels = getattr(DATA, f"x_{split}"), getattr(DATA, f"y_{split}")
        found = score(NETWORK, uninterrupted.params, uninterrupted.kept, images, labels)
        assert found == (last[f"{split}_accuracy"], last[f"{split}_loss"])


def test_training_lowers_the_loss(uninterrupted):
    first, last = uninterrupted.metrics[0], uninterrupted.metrics[-1]
    assert last["train_loss"] < first["train_loss"] < np.log(3) + 1


def test_costs_of_a_search():
    metrics = run(search()).metrics
    for cycle, line in enumerate(metrics, start=1):
        assert line["weight_updates"] == cycle * WEIGHTS
        assert line["image_evaluations"] == cycle * WEIGHTS * 3 * BATCH
        by_array = line["accepted_share_by_array"]
        sizes = {"output/kernel": 12, "output/bias": 3, "output/scale": 3}
        assert sum(by_array[name] * n for name, n in sizes.items()) == pytest.approx(
            line["accepted"]
        )


def test_batch_sizes_of_a_schedule():
    sizes = [5, 30, 10]
    found = train(search(), task(batch_size=lambda cycle: sizes[cycle]), cycles=3)
    spent = np.cumsum([3 * WEIGHTS * size for size in sizes])
    assert [line["image_evaluations"] for line in found.metrics] == spent.tolist()


def test_a_cycle_of_fewer_mini_batches():
    """An epoch takes one step on each mini-batch of the stack."""
    assert run(sgd()).metrics[0]["image_evaluations"] == 3 * 30
    assert run(sgd(), batches_per_cycle=2).metrics[0]["image_evaluations"] == 3 * 20


def test_scored_now_and_then(tmp_path):
    options = {"cycles": 5, "seed": 4}
    every = train(search(), task(), **options)
    some = train(search(), task(), score_every=2, folder=tmp_path / "run", **options)
    wanted = [line for line in timeless(every.metrics) if line["cycle"] in (2, 4, 5)]
    assert timeless(some.metrics) == wanted
    written = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["cycle"] for line in written] == [2, 4, 5]


def test_stopped_between_scores_it_goes_on_to_the_same_end(tmp_path):
    growing = task(batch_size=lambda cycle: 5 + cycle // 2, batches_per_cycle=2)
    options = {"cycles": 5, "score_every": 3, "seed": 4}
    whole = train(search(), growing, **options)
    for looks in (3, 5, 4):
        stop = StopAtLook(looks)
        train(search(), growing, folder=tmp_path, resume=True, stop=stop, **options)
    assert_same(train(search(), growing, folder=tmp_path, resume=True, **options), whole)


def test_a_complete_run_resumes_whatever_its_schedule(tmp_path):
    sizes = [5, 10]
    growing = task(batch_size=lambda cycle: sizes[cycle])
    whole = train(search(), growing, cycles=2, folder=tmp_path)
    again = train(search(), growing, cycles=2, folder=tmp_path, resume=True)
    assert_same(again, whole)
    assert again.progress == whole.progress


def test_a_folder_that_holds_a_run_is_not_begun_again(method, tmp_path):
    run(method, folder=tmp_path)
    kept = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match="holds a run; pass resume=True"):
        run(method, folder=tmp_path)
    assert sorted(tmp_path.rglob("*")) == kept


def test_a_checkpoint_of_a_version_with_other_fields(method, uninterrupted, tmp_path):
    """What it lacks has a default, and what it has besides is nobody's concern."""
    run(method, folder=tmp_path, stop=StopAtLook(3))
    newest = max((tmp_path / "checkpoints").iterdir())
    stored = json.loads((newest / "progress.json").read_text())
    del stored["pace"]
    (newest / "progress.json").write_text(json.dumps(stored | {"future": 1}))
    manifest = json.loads((newest / "manifest.json").read_text())
    written = (newest / "progress.json").read_bytes()
    manifest["progress.json"] = hashlib.sha256(written).hexdigest()
    (newest / "manifest.json").write_text(json.dumps(manifest))
    assert_same(run(method, folder=tmp_path, resume=True), uninterrupted)


class Watching(SilentReporter):
    """Keeps what it is told of the time left."""

    def __init__(self):
        self.told = []

    def visits(self, cycle, stage, done, status):
        self.told.append((cycle, status.at_least, status.seconds_left))


def test_the_time_left_is_a_guess_only_until_every_array_was_swept(tmp_path):
    first, resumed = Watching(), Watching()
    run(search(), folder=tmp_path, reporter=first, stop=StopAtLook(11))
    assert first.told[0][1:] == (False, float("inf")), "a call that compiles tells no pace"
    assert first.told[1][1], "the layers before the last are not known yet"
    assert not any(at_least for cycle, at_least, _ in first.told if cycle > 0)
    assert all(0 < left < float("inf") for *_, left in first.told[1:])
    run(search(), folder=tmp_path, reporter=resumed, resume=True)
    assert resumed.told and not any(at_least for _, at_least, _ in resumed.told)
    assert resumed.told[-1][2] == 0


def test_without_a_folder_nothing_is_written(method, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(method)
    assert not any(tmp_path.iterdir())


def test_a_loss_summed_over_the_batch_is_reported_per_example():
    mean = loss_of(NETWORK)
    searches = [
        rso(loss, reduction="sum" if is_sum else "mean")
        for loss, is_sum in (
            (mean, False),
            (lambda params, batch: BATCH * mean(params, batch), True),
        )
    ]
    of_mean, of_sum = (run(method).metrics[-1]["minibatch_loss"] for method in searches)
    assert of_sum == pytest.approx(of_mean)


def test_a_loss_that_is_not_finite_is_null_in_the_metrics(tmp_path):
    diverging = gradient_method(loss_of(NETWORK), cosine_sgd(learning_rate=1e38, steps=6))
    metrics = run(diverging, folder=tmp_path / "run").metrics
    assert metrics[-1]["train_loss"] is None
    assert "NaN" not in (tmp_path / "run" / "metrics.jsonl").read_text()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"cycles": 0}, "cycles is 0; it must be at least 1"),
        ({"cycles": 1.5}, "cycles is 1.5; it must be a whole number"),
        ({"cycles": True}, "cycles is True"),
        ({"score_every": 0}, "score_every is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": "a"}, "seed is 'a'"),
        ({"resume": True}, "resume=True needs the folder"),
        ({"folder": 3}, "folder is an int; pass a path"),
        ({"stop": True}, r"stop is a bool, not a StopRequest; pass StopRequest\(max_minutes=30\)"),
        ({"stop": 0}, "stop is an int, not a StopRequest"),
        (
            {"reporter": "x"},
            r"reporter is the string 'x', not a Reporter; pass Console",
        ),
        ({"reporter": SilentReporter}, "reporter is the type SilentReporter, not a Reporter"),
    ],
)
def test_what_cannot_work_is_refused_before_any_work(options, said):
    with pytest.raises(UserError, match=said):
        train(search(), task(), **({"cycles": 2} | options))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"batches_per_cycle": 0}, "batches_per_cycle is 0"),
        ({"batches_per_cycle": 2.0}, r"batches_per_cycle is 2\.0"),
        ({"batch_size": 31}, "batch_size is 31 but there are 30 training examples"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"batch_size": "5"}, "batch_size is '5'"),
        ({"batch_size": lambda cycle: 5 + 0.5 * cycle}, r"cycle 0 is 5\.0; .*whole"),
        ({"batch_size": lambda cycle: 30 + cycle}, "batch_size of cycle 1 is 31"),
        ({"mesh": 2}, "mesh is an int, not a Mesh"),
        ({"shared": {"label": 1.0}}, "shared holds 'label', which is of examples"),
        ({"shared": ["weights"]}, "shared is a list; pass a mapping"),
    ],
)
def test_a_classification_that_cannot_work_is_refused_before_any_work(options, said):
    with pytest.raises(UserError, match=said):
        train(search(), task(**options), cycles=2)


@pytest.mark.parametrize(
    ("method", "problem", "said"),
    [
        (None, task(), "method is a NoneType, not a Method; pass .*baselines"),
        (loss_of(NETWORK), task(), r"method is a function \(loss_fn\), not a Method"),
        (NETWORK, task(), "method is a Network, not a Method"),
        (search(), NETWORK, r"task is a Network, not a Task; pass .*classification\(network, data"),
        (search(), DATA, "task is a Dataset, not a Task"),
        (search(), search(), "task is a Search, not a Task"),
    ],
)
def test_parts_in_the_wrong_place_are_refused(method, problem, said):
    with pytest.raises(UserError, match=said):
        train(method, problem, cycles=1)


@pytest.mark.parametrize(
    ("place", "given", "said"),
    [
        (0, loss_of(NETWORK), r"network is a function \(loss_fn\), not a Network"),
        (0, create("mlp", (4,), 2, hidden=()), r"logits of shape \(10, 2\) .* has 3 classes"),
        (1, tuple(DATA), "data is a tuple, not a Dataset"),
        (1, DATA._replace(y_train=DATA.y_train + 1), "y_train is 3 at .*; labels must be in 0..2"),
        (1, DATA._replace(y_test=DATA.y_test[:, None]), "labels .N."),
        (1, DATA._replace(x_train=DATA.x_train.astype(float)), "x_train is float64"),
    ],
)
def test_networks_and_data_that_do_not_fit_are_refused(place, given, said):
    parts = [NETWORK, DATA]
    parts[place] = given
    with pytest.raises(UserError, match=said):
        train(search(), classification(*parts, batch_size=BATCH), cycles=1)
