"""The command line: ``rso train`` and its kin, a module for each command."""

from rso_jax.cli.main import main

__all__ = ["main"]
