"""What is compiled is shared by all tests of one run, and forgotten after it."""

import gc
import os
import shutil
import sys
import tempfile
from importlib.metadata import version

import hypothesis

# How long an example takes says something of the machine only. The same examples on every run: a
# failure is that of a change, not of chance.
hypothesis.settings.register_profile("rso_jax", deadline=None, derandomize=True)
# By hand, with --hypothesis-profile=fresh: many examples, others on every run.
hypothesis.settings.register_profile("fresh", deadline=None, max_examples=1000, database=None)
hypothesis.settings.load_profile("rso_jax")

if "PYTEST_XDIST_WORKER" not in os.environ:  # workers and programs started by tests inherit it
    COMPILED = tempfile.mkdtemp(prefix="rso-compiled-")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = COMPILED
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.05"
    # Compilation is most of the suite's time, and what is tested must hold for any compilation.
    os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
    # These halve it again. A flag that a jaxlib does not know ends the process.
    flags = [os.environ.get("XLA_FLAGS", ""), "--xla_cpu_parallel_codegen_split_count=1"]
    if version("jaxlib").startswith("0.10."):
        flags.append("--xla_cpu_use_fusion_emitters=false")
    os.environ["XLA_FLAGS"] = " ".join(flags)
    if sys.dont_write_bytecode:
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["PYTHONPYCACHEPREFIX"] = os.path.join(COMPILED, "bytecode")

    def pytest_unconfigure():
        shutil.rmtree(COMPILED, ignore_errors=True)


def pytest_collection_finish():
    """Look for garbage less often, and never among what was imported: a tenth of the time."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
