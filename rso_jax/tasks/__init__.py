"""Tasks: what is trained and how it is judged; image classification is one of them."""

from rso_jax.tasks.classification import classification
from rso_jax.tasks.scoring import Score, calibrate, score
from rso_jax.tasks.task import Task

__all__ = ["Score", "Task", "calibrate", "classification", "score"]
