"""From the arguments of ``rso`` to the settings of one command."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import tyro

from rso_jax.cli.completion import Completion
from rso_jax.cli.data import DataImport, DataList
from rso_jax.cli.doctor import Doctor
from rso_jax.cli.evaluate import Evaluate
from rso_jax.cli.explain import EXPLANATIONS
from rso_jax.cli.flags import option
from rso_jax.cli.methods import METHODS, Rso
from rso_jax.cli.plot import Plot
from rso_jax.cli.problem import Problem
from rso_jax.cli.running import Running
from rso_jax.cli.runs import Runs
from rso_jax.cli.settings import Train, flatten, names_of, settings_of
from rso_jax.cli.stored import stored_settings
from rso_jax.cli.version import Version
from rso_jax.errors import UserError, check_name, did_you_mean

COMMANDS = ("train", "evaluate", "explain", "plot", "runs", "data", "doctor", "completion")
HELP = frozenset({"-h", "--help"})


def parse(arguments: list[str]) -> Any:
    """The settings of the command that the arguments name.

    Raises:
        UserError: a command or a flag that is not there, or a flag of another method.
        SystemExit: after help, or what else the parser refuses.
    """
    if arguments == ["--version"]:
        return Version()
    if arguments and not arguments[0].startswith("-"):
        check_name("the command", arguments[0], COMMANDS)
    command = tyro.conf.subcommand
    default = _default_of_train(arguments) if arguments[:1] == ["train"] else settings_of({})
    chosen: Any = Train[type(default.method)]  # type: ignore[misc]
    train = command("train", default=default, description=_describe(Train))
    explained = _explained(arguments) if arguments[:1] == ["explain"] else Rso.optimizer
    explanation = EXPLANATIONS[explained]
    explain = command("explain", description=_describe(explanation))
    data = Annotated[
        Annotated[DataList, command("list")] | Annotated[DataImport, command("import")],
        command("data", description="Show data sets and prepare them from their archives."),
    ]
    commands: Any = (
        Annotated[chosen, train]
        | Annotated[Evaluate, command("evaluate")]
        | Annotated[explanation, explain]
        | Annotated[Plot, command("plot")]
        | Annotated[Runs, command("runs")]
        | data
        | Annotated[Doctor, command("doctor")]
        | Annotated[Completion, command("completion")]
    )
    found, unknown = tyro.cli(
        commands,
        prog="rso",
        description="Train neural networks without gradients.\n\n"
        "`rso --version` says what runs, on which devices, and where things are.",
        args=arguments or ["--help"],
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff),
        return_unknown_args=True,
    )
    if unknown:
        _refuse_unknown(unknown[0], arguments[0], found)
    return found


def _refuse_unknown(argument: str, command: str, found: Any) -> None:
    """Refuse an argument that no field takes, with the flag of this command that was meant.

    Raises:
        UserError: always.
    """
    of_command = {"train": METHODS, "explain": EXPLANATIONS}
    kinds = of_command.get(command, {}).values()
    names = dict.fromkeys([*flatten(found), *(name for kind in kinds for name in names_of(kind))])
    flag = argument.partition("=")[0]
    hint = did_you_mean(flag, map(option, names))
    what = "flag" if flag.startswith("-") else "argument"
    raise UserError(f"rso {command} has no {what} {flag}: {hint}see rso {command} --help")


def _describe(command: type) -> str:
    name = "train" if command is Train else "explain"
    return (
        f"{inspect.getdoc(command)}\n\n"
        f"Each --optimizer has flags of its own: `rso {name} --optimizer NAME --help`."
    )


def _default_of_train(arguments: list[str]) -> Train[Any]:
    """The settings that options of ``rso train`` change: on --resume, those of the run."""
    optimizer = _value_of("--optimizer", arguments)
    if optimizer is not None:
        check_name("--optimizer", optimizer, METHODS)
    stored = None if HELP & set(arguments) else _resumed(arguments)
    default = settings_of({"optimizer": optimizer})
    if stored is not None and optimizer in (None, stored.method.optimizer):
        default = stored
    shared = {*names_of(Problem), *names_of(Running)}
    flags_of = {name: shared | set(names_of(kind)) for name, kind in METHODS.items()}
    _refuse_flags_of_others(arguments, default.method.optimizer, flags_of)
    return default


def _explained(arguments: list[str]) -> str:
    """The method that ``rso explain`` is asked to explain.

    Raises:
        UserError: one that cannot be explained, or a flag of another.
    """
    optimizer = _value_of("--optimizer", arguments) or Rso.optimizer
    if optimizer not in EXPLANATIONS:
        raise UserError(
            f"--optimizer is {optimizer} but rso explain is of {' and '.join(EXPLANATIONS)}; leave "
            "it out, or pass one of them"
        )
    flags_of = {name: set(names_of(kind)) for name, kind in EXPLANATIONS.items()}
    _refuse_flags_of_others(arguments, optimizer, flags_of)
    return optimizer


def _resumed(arguments: list[str]) -> Train[Any] | None:
    """The settings of the run to go on with, if there is one to see."""
    folder = _value_of("--resume", arguments)
    if folder is None:
        return None
    # With others, the run may be on the disk of the first process alone.
    alone = not any(argument.startswith("--coordinator") for argument in arguments)
    return stored_settings(Path(folder)) if alone or Path(folder).is_dir() else None


def _value_of(flag: str, arguments: list[str]) -> str | None:
    """What a flag is given, the last time.

    Raises:
        UserError: nothing.
    """
    found = None
    for i, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name != flag:
            continue
        found = value if equals else next(iter(arguments[i + 1 :]), "--")
        if found.startswith("--"):
            raise UserError(f"{flag} has no value; see rso {arguments[0]} --help")
    return found


def _refuse_flags_of_others(
    arguments: list[str], optimizer: str, flags_of: Mapping[str, set[str]]
) -> None:
    """Refuse flags that only methods other than the chosen one have.

    Args:
        arguments: of the command line.
        optimizer: the chosen method.
        flags_of: names of the flags of each method.

    Raises:
        UserError: whose flag it is.
    """
    for argument in arguments:
        flag = argument.partition("=")[0]
        name = flag.removeprefix("--").replace("-", "_")
        owners = [owner for owner, flags in flags_of.items() if name in flags]
        if flag.startswith("--") and owners and optimizer not in owners:
            last = owners[-1]
            others = ", ".join(owners[:-1])
            either = f"{others} and {last}" if others else last
            one = f"{others} or {last}" if others else last
            raise UserError(
                f"{flag} is of {either}; leave it out for {optimizer}, or pass --optimizer {one}"
            )
