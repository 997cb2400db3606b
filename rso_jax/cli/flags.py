"""Kinds of command line flags, and names made of them."""

from pathlib import Path
from typing import Annotated

import tyro

# Left out on the command line means: follow from the rest, as each help text says.
OptionalInt = Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="")]
OptionalFloat = Annotated[float | None, tyro.conf.arg(metavar="FLOAT", help_behavior_hint="")]
SeveralInts = Annotated[tuple[int, ...], tyro.conf.arg(metavar="INT ...", help_behavior_hint="")]
Layers = Annotated[tuple[str, ...], tyro.conf.arg(metavar="LAYER ...", help_behavior_hint="")]
Several = Annotated[tuple[str, ...], tyro.conf.arg(metavar="SIZE ...", help_behavior_hint="")]
OptionalName = Annotated[str | None, tyro.conf.arg(metavar="NAME", help_behavior_hint="")]
OptionalPath = Annotated[Path | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="")]
OptionalFile = Annotated[Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="")]
Switch = Annotated[
    bool,
    tyro.constructors.PrimitiveConstructorSpec(
        nargs=0,
        metavar="",
        instance_from_str=lambda arguments: True,
        is_instance=lambda value: isinstance(value, bool),
        str_from_instance=lambda value: [],
    ),
    tyro.conf.FlagConversionOff,
    tyro.conf.arg(help_behavior_hint=""),
]
"""On where it is given, and where the run that is gone on with has it on: it may be said again."""
NAME = tyro.conf.arg(metavar="NAME")
"""Of a flag whose choices its help text names."""
PLAIN_NAME = tyro.conf.arg(metavar="NAME", help_behavior_hint="")
"""Likewise, whose help text names the default too, in the same line."""
OPTIMIZER = tyro.conf.arg(
    metavar="NAME", help="rso, slopes, sgd, adam, open-es, pgpe, snes or spsa."
)
"""Of the flag that chooses a method: the one place that names them all for people."""
EXPLAINED = tyro.conf.arg(metavar="NAME", help="rso or slopes: these can be explained.")
"""Likewise of ``rso explain``."""
QUIET = tyro.conf.arg(help="")
"""Of a group whose title says enough."""
FIRST = tyro.conf.arg(name="")
"""Of a group whose flags are shown before all groups, among those that one needs first."""


def option(name: str) -> str:
    """The flag of a setting, as on the command line."""
    return "--" + name.replace("_", "-")
