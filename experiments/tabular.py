"""Errors searched themselves, on small tables: five times five folds of each, all searched at once.

A linear model and a network of one hidden layer of 8 units are trained by ``rso``, the mini-batch
being the whole training fold, in two ways:

- ``errors first``: cycles on the cross-entropy with an L2 penalty, which is what logistic
  regression minimises, and as many more on the number of errors, with that loss below it;
- ``errors alone``: as many cycles in all on the number of errors, ties drawn (``sideways``).

Beside them, on the same folds: logistic regression with C = 1 and with C chosen by five inner
folds, and gradient-boosted trees, all of scikit-learn. C of the linear search is chosen by the same
inner folds, and then all of the training fold is searched. No test fold chooses anything. Of breast
cancer, where 1 is malignant, linear models are searched for F1, costs, AUC and "at most 1 % false
alarms" besides, against logistic regression with C = 1 and the threshold that is best on the
training fold.

Data sets are scikit-learn's, of ``diabetes`` whether the disease progressed more than in the
median patient, and files: all training examples of an .npz as ``rso train --dataset`` takes it.

    python experiments/tabular.py                        # four sets, and four objectives of one
    python experiments/tabular.py --only wine table.npz

Writes ``experiments/results/tabular/SET-PART.json``, leaves what is there alone. Some four minutes
on one core.
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from frozen import RESULTS, Names
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from tabular_folds import FOLDS, INNER, SEEDS, SETS, Folds, read_table, share, split
from tabular_search import (
    ALONE,
    C_OF_NETWORK,
    CYCLES,
    HIDDEN,
    PENALTIES,
    SCALES,
    SIGMA,
    SMOOTH,
    linear,
    network,
    scores_of,
    trainer,
)

from rso_jax.cli.compiled import keep_compiled_programs
from rso_jax.errors import UserError
from rso_jax.files import replace_file
from rso_jax.machine import machine
from rso_jax.networks import auc, cost_matrix, f1, false_alarms

OBJECTIVES_OF = "breast_cancer"
GRID = (0.01, 0.1, 1.0, 10.0, 100.0)
"""C tried of logistic regression."""
COSTS = ((0, 1), (10, 0))
"""Of a false alarm, and of a malignant tumour that is missed."""
AT_MOST = 0.01


@dataclass(frozen=True)
class Options:
    """Train on what is missing and write it."""

    only: Names = ()
    """Data sets, or .npz files; all sets by default."""
    parts: Names = ()
    """references, linear, network, objectives; all by default."""


def main(options: Options) -> int:
    """Go through the sets."""
    for name in options.only or SETS:
        x, y = read_table(name)
        folds = split(x, y)
        stem = Path(name).stem
        parts = {"references": references, "linear": linear, "network": network}
        if name == OBJECTIVES_OF:
            parts["objectives"] = objectives
        for part, measure in parts.items():
            path = RESULTS / "tabular" / f"{stem}-{part}.json"
            if not path.exists() and part in (options.parts or parts):
                path.parent.mkdir(parents=True, exist_ok=True)
                begin, cpu = time.monotonic(), time.process_time()
                rows = measure(folds)
                write(path, stem, folds, rows, time.monotonic() - begin, time.process_time() - cpu)
    return 0


def references(folds: Folds) -> dict[str, Any]:
    """What scikit-learn's models do on the same folds."""
    ways = {
        "logistic regression, C = 1": LogisticRegression(max_iter=3000),
        "logistic regression, C chosen": GridSearchCV(
            LogisticRegression(max_iter=3000), {"C": GRID}, cv=INNER
        ),
        "gradient-boosted trees": HistGradientBoostingClassifier(random_state=0),
    }
    rows = {}
    for name, way in ways.items():
        wrong, tested = [], []
        for x, y, whole in zip(folds.x, folds.y, folds.x_all, strict=True):
            found = way.fit(x, y)
            wrong.append(found.predict(x) != y)
            tested.append(found.predict(whole) != folds.y_all)
        rows[name] = {
            "train": np.mean(wrong, 1),
            "test": share(np.asarray(tested), folds.tested),
        }
    return rows


def alarm_scores(logits: jax.Array) -> jax.Array:
    return logits[:, 1] - logits[:, 0]


MEASURES: dict[str, Callable[[jax.Array, jax.Array], jax.Array]] = {
    "1 - F1": f1,
    "cost": lambda scores, y: cost_matrix(
        jnp.stack([-scores, scores], -1), y, jnp.asarray(COSTS), reduction="mean"
    ),
    "1 - AUC": auc,
    "missed, at most 1 % false alarms": partial(false_alarms, at_most=AT_MOST),
}
"""Of scores and labels; a step of each is above the square of 1 / examples."""


