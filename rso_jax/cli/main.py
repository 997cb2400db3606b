"""The ``rso`` program: reads the command line, runs one command, says what went wrong."""

import logging
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

from rso_jax.cli.compiled import keep_compiled_programs
from rso_jax.cli.completion import Completion, run_completion
from rso_jax.cli.data import DataImport, DataList, run_import, run_list
from rso_jax.cli.doctor import Doctor, run_doctor
from rso_jax.cli.evaluate import Evaluate, run_evaluate
from rso_jax.cli.explain import ExplainSearch, ExplainSlopes, explain_search, explain_slopes
from rso_jax.cli.parsing import parse
from rso_jax.cli.pipes import end_quietly
from rso_jax.cli.plot import Plot, run_plot
from rso_jax.cli.runs import Runs, run_runs
from rso_jax.cli.settings import Train
from rso_jax.cli.train import run_train
from rso_jax.cli.version import Version, run_version
from rso_jax.errors import UserError

BAD_INPUT = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``rso``.

    Args:
        arguments: of the command line, without the program's name; the process's by default.

    Returns:
        Exit status: 0, 2 for bad input, 128 plus a signal's number when stopped by one, or when
        nobody reads what is printed.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    for library in ("absl", "matplotlib"):  # their notes are not the user's
        logging.getLogger(library).setLevel(logging.ERROR)
    return end_quietly(lambda: _run(given))


def _run(arguments: list[str]) -> int:
    try:
        command = parse(arguments)
        # Processes that find different programs there would wait for each other's compilation.
        if not isinstance(command, Train) or command.running.devices.coordinator is None:
            keep_compiled_programs()
        return _COMMANDS[type(command)](command) or 0
    except UserError as error:
        print(f"rso: error: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("rso: interrupted", file=sys.stderr)
        return 128 + signal.SIGINT


_COMMANDS: dict[type, Callable[[Any], int | None]] = {
    Train: run_train,
    Evaluate: run_evaluate,
    ExplainSearch: explain_search,
    ExplainSlopes: explain_slopes,
    Plot: run_plot,
    Runs: run_runs,
    DataList: run_list,
    DataImport: run_import,
    Doctor: run_doctor,
    Completion: run_completion,
    Version: run_version,
}
