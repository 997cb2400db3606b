"""Training: the loop shared by searches and baselines, metrics, checkpoints, run folders."""

from rso_jax.training import keys
from rso_jax.training.interruption import StopRequest, stop_on_signals
from rso_jax.training.loggers import Reporters, scalars
from rso_jax.training.loop import Outcome, train
from rso_jax.training.reporter import (
    ConsoleReporter,
    ParamsReporter,
    Reporter,
    SilentReporter,
    Status,
)
from rso_jax.training.run import Progress
from rso_jax.training.tensorboard import TensorBoardReporter

__all__ = [
    "ConsoleReporter",
    "Outcome",
    "ParamsReporter",
    "Progress",
    "Reporter",
    "Reporters",
    "SilentReporter",
    "Status",
    "StopRequest",
    "TensorBoardReporter",
    "keys",
    "scalars",
    "stop_on_signals",
    "train",
]
