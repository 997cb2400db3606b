"""Settings of each method of training: a class for each, and a line in the table for each class."""

from rso_jax.cli.methods.evolution import OpenEs, Pgpe
from rso_jax.cli.methods.gradient import Adam, Sgd
from rso_jax.cli.methods.rso import Rso
from rso_jax.cli.methods.schedule import MethodSettings, Schedule

METHODS: dict[str, type[MethodSettings]] = {
    "rso": Rso,
    "sgd": Sgd,
    "adam": Adam,
    "open-es": OpenEs,
    "pgpe": Pgpe,
}
"""By the name that ``--optimizer`` takes; the first is the default."""

__all__ = ["METHODS", "MethodSettings", "Rso", "Schedule"]
