"""Training: the loop shared by searches and baselines, metrics, checkpoints, run folders."""

from rso_jax.training.evaluation import Score, calibrate, score
from rso_jax.training.interruption import StopRequest, stop_on_signals
from rso_jax.training.loop import Outcome, train
from rso_jax.training.method import Method, Stage, Tally, search_method
from rso_jax.training.progress import ConsoleReporter

__all__ = [
    "ConsoleReporter",
    "Method",
    "Outcome",
    "Score",
    "Stage",
    "StopRequest",
    "Tally",
    "calibrate",
    "score",
    "search_method",
    "stop_on_signals",
    "train",
]
