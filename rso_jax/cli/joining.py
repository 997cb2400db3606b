"""Joining the processes of a run, and leaving them: a message and an end, never a hang.

All of it is ``jax.distributed``: its coordinator, its heartbeats, its barriers. What it does not do
is end well. Where a process is lost it aborts, or waits in a barrier for who will not come; so a
process that ends early leaves at once, and an abort is given a last word.
"""

import contextlib
import ctypes
import os
import re
import signal
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import jax

from rso_jax.errors import UserError
from rso_jax.training.processes import agree

AUTO = "auto"
JOIN_SECONDS = 25
"""For all processes to appear. JAX gives up about 5 s later."""
HEARTBEAT_SECONDS = 30
"""A process not heard of for so long is lost."""
FAILED, BAD_INPUT, LOST = 1, 2, 3
ANOTHER_IS_LOST = "another process of this run is lost"
_LINGER_SECONDS = 1.0
# What collectives and the coordinator say; JAX raises it as several kinds of error.
_LOST = re.compile("Gloo|NCCL|[Cc]oordination|[Hh]eartbeat|[Bb]arrier")

_last_words = ""
_coordinates = True
_leaving = threading.Lock()


def last_words(text: str) -> None:
    """What to say should this process be aborted from now on."""
    global _last_words
    _last_words = text


@contextmanager
def join(coordinator: str | None, processes: int | None, process: int | None) -> Iterator[None]:
    """Run the body in this and the other processes together.

    The body may end in an error in one process alone: it leaves, and the others, which wait for
    it, are told that it is lost.

    Args:
        coordinator: HOST:PORT of the first process, ``"auto"`` for what the cluster environment
            says, None for one process alone.
        processes: in all; not with ``"auto"``.
        process: number of this one, likewise.

    Raises:
        UserError: settings that cannot work.
    """
    if coordinator is None:
        yield
        return
    try:
        _join(coordinator, processes, process)
        last_words(f"{ANOTHER_IS_LOST}; see what it said")
        yield
    except UserError as error:
        _leave(str(error), BAD_INPUT)
    except KeyboardInterrupt:
        _leave("interrupted", 128 + signal.SIGINT)
    except BaseException as error:
        if _LOST.search(str(error)):
            _leave(f"{_last_words} ({str(error).splitlines()[0][:200]})", LOST)
        traceback.print_exc()
        _leave(f"{type(error).__name__}: {error}", FAILED)


def check_flags(coordinator: str | None, processes: int | None, process: int | None) -> None:
    """Refuse flags that cannot join anything.

    Raises:
        UserError: what is missing or wrong.
    """
    if coordinator is None or coordinator == AUTO:
        for name, value in (("--processes", processes), ("--process", process)):
            if value is not None:
                need = "--coordinator HOST:PORT" if coordinator is None else "no auto"
                raise UserError(f"{name} is {value}: it needs {need}")
        return
    found = re.fullmatch(r".+:(\d{1,5})", coordinator)
    if found is None or not 0 < int(found[1]) < 65536:
        raise UserError(f"--coordinator is {coordinator}; it must be HOST:PORT or auto")
    if processes is None or process is None:
        raise UserError("--coordinator needs --processes and --process; or write auto")
    if processes < 1 or not 0 <= process < processes:
        raise UserError(
            f"--process is {process} of --processes {processes}; it must be from 0 to one less"
        )


def _join(coordinator: str, processes: int | None, process: int | None) -> None:
    global _coordinates
    _coordinates = not process  # not known yet for auto
    auto = coordinator == AUTO
    where = "the coordinator of the cluster environment" if auto else coordinator
    last_words(
        f"not all {'' if processes is None else f'{processes} '}processes met at {where}; start "
        "every one, with the same --coordinator and --processes, its own --process, and a port "
        "that they can reach"
    )
    _speak_when_aborted()
    # It would take SIGTERM away from who saves on it.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(
            coordinator_address=None if auto else coordinator,
            num_processes=processes,
            process_id=process,
            cluster_detection_method=None if auto else "deactivate",
            initialization_timeout=JOIN_SECONDS,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
        )
    except ValueError as error:
        raise UserError(f"--coordinator auto finds no cluster environment ({error})") from None
    except RuntimeError as error:
        raise UserError(f"cannot join at {where}: {str(error).splitlines()[0]}") from None
    if processes is not None and jax.process_count() != processes:
        raise UserError(
            f"--processes is {processes} but the first process was started with "
            f"{jax.process_count()}; pass the same to all"
        )
    counts = Counter(device.process_index for device in jax.devices())
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{n} in process {i}" for i, n in sorted(counts.items()))
        raise UserError(f"every process needs as many devices as the others; there are {listed}")
    # Meet now: for their first meeting processes wait half a minute at most, later without limit.
    agree(1, False)


def _speak_when_aborted() -> None:
    """JAX's runtime ends a process by abort(), in C++, where no Python handler runs."""

    @ctypes.CFUNCTYPE(None, ctypes.c_int)
    def speak(number: int) -> None:
        try:
            _leave(f"{_last_words} (or this one failed: see above)", LOST)
        finally:  # a Ctrl-C that was waiting for its turn
            os._exit(LOST)

    _speak_when_aborted.handler = speak  # type: ignore[attr-defined]  # must outlive this call
    libc = ctypes.CDLL(None)
    libc.signal.restype = ctypes.c_void_p
    libc.signal(ctypes.c_int(signal.SIGABRT), speak)


def _leave(message: str, status: int) -> NoReturn:
    """End now: the usual end waits for all processes, one of which may never come."""
    if not _leaving.acquire(blocking=False):
        time.sleep(10 * _LINGER_SECONDS)  # another thread is at it
    os.write(2, f"rso: error: {message}\n".encode())
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    if _coordinates:
        time.sleep(_LINGER_SECONDS)  # with the coordinator gone the others could not speak
    os._exit(status)
