"""Notebooks compute more than they compile: unlike the tests they run with all optimisations."""

from pathlib import Path

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """Of each notebook, with what it starts."""
    if Path(__file__).parent not in item.path.parents:  # pytest asks for tests elsewhere too
        return (yield)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "0")
        return (yield)
