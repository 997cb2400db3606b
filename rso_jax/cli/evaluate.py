"""``rso evaluate``: score a saved network again."""

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

from rso_jax.cli.flags import OptionalFile, OptionalInt, OptionalName, OptionalPath
from rso_jax.cli.problem import Details, Problem, pose, say_readout
from rso_jax.cli.same_data import check_data, check_there, is_file
from rso_jax.cli.stored import stored_settings
from rso_jax.cli.table import print_table
from rso_jax.errors import UserError
from rso_jax.tasks import score
from rso_jax.training import run_folder


@dataclass(frozen=True)
class Evaluate:
    """Score the network that a run saved, on the test data of that run."""

    run: Annotated[Path, tyro.conf.Positional]
    """Run folder."""
    data_dir: OptionalPath = None
    """Folder of prepared tensorflow-datasets, if it is not where it was in training."""
    dataset: OptionalFile = None
    """The .npz file of the run, if it is not where it was in training."""
    params: OptionalFile = None
    """Parameter file to score instead of the run's own params.npz."""
    readout: OptionalName = None
    """Of a network with heads, what to score: output, last-head or heads; by
    default what the run did."""
    first_head: OptionalInt = None
    """The first that counts for --readout heads."""
    json: bool = False
    """Print one JSON object instead of a table."""


def run_evaluate(config: Evaluate) -> int:
    """Print accuracy and loss; exit status 0."""
    stored = run_folder.read_config(config.run)
    path = config.params or config.run / run_folder.PARAMS
    if config.params is None and not path.exists():
        raise UserError(
            f"no trained network was saved in {config.run}: it has no {run_folder.PARAMS}; name a "
            "file with --params"
        )
    settings = stored_settings(config.run)
    posed = pose(_find(config, settings.problem), settings.method.conventions)
    check_data(posed.data_summary, stored.get("data", {}), config.run)
    network, data = posed.network, posed.data
    params, statistics = run_folder.read_params(
        path, posed.describe_params(), posed.describe_statistics()
    )
    result = score(network, params, statistics, data.x_test, data.y_test)
    found = {
        "test_accuracy": result.accuracy,
        "test_loss": result.loss if math.isfinite(result.loss) else None,
        "test_examples": len(data.y_test),
        "dataset": data.name,
        "model": posed.model,
        **(posed.readout if posed.readout["readout"] else {}),
        "params": str(path),
    }
    if config.json:
        print(json.dumps(found, allow_nan=False))
    else:
        scored = say_readout(**posed.readout)
        print_table(
            [
                ("test accuracy", f"{result.accuracy:.2%}"),
                ("test loss", f"{result.loss:.4f}"),
                ("test examples", f"{len(data.y_test):,}"),
                ("data set", data.name),
                ("model", posed.model),
                *([("scored", scored)] if posed.readout["readout"] else []),
                ("parameters", str(path)),
            ]
        )
    return 0


def _find(config: Evaluate, stored: Problem) -> Problem:
    """The problem of a run, with its data where it is now."""
    dataset = stored.dataset if config.dataset is None else str(config.dataset)
    if dataset != stored.dataset and not (is_file(dataset) and is_file(stored.dataset)):
        raise UserError(
            f"--dataset is {dataset} but the run in {config.run} was trained on "
            f"{stored.dataset}; it is for an .npz file that is elsewhere now"
        )
    check_there(dataset, config.run)
    details = replace(stored.details, data_dir=config.data_dir or stored.details.data_dir)
    return replace(stored, dataset=dataset, details=_read_otherwise(config, details))


def _read_otherwise(config: Evaluate, stored: Details) -> Details:
    """The details of a run's network, with the readout that is asked for.

    Raises:
        UserError: a readout that its network does not have.
    """
    if config.readout is None and config.first_head is None:
        return stored
    if stored.heads is None:
        raise UserError(
            f"the network of the run in {config.run} has no heads; leave --readout and "
            "--first-head out"
        )
    readout = config.readout or stored.readout
    details = replace(stored, readout=readout, first_head=config.first_head)
    details.check_heads()
    return details
