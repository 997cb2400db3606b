"""Training: the loop shared by searches and baselines, metrics, checkpoints, run folders."""

from rso_jax.training import keys
from rso_jax.training.interruption import StopRequest, stop_on_signals
from rso_jax.training.loop import Outcome, train
from rso_jax.training.reporter import ConsoleReporter, Reporter, SilentReporter, Status
from rso_jax.training.run import Progress

__all__ = [
    "ConsoleReporter",
    "Outcome",
    "Progress",
    "Reporter",
    "SilentReporter",
    "Status",
    "StopRequest",
    "keys",
    "stop_on_signals",
    "train",
]
