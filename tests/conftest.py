"""Compiled programs are shared by all tests of one run, and forgotten after it."""

import os
import shutil
import tempfile

if "PYTEST_XDIST_WORKER" not in os.environ:  # workers and programs started by tests inherit it
    COMPILED = tempfile.mkdtemp(prefix="rso-compiled-")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = COMPILED
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.05"

    def pytest_unconfigure():
        shutil.rmtree(COMPILED, ignore_errors=True)
