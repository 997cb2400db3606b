"""Notebooks run as a reader runs them: what they compute takes longer than compiling it."""

import os

# Set by tests/conftest.py: tests compile more than they run.
UNOPTIMISED = ("JAX_DISABLE_MOST_OPTIMIZATIONS", "XLA_FLAGS")


def pytest_runtest_setup(item):
    """Optimise again."""
    item.unoptimised = {name: os.environ.pop(name) for name in UNOPTIMISED if name in os.environ}


def pytest_runtest_teardown(item):
    """As it was."""
    os.environ.update(item.unoptimised)
