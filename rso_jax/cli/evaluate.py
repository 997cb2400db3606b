"""``rso evaluate``: score a saved network again."""

import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import jax
import jax.numpy as jnp
import tyro

from rso_jax.cli.config import OptionalFile, OptionalPath, is_file
from rso_jax.cli.problem import check_data, check_there, pose
from rso_jax.cli.table import print_table
from rso_jax.cli.train import stored_settings
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
    settings = stored_settings(config.run)
    dataset = settings.dataset if config.dataset is None else str(config.dataset)
    if dataset != settings.dataset and not (is_file(dataset) and is_file(settings.dataset)):
        raise UserError(
            f"--dataset is {dataset} but the run in {config.run} was trained on "
            f"{settings.dataset}; it is for an .npz file that is elsewhere now"
        )
    check_there(dataset, config.run)
    data_dir = config.data_dir or settings.data_dir
    problem = pose(dataclasses.replace(settings, dataset=dataset, data_dir=data_dir))
    check_data(problem.data_summary, stored.get("data", {}), config.run)
    network, data = problem.network, problem.data
    params_like = jax.eval_shape(network.init, jax.random.key(0), jnp.asarray(data.x_train[:1]))
    statistics_like = jax.eval_shape(network.calibrate, params_like, jnp.asarray(data.x_train[:1]))
    path = config.params or config.run / run_folder.PARAMS
    params, statistics = run_folder.read_params(path, params_like, statistics_like)
    result = score(network, params, statistics, data.x_test, data.y_test)
    found = {
        "test_accuracy": result.accuracy,
        "test_loss": result.loss if math.isfinite(result.loss) else None,
        "test_examples": len(data.y_test),
        "dataset": data.name,
        "model": problem.config.model,
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
                ("model", str(problem.config.model)),
                ("parameters", str(path)),
            ]
        )
    return 0
