"""Notebooks run as a reader runs them: what they compute takes longer than compiling it."""

import os

# Set by tests/conftest.py: tests compile more than they run.
UNOPTIMISED = "JAX_DISABLE_MOST_OPTIMIZATIONS"


def pytest_runtest_setup(item):
    """Optimise again."""
    item.unoptimised = os.environ.pop(UNOPTIMISED, None)


def pytest_runtest_teardown(item):
    """As it was."""
    if item.unoptimised is not None:
        os.environ[UNOPTIMISED] = item.unoptimised
