"""The command line: ``rso train``, ``rso evaluate``, ``rso plot``, ``rso data``."""

from rso_jax.cli.main import main

__all__ = ["main"]
