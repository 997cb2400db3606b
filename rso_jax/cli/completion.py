"""``rso completion``: what a shell completes, as a script for it."""

import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal

import tyro

from rso_jax.cli.data import DataImport, DataList
from rso_jax.cli.doctor import Doctor
from rso_jax.cli.evaluate import Evaluate
from rso_jax.cli.explain import EXPLANATIONS
from rso_jax.cli.flags import option
from rso_jax.cli.methods import METHODS
from rso_jax.cli.plot import Plot
from rso_jax.cli.problem import READOUTS, Problem
from rso_jax.cli.running import LOGS, Running
from rso_jax.cli.runs import Runs
from rso_jax.cli.settings import names_of
from rso_jax.data.loading import DATASETS
from rso_jax.data.locations import VERSIONS
from rso_jax.networks.models import MODELS


@dataclass(frozen=True)
class Completion:
    """Print a script with which a shell completes the commands and flags of rso.

    bash: `source <(rso completion bash)`; zsh: the same with zsh, after compinit.
    """

    shell: Annotated[Literal["bash", "zsh"], tyro.conf.Positional]
    """Shell that reads it."""


FLAGS: Mapping[str, tuple[type, ...]] = {
    "train": (Problem, *METHODS.values(), Running),
    "evaluate": (Evaluate,),
    "explain": tuple(EXPLANATIONS.values()),
    "plot": (Plot,),
    "runs": (Runs,),
    "data": (DataList, DataImport),
    "doctor": (Doctor,),
    "completion": (Completion,),
}
"""Settings of each command."""
AFTER: Mapping[str, Iterable[str]] = {
    "--optimizer": METHODS,
    "--dataset": DATASETS,
    "--model": MODELS,
    "--readout": READOUTS,
    "--log": LOGS,
    "data": ("list", "import"),
    "import": VERSIONS,
    "completion": ("bash", "zsh"),
}
"""What may stand after a word, beside files."""
_ZSH = "autoload -Uz bashcompinit && bashcompinit\n"
_SCRIPT = """\
_rso() {
    local cur=${COMP_WORDS[COMP_CWORD]} words=
    if [ "$COMP_CWORD" -eq 1 ]; then
        words="%(commands)s --help --version"
    elif [ "${cur#-}" != "$cur" ]; then
        case ${COMP_WORDS[1]} in
%(flags)s
        esac
    else
        case ${COMP_WORDS[COMP_CWORD-1]} in
%(after)s
        esac
    fi
    COMPREPLY=($(compgen -W "$words" -- "$cur"))
}
complete -o default -F _rso rso
"""


def run_completion(config: Completion) -> int:
    """Print the script; exit status 0."""
    print((_ZSH if config.shell == "zsh" else "") + script(), end="")
    return 0


def script() -> str:
    """For bash, and for zsh with its bashcompinit; where it knows no words, files are completed."""
    flags = {
        command: [*dict.fromkeys(option(name) for kind in kinds for name in _flags_of(kind))]
        for command, kinds in FLAGS.items()
    }
    return _SCRIPT % {
        "commands": " ".join(FLAGS),
        "flags": _cases({command: [*names, "--help"] for command, names in flags.items()}),
        "after": _cases(AFTER),
    }


def _cases(words: Mapping[str, Iterable[str]]) -> str:
    return "\n".join(
        f'            {at}) words="{" ".join(found)}" ;;' for at, found in words.items()
    )


def _flags_of(kind: Any) -> Iterable[str]:
    """Names of the settings that are flags."""
    hints = typing.get_type_hints(kind, include_extras=True)
    positional = {
        field.name
        for field in fields(kind)
        if tyro.conf.Positional in getattr(hints[field.name], "__metadata__", ())
    }
    return [name for name in names_of(kind) if name not in positional]
