"""Event files for TensorBoard, written by tensorboardX, without TensorFlow."""

import importlib.util
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rso_jax.errors import UserError
from rso_jax.training import run_folder
from rso_jax.training.filters import draw_filters, first_filters
from rso_jax.training.loggers import scalars
from rso_jax.training.reporter import Status

PyTree = Any

SHARES = "accepted_share_by_array"
_SHARE_BINS = np.linspace(0, 1, 21)


def check_tensorboard(wanted_by: str, otherwise: str = "") -> None:
    """Refuse to write event files where the package for it is missing.

    Args:
        wanted_by: what asks for them, as the user calls it.
        otherwise: what else the user may do.

    Raises:
        UserError: with the extra to install.
    """
    if importlib.util.find_spec("tensorboardX") is None:
        raise UserError(
            f"{wanted_by} needs tensorboardX; install the extra rso_jax[tensorboard]{otherwise}"
        )


class TensorBoardReporter:
    """Writes a run's event files, the step of which is the cycle.

    They hold every number of a line of metrics by its name there, the accepted shares of all arrays
    as a histogram besides, the filters of the first layer as a picture, and hyperparameters.
    A cycle is on the disk once it was told; a run that is resumed goes on in the same folder, where
    the first cycle told takes the place of what was written from it on.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        hyperparameters: Mapping[str, Any] | None = None,
        earlier: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """Make the folder.

        Args:
            folder: of the event files of this run alone.
            hyperparameters: named values, to compare runs by.
            earlier: lines of metrics of cycles before, as ``read_metrics`` has them; they are
                written where the folder holds no event files yet.

        Raises:
            UserError: tensorboardX is not installed, or a folder that cannot be made.
        """
        check_tensorboard("TensorBoardReporter")
        self._folder, self._earlier = Path(folder), earlier
        self._hyperparameters = dict(hyperparameters or {})
        self._shown: tuple[str, ...] = ()
        self._writer: Any = None
        with run_folder.writing(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)

    def begin(self, cycles: int, done: float, shown: tuple[str, ...]) -> None:
        """Write the earlier lines, if need be."""
        self._shown = shown
        if not self._count_files():
            for line in self._earlier:
                self.cycle(dict(line))
            self.end()  # so that the cycles to come take the place of those done again

    def visits(self, cycle: int, stage: str, done: float, status: Status) -> None:
        """Nothing."""

    def params(self, cycle: int, params: PyTree) -> None:
        """Write the filters of the first layer, where there are such."""
        from tensorboardX import summary

        if found := first_filters(params):
            name, filters = found
            picture = draw_filters(filters)
            self._write(cycle, [summary.image(f"filters/{name}", picture, dataformats="HWC")])

    def cycle(self, metrics: dict[str, Any]) -> None:
        """Write the numbers of a cycle, and see that all is on the disk."""
        from tensorboardX import summary

        summaries = [summary.scalar(name, value) for name, value in scalars(metrics).items()]
        if shares := metrics.get(SHARES):
            values = np.array(list(shares.values()))
            summaries.append(summary.histogram(SHARES, values, _SHARE_BINS))
        self._write(metrics["cycle"], summaries)
        with run_folder.writing(self._folder):
            self._writer.flush()

    def end(self) -> None:
        """Close the event file."""
        if self._writer is not None:
            self._write(0, self._describe_run()[2:])
            writer, self._writer = self._writer, None
            with run_folder.writing(self._folder):
                writer.close()

    def _write(self, cycle: int, summaries: Sequence[Any]) -> None:
        from tensorboardX.proto.event_pb2 import Event

        with run_folder.writing(self._folder):
            if self._writer is None:
                self._writer = self._open(cycle)
            for found in summaries:
                self._writer.write_event(Event(wall_time=time.time(), step=cycle, summary=found))

    def _open(self, cycle: int) -> Any:
        """A writer of a new event file, which begins at a cycle."""
        # Not SummaryWriter, in whose thread a full disk would pass unseen.
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog

        # Their names have seconds, and two may be opened in one.
        writer = EventsWriter(str(self._folder / "events"), f".{self._count_files():04d}")
        began = SessionLog(status=SessionLog.START)
        writer.write_event(Event(wall_time=time.time(), step=cycle, session_log=began))
        for found in self._describe_run()[:2]:
            writer.write_event(Event(wall_time=time.time(), summary=found))
        return writer

    def _describe_run(self) -> Sequence[Any]:
        """The hyperparameters with what runs are compared in, the beginning and the end."""
        from tensorboardX import summary

        if not self._hyperparameters:
            return ()
        values = {name: _plain(value) for name, value in self._hyperparameters.items()}
        found: Sequence[Any] = summary.hparams(values, dict.fromkeys(self._shown))
        return found

    def _count_files(self) -> int:
        return sum(1 for _ in self._folder.glob("events.out.tfevents.*"))


def _plain(value: Any) -> Any:
    """As the table of hyperparameters can hold it."""
    if value is None or isinstance(value, str | bool | int | float):
        return value
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
