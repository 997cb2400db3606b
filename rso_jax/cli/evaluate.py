"""``rso evaluate``: score a saved network again."""

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

from rso_jax.cli.flags import OptionalFile, OptionalPath
from rso_jax.cli.problem import Problem, check_data, check_there, is_file, pose
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
        "params": str(path),
    }
    if config.json:
        print(json.dumps(found, allow_nan=False))
    else:
        print_table(
            [
                ("test accuracy", f"{result.accuracy:.2%}"),
                ("test loss", f"{result.loss:.4f}"),
                ("test examples", f"{len(data.y_test):,}"),
                ("data set", data.name),
                ("model", posed.model),
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
    return replace(stored, dataset=dataset, details=details)
