"""The ``rso`` program: reads the command line, runs one command, says what went wrong."""

import logging
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro

from rso_jax.cli.compiled import keep_compiled_programs
from rso_jax.cli.config import Train
from rso_jax.cli.data import DataImport, DataList, run_import, run_list
from rso_jax.cli.evaluate import Evaluate, run_evaluate
from rso_jax.cli.explain import Explain, run_explain
from rso_jax.cli.plot import Plot, run_plot
from rso_jax.cli.train import run_train, stored_settings
from rso_jax.errors import UserError

BAD_INPUT = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``rso``.

    Args:
        arguments: of the command line, without the program's name; the process's by default.

    Returns:
        Exit status: 0, 2 for bad input, 128 plus a signal's number when stopped by one.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    for library in ("absl", "matplotlib"):  # their notes are not the user's
        logging.getLogger(library).setLevel(logging.ERROR)
    try:
        command = _parse(arguments)
        # Processes that find different programs there would wait for each other's compilation.
        if getattr(command, "coordinator", None) is None:
            keep_compiled_programs()
        return _COMMANDS[type(command)](command) or 0
    except UserError as error:
        print(f"rso: error: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("rso: interrupted", file=sys.stderr)
        return 128 + signal.SIGINT


def _parse(arguments: list[str]) -> Any:
    command = tyro.conf.subcommand
    train = command("train", default=_train_default(arguments))
    data = Annotated[
        Annotated[DataList, command("list")] | Annotated[DataImport, command("import")],
        command("data", description="Show data sets and prepare them from their archives."),
    ]
    return tyro.cli(
        Annotated[Train, train]
        | Annotated[Evaluate, command("evaluate")]
        | Annotated[Explain, command("explain")]
        | Annotated[Plot, command("plot")]
        | data,
        prog="rso",
        description="Train neural networks without gradients.",
        args=arguments or ["--help"],
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff),
    )


def _train_default(arguments: list[str]) -> Train:
    """The settings that options of ``rso train`` change: on --resume, those of the run."""
    if arguments[:1] == ["train"] and not {"-h", "--help"} & set(arguments):
        for i, argument in enumerate(arguments):
            name, _, value = argument.partition("=")
            if name == "--resume" and (value or len(arguments) > i + 1):
                folder = Path(value or arguments[i + 1])
                # With others, the run may be on the disk of the first process alone.
                alone = not any(a.startswith("--coordinator") for a in arguments)
                return stored_settings(folder) if alone or folder.is_dir() else Train()
    return Train()


_COMMANDS: dict[type, Callable[[Any], int | None]] = {
    Train: run_train,
    Evaluate: run_evaluate,
    Explain: run_explain,
    Plot: run_plot,
    DataList: run_list,
    DataImport: run_import,
}
