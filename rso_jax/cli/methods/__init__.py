"""Settings of each method of training: a class for each, and a line in the table for each class."""

from rso_jax.cli.methods.evolution import OpenEs, Pgpe, Snes, Spsa
from rso_jax.cli.methods.gradient import Adam, Sgd
from rso_jax.cli.methods.rso import Rso
from rso_jax.cli.methods.schedule import MethodSettings, Schedule
from rso_jax.cli.methods.slopes import Slopes

METHODS: dict[str, type[MethodSettings]] = {
    "rso": Rso,
    "slopes": Slopes,
    "sgd": Sgd,
    "adam": Adam,
    "open-es": OpenEs,
    "pgpe": Pgpe,
    "snes": Snes,
    "spsa": Spsa,
}
"""By the name that ``--optimizer`` takes; the first is the default."""

__all__ = ["METHODS", "MethodSettings", "Rso", "Schedule", "Slopes"]
