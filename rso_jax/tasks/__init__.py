"""Tasks: what is trained and how it is judged; image classification is one of them."""

from rso_jax.tasks.task import Task

__all__ = ["Task"]
