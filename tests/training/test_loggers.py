"""Reporters that hand on what a run tells, and event files for TensorBoard."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from small_problem import CYCLES, StopAtLook, search, task

from rso_jax import UserError
from rso_jax.training import (
    Reporters,
    SilentReporter,
    TensorBoardReporter,
    scalars,
    train,
)
from rso_jax.training.filters import draw_filters, first_filters

PAGE = Path(__file__).parents[2] / "docs" / "logging.md"


class Noting(SilentReporter):
    """Keeps what it is told, and by which call."""

    def __init__(self, told):
        self.told = told

    def begin(self, cycles, done, shown):
        self.told.append("begin")

    def cycle(self, metrics):
        self.told.append(metrics["cycle"])

    def end(self):
        self.told.append("end")


class Failing(SilentReporter):
    def end(self):
        raise OSError("disk full")


class OfParams(SilentReporter):
    def __init__(self):
        self.told = []

    def params(self, cycle, params):
        self.told.append((cycle, params))


def test_scalars_are_flat_and_finite():
    line = {"cycle": 3, "train_loss": None, "accepted": 2, "share": {"a/kernel": 0.5, "b": None}}
    assert scalars(line) == {"accepted": 2, "share/a/kernel": 0.5}


def test_all_reporters_are_told_and_some_of_parameters():
    told, of_params = [], OfParams()
    outcome = train(
        search(),
        task(),
        cycles=CYCLES,
        score_every=2,
        reporter=Reporters(Noting(told), of_params, Noting(told)),
    )
    assert told == ["begin", "begin", 2, 2, "end", "end"]
    ((cycle, params),) = of_params.told
    assert cycle == 2
    for name, leaf in outcome.params["output"].items():
        assert np.array_equal(params["output"][name], leaf)


def test_every_reporter_hears_of_the_end():
    told = []
    with pytest.raises(OSError, match="disk full"):
        Reporters(Noting(told), Failing(), Noting(told)).end()
    assert told == ["end", "end"]


def test_what_is_no_reporter_is_refused():
    with pytest.raises(UserError, match="reporter is the string 'x', not a Reporter"):
        Reporters(SilentReporter(), "x")


def test_without_the_package_it_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(UserError, match=r"install the extra rso_jax\[tensorboard\]$"):
        TensorBoardReporter(tmp_path / "events")
    assert not any(tmp_path.iterdir())


@pytest.fixture(scope="module")
def files():
    pytest.importorskip("tensorboardX")
    import event_files

    return event_files


def run(folder, events=None, **options):
    """A run of four cycles, with event files in a folder of their own."""
    events = TensorBoardReporter(folder / "events") if events is None else events
    return train(search(), task(), cycles=4, seed=4, folder=folder, reporter=events, **options)


def expected(metrics, name):
    return {line["cycle"]: pytest.approx(scalars(line)[name]) for line in metrics}


def test_event_files_hold_the_metrics(files, tmp_path):
    events = TensorBoardReporter(
        tmp_path / "events", hyperparameters={"rate": 0.1, "sizes": [3, 5], "norm": None}
    )
    metrics = run(tmp_path, events).metrics
    found = files.scalars_of(tmp_path / "events")
    assert found.keys() == scalars(metrics[0]).keys()
    assert "accepted_share_by_array/output/kernel" in found
    for name in found:
        assert found[name] == expected(metrics, name)

    summaries = files.summaries_of(tmp_path / "events")
    shares = metrics[-1]["accepted_share_by_array"].values()
    step, histogram = summaries["accepted_share_by_array"][-1]
    assert step == 4 and histogram.histo.num == len(shares) == 3
    assert histogram.histo.sum == pytest.approx(sum(shares))
    # A kernel [4 pixels, 3 units] is three pictures of 2x2 pixels, two beside each other.
    step, picture = summaries["filters/output/kernel"][-1]
    assert step == 4 and picture.image.encoded_image_string.startswith(b"\x89PNG")
    assert picture.image.width == picture.image.height == 2 * (24 + 1)
    settings = summaries["_hparams_/session_start_info"][-1][1].metadata.plugin_data.content
    for said in (b"rate", b"sizes", b"3 5"):
        assert said in settings
    assert b"norm" not in settings
    assert len(summaries["_hparams_/session_end_info"]) == 1


def test_a_cycle_is_on_the_disk_once_it_was_told(files, tmp_path):
    events = TensorBoardReporter(tmp_path)
    events.cycle({"cycle": 1, "error": 0.5})
    assert files.scalars_of(tmp_path) == {"error": {1: 0.5}}
    events.end()


def test_a_run_resumed_goes_on_without_a_gap(files, tmp_path):
    for looks in (3, 7, 5):
        stopped = run(tmp_path, resume=True, stop=StopAtLook(looks))
        assert stopped.stopped
    metrics = run(tmp_path, resume=True).metrics
    assert len(metrics) == 4
    assert len(list((tmp_path / "events").iterdir())) > 1
    found = files.scalars_of(tmp_path / "events")
    for name in found:
        assert found[name] == expected(metrics, name)


def test_a_cycle_done_again_takes_the_place_of_what_was_written(files, tmp_path):
    for cycles in ((1, 2, 3), (2,)):
        events = TensorBoardReporter(tmp_path)
        for cycle in cycles:
            events.cycle({"cycle": cycle, "error": 1 / cycle / len(cycles)})
        events.end()
    found = files.scalars_of(tmp_path)["error"]
    assert found == {1: pytest.approx(1 / 3), 2: 0.5}


def test_cycles_before_the_first_event_file_are_written_once(files, tmp_path):
    lines = [{"cycle": 1, "error": 0.5}, {"cycle": 2, "error": 0.25}]
    for _ in range(2):
        events = TensorBoardReporter(tmp_path, earlier=lines)
        events.begin(2, 2.0, ("error",))
        events.end()
    assert files.scalars_of(tmp_path) == {"error": {1: 0.5, 2: 0.25}}
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_that_cannot_be_made_is_said_at_once(files, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match=r"cannot write .*file/events"):
        TensorBoardReporter(tmp_path / "file" / "events")


def test_the_first_filters():
    kernel, matrix = np.ones((3, 5, 3, 7)), np.ones((12, 4))
    deep = {"a": {"kernel": np.ones((3, 3, 7, 2))}, "b": {"kernel": kernel}, "c": matrix}
    name, filters = first_filters(deep)
    assert name == "b/kernel" and filters.shape == (7, 3, 5, 3)
    name, filters = first_filters({"bias": np.ones(4), "hidden": matrix, "out": np.ones((4, 9))})
    assert name == "hidden" and filters.shape == (4, 2, 2, 3)
    assert first_filters({"hidden": np.ones((13, 4)), "out": np.ones((4, 9))}) is None
    assert first_filters({"deep": np.ones((3, 3, 7, 2)), "out": np.ones((4, 9))}) is None


@given(
    filters=arrays(
        np.float32,
        st.tuples(
            st.integers(1, 10), st.integers(1, 30), st.integers(1, 30), st.sampled_from((1, 3))
        ),
        elements=st.floats(-(2**99), 2**99, width=32, allow_subnormal=False)
        | st.just(np.float32("nan")),
    )
)
def test_filters_are_drawn_whole_and_to_scale(filters):
    picture = draw_filters(filters)
    count, height, width, colours = filters.shape
    assert picture.dtype == np.uint8 and picture.shape[2] == colours
    times = -(-24 // max(height, width))
    columns = int(np.ceil(np.sqrt(count)))
    tall, wide = times * height + 1, times * width + 1
    assert picture.shape[1] == columns * wide and picture.shape[0] % tall == 0
    largest = max(np.nanmax(np.abs(filters), initial=0), 1e-30)
    for i, each in enumerate(filters):
        top, left = tall * (i // columns), wide * (i % columns)
        shown = picture[top : top + tall - 1 : times, left : left + wide - 1 : times]
        wanted = 127.5 * (1 + np.nan_to_num(each) / largest)
        assert np.all(np.abs(shown - wanted) < 0.51 + 1e-4)


def blocks():
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


THEIR_OWN = pytest.mark.filterwarnings("ignore")  # what those packages warn of is not ours


@pytest.mark.parametrize(
    ("block", "needs"),
    [
        (1, None),
        pytest.param(2, "wandb", marks=THEIR_OWN),
        pytest.param(3, "mlflow", marks=THEIR_OWN),
    ],
)
def test_the_page_on_logging_runs(block, needs, files, tmp_path, monkeypatch, capsys):
    if needs is not None:
        pytest.importorskip(needs)
    monkeypatch.chdir(tmp_path)
    known = {}
    for i in sorted({0, 1, block}):
        exec(compile(blocks()[i], str(PAGE), "exec"), known)
    found = files.scalars_of(tmp_path / "runs" / "mine")
    assert found["test_accuracy"].keys() == {1, 2}
    head, *lines = (tmp_path / "numbers.csv").read_text().splitlines()
    assert len(lines) == 2
    accuracy = float(lines[-1].split(",")[head.split(",").index("test_accuracy")])
    assert accuracy == pytest.approx(found["test_accuracy"][2])
    capsys.readouterr()
