"""The command line: ``rso train``, ``evaluate``, ``explain``, ``plot`` and ``data``."""

from rso_jax.cli.main import main

__all__ = ["main"]
