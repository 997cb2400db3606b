"""Notebooks compute more than they compile: unlike the tests they run with all optimisations."""

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol():
    """Of each notebook, with what it starts."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "0")
        return (yield)