def objectives(folds: Folds) -> dict[str, Any]:
    """A linear model for each measure, and logistic regression with its best training threshold."""
    rows: dict[str, Any] = {}
    regressions = [
        LogisticRegression(max_iter=3000).fit(x, y) for x, y in zip(folds.x, folds.y, strict=True)
    ]
    for name, measure in MEASURES.items():

        def objective(logits: Any, batch: Any, measure: Any = measure) -> Any:
            return measure(alarm_scores(logits), batch["y"])

        by = trainer(folds, "linear", objective)
        ones = np.ones(folds.y.shape, np.float32)
        params, spent = by.train((SMOOTH, ALONE), np.ones(len(ones), np.float32), ones)
        scores = [
            np.asarray(jax.vmap(scores_of)(params, a))[..., 0] for a in (folds.x, folds.x_all)
        ]
        rows[f"rso: {name}"] = measured(measure, *scores, folds) | {"example_evaluations": spent}
        scores = [
            np.stack([r.decision_function(x) for r, x in zip(regressions, a, strict=True)])
            for a in (folds.x, folds.x_all)
        ]
        if measure is not auc:
            best = np.asarray(
                [best_threshold(measure, s, y) for s, y in zip(scores[0], folds.y, strict=True)]
            )
            scores = [s - best[:, None] for s in scores]
        rows[f"logistic regression: {name}"] = measured(measure, *scores, folds)
    return rows


def best_threshold(measure: Any, scores: np.ndarray, y: np.ndarray) -> float:
    """The middle between two training scores, or beyond all, where the measure is lowest."""
    ordered = np.sort(scores)
    between = np.concatenate(
        [[ordered[0] - 1], (ordered[1:] + ordered[:-1]) / 2, [ordered[-1] + 1]]
    )
    found = _at_each(measure)(
        jnp.asarray(scores[None] - between[:, None], jnp.float32), jnp.asarray(y)
    )
    return float(between[int(np.argmin(found))])


def _at_each(measure: Any) -> Any:
    return jax.vmap(measure, in_axes=(0, None))


def measured(measure: Any, train: np.ndarray, whole: np.ndarray, folds: Folds) -> dict[str, Any]:
    """The measure on both parts of every fold, and of the alarm rule its two shares."""
    found: dict[str, Any] = {"train": np.asarray(jax.vmap(measure)(train, folds.y))}
    parts = [(s[t], folds.y_all[t]) for s, t in zip(whole, folds.tested, strict=True)]
    found["test"] = np.asarray([float(measure(jnp.asarray(s), jnp.asarray(y))) for s, y in parts])
    if isinstance(measure, partial):
        found["test"] = np.asarray([np.mean(s[y == 1] <= 0) for s, y in parts])
        found["test_false_alarms"] = np.asarray([np.mean(s[y == 0] > 0) for s, y in parts])
    return found


def write(
    path: Path, name: str, folds: Folds, rows: dict[str, Any], seconds: float, cpu: float
) -> None:
    settings = {
        "set": name,
        "examples": len(folds.y_all),
        "columns": folds.x.shape[-1],
        "classes": folds.classes,
        "training_examples": folds.x.shape[1],
        "seeds": SEEDS,
        "folds": FOLDS,
        "cycles": 2 * CYCLES,
        "sigma": SIGMA,
        "scales": SCALES,
        "hidden": HIDDEN,
        "penalties": PENALTIES,
        "C_of_network": C_OF_NETWORK,
        "grid": GRID,
        "costs": COSTS,
        "at_most": AT_MOST,
    }
    found = {
        "what": "errors of each fold, mean and standard error over all folds",
        "settings": settings,
        "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu, 1),
        **machine(),
        "rows": {
            way: summarise(row) if isinstance(row, dict) else row for way, row in rows.items()
        },
    }
    replace_file(path, json.dumps(found, indent=1) + "\n")
    for way, row in found["rows"].items():
        if isinstance(row, dict):
            print(
                f"{name:<14} {way:<50} train {row['train_mean']:.4f} test {row['test_mean']:.4f}",
                flush=True,
            )


def summarise(row: dict[str, Any]) -> dict[str, Any]:
    """Numbers of a way: of arrays over folds the mean, its standard error, and all."""
    found: dict[str, Any] = {}
    for name, values in row.items():
        if np.ndim(values):
            found[f"{name}_mean"] = round(float(np.mean(values)), 6)
            found[f"{name}_standard_error"] = round(
                float(np.std(values, ddof=1) / np.sqrt(len(values))), 6
            )
            found[name] = [round(float(v), 5) for v in values]
        else:
            found[name] = values
    return found


if __name__ == "__main__":
    keep_compiled_programs()
    try:
        sys.exit(main(tyro.cli(Options, description=__doc__)))
    except UserError as error:
        sys.exit(f"error: {error}")
