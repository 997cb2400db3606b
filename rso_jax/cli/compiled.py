"""Compiled programs kept on disk, so that a second start hardly compiles."""

import contextlib
import os
import platform
import warnings
import zlib
from pathlib import Path

import jax

from rso_jax.data.locations import cache_folder

MAX_BYTES = 2**30
"""The least recently used programs go when there is more than a gibibyte of them."""


def keep_compiled_programs() -> None:
    """Turn on JAX's persistent compilation cache, where the user has not placed it elsewhere.

    It lies in ``compiled/``, by kind of processor, beside the decoded images. Where
    ``JAX_COMPILATION_CACHE_DIR`` is set, all of JAX's own settings hold instead. A program that
    cannot be kept is compiled again.
    """
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache")
    if os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return
    folder = cache_folder() / "compiled" / _processor()
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_compilation_cache_max_size", MAX_BYTES)
        # A leaf's programs compile in tenths of a second each, below what JAX keeps by default.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def compiled_folder() -> Path | None:
    """Where JAX keeps compiled programs; None if it does not."""
    found: str | None = getattr(jax.config, "jax_compilation_cache_dir", None)
    return Path(found) if found else None


def _processor() -> str:
    """A name for what this processor can do: another one may not run what was compiled here."""
    features = ""
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        features = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return f"{platform.machine()}-{zlib.crc32(features.encode()):08x}"
