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
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from frozen import RESULTS, Names
from sklearn import datasets
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold

from rso_jax import rso, step
from rso_jax.cli.compiled import keep_compiled_programs
from rso_jax.data import load
from rso_jax.errors import UserError, check_name
from rso_jax.files import replace_file
from rso_jax.machine import machine
from rso_jax.networks import (
    auc,
    cost_matrix,
    cross_entropy,
    f1,
    false_alarms,
    lexicographic,
    zero_one,
)
from rso_jax.search import acceptance, minibatches, proposals

SETS = {
    "breast_cancer": datasets.load_breast_cancer,
    "iris": datasets.load_iris,
    "diabetes": datasets.load_diabetes,
    "wine": datasets.load_wine,
}
OBJECTIVES_OF = "breast_cancer"
SEEDS, FOLDS = 5, 5
CYCLES = 60
"""Of each half of a run."""
HIDDEN = 8
SIGMA, SCALES = 0.5, (1.0, 0.1)
PENALTIES = (0.1, 1.0, 10.0)
"""C tried of the linear search."""
C_OF_NETWORK = 1.0
GRID = (0.01, 0.1, 1.0, 10.0, 100.0)
"""C tried of logistic regression."""
INNER = StratifiedKFold(5, shuffle=True, random_state=0)
"""Folds of a training fold, by which a C is chosen."""
COSTS = ((0, 1), (10, 0))
"""Of a false alarm, and of a malignant tumour that is missed."""
AT_MOST = 0.01

Loss = Callable[..., jax.Array]


@dataclass(frozen=True)
class Options:
    """Train on what is missing and write it."""

    only: Names = ()
    """Data sets, or .npz files; all sets by default."""
    parts: Names = ()
    """references, linear, network, objectives; all by default."""


class Folds(NamedTuple):
    """All folds of a table, inputs standardised by the training part of each."""

    x: np.ndarray
    """[folds, training examples, columns]"""
    y: np.ndarray
    fitted: np.ndarray
    """[inner folds, folds, training examples]: 1 where an inner fold fits, 0 where it holds out."""
    x_all: np.ndarray
    """[folds, all examples, columns]"""
    y_all: np.ndarray
    """[all examples]"""
    tested: np.ndarray
    """[folds, all examples]: 1 in the test part."""

    @property
    def classes(self) -> int:
        return int(self.y_all.max()) + 1


class Phase(NamedTuple):
    """What a part of a run lowers."""

    objective: float
    """1 if the number of errors, or another first loss, is part of the loss, else 0."""
    beside: float
    """1 if cross-entropy and penalty are."""


SMOOTH, BOTH, ALONE = Phase(0.0, 1.0), Phase(1.0, 1.0), Phase(1.0, 0.0)


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


def read_table(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Inputs [examples, columns] and classes."""
    if name.endswith(".npz"):
        data = load(name)
        return data.x_train.reshape(len(data.x_train), -1).astype(float), data.y_train
    check_name("--only", name, SETS)
    x, y = SETS[name](return_X_y=True)
    if name == "diabetes":
        y = (y > np.median(y)).astype(int)
    return x, 1 - y if name == "breast_cancer" else y  # 1 is malignant


def split(x: np.ndarray, y: np.ndarray) -> Folds:
    """The folds, of one size: the example or two that some have more are left out."""
    pairs = [
        (np.random.default_rng(seed).permutation(train), test)
        for seed in range(SEEDS)
        for train, test in StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(x, y)
    ]
    size = min(len(train) for train, _ in pairs)
    rows = np.stack([train[:size] for train, _ in pairs])
    means, scales = x[rows].mean(1, keepdims=True), x[rows].std(1, keepdims=True)
    whole = ((x[None] - means) / np.where(scales > 0, scales, 1)).astype(np.float32)
    fitted = np.ones((INNER.n_splits, *rows.shape), np.float32)
    tested = np.zeros((len(rows), len(y)), bool)
    for i, (_, test) in enumerate(pairs):
        tested[i, test] = True
        for j, (_, held) in enumerate(INNER.split(whole[i, rows[i]], y[rows[i]])):
            fitted[j, i, held] = 0
    return Folds(np.take_along_axis(whole, rows[..., None], 1), y[rows], fitted, whole, y, tested)


# Searches


def initial(model: str, folds: Folds) -> Any:
    """Parameters of every fold: zeros of a linear model; of a network by He, its output zeros."""
    columns, outputs = folds.x.shape[-1], 1 if folds.classes == 2 else folds.classes

    def one(key: jax.Array) -> Any:
        if model == "linear":
            return {"kernel": jnp.zeros((columns, outputs)), "bias": jnp.zeros(outputs)}
        hidden, out = (jax.random.normal(k, shape) * jnp.sqrt(2 / shape[0]) for k, shape in zip(
            jax.random.split(key), ((columns, HIDDEN), (HIDDEN, outputs)), strict=True
        ))  # fmt: skip
        first = {"hidden_kernel": hidden, "hidden_bias": jnp.zeros(HIDDEN)}
        return first | {"kernel": out, "bias": jnp.zeros(outputs)}

    return jax.vmap(one)(jax.random.split(jax.random.key(0), len(folds.x)))


def scores_of(params: Any, x: jax.Array) -> jax.Array:
    """A score [examples, 1] of two classes, or logits."""
    if "hidden_kernel" in params:
        x = jax.nn.relu(x @ params["hidden_kernel"] + params["hidden_bias"])
    return x @ params["kernel"] + params["bias"]


def logits_of(params: Any, x: jax.Array) -> jax.Array:
    scores = scores_of(params, x)
    return jnp.concatenate([-scores / 2, scores / 2], -1) if scores.shape[-1] == 1 else scores


def errors(logits: jax.Array, batch: Mapping[str, jax.Array]) -> jax.Array:
    """How many of the examples that are fitted are wrong."""
    return jnp.sum(batch["fitted"] * zero_one(logits, batch["y"], reduction="none"))


def loss_of(objective: Loss) -> Callable[[Any, Mapping[str, jax.Array]], jax.Array]:
    """The loss of a phase, as the batch says; ``objective(logits, batch)`` has steps from 1 on."""

    def loss_fn(params: Any, batch: Mapping[str, jax.Array]) -> jax.Array:
        logits, fitted = logits_of(params, batch["x"]), batch["fitted"]
        entropies = cross_entropy(logits, batch["y"], reduction="none")
        squares = sum(jnp.sum(a**2) for name, a in params.items() if "kernel" in name)
        beside = (jnp.sum(fitted * entropies) + squares / (2 * batch["C"])) / jnp.sum(fitted)
        return lexicographic(
            batch["objective"] * objective(logits, batch), batch["beside"] * beside, step=1.0
        )

    return loss_fn


class Trainer(NamedTuple):
    """Searches of one model on all folds, compiled once."""

    run: Callable[..., Any]
    folds: Folds
    initial: Any

    def train(
        self, phases: tuple[Phase, Phase], penalty: np.ndarray, fitted: np.ndarray, seed: int = 0
    ) -> tuple[Any, int]:
        """Parameters of all folds, and example evaluations of one."""
        params, spent = self.initial, 0
        for half, phase in enumerate(phases):
            key = jax.random.fold_in(jax.random.key(seed), half)
            told = {
                "C": jnp.asarray(penalty),
                **{k: jnp.float32(v) for k, v in phase._asdict().items()},
            }
            params, evaluations = self.run(key, params, jnp.asarray(fitted), told)
            spent += CYCLES * int(evaluations)
        return params, spent


def trainer(folds: Folds, model: str, objective: Loss = errors) -> Trainer:
    search = rso(
        loss_of(objective),
        sigma=lambda params: jax.tree.map(lambda a: jnp.asarray(SIGMA, a.dtype), params),
        proposal=proposals.antithetic(proposals.normal_distance, scales=SCALES),
        acceptance=acceptance.sideways,
        minibatches=minibatches.per_cycle,
        shared=lambda path: path in ("C", "objective", "beside"),
    )
    x, y = jnp.asarray(folds.x), jnp.asarray(folds.y)

    def train_one(key: Any, params: Any, x: Any, y: Any, fitted: Any, told: Any) -> Any:
        batches = {"x": x[None], "y": y[None], "fitted": fitted[None], **told}

        def cycle(state: Any, key: Any) -> Any:
            state, info = step(search, key, state, batches)
            return state, info.image_evaluations

        begin = search.init(key, params)
        state, evaluations = jax.lax.scan(cycle, begin, jax.random.split(key, CYCLES))
        return state.params, evaluations[0]

    @jax.jit
    def run(key: Any, params: Any, fitted: Any, told: Any) -> Any:
        keys = jax.random.split(key, len(x))
        axes = {"C": 0, "objective": None, "beside": None}
        every = jax.vmap(train_one, in_axes=(0, 0, 0, 0, 0, axes))
        params, evaluations = every(keys, params, x, y, fitted, told)
        return params, evaluations[0]

    return Trainer(run, folds, initial(model, folds))


def wrong_of(params: Any, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """[folds, examples]: whether each is decided wrongly."""
    decided = jax.vmap(logits_of)(params, jnp.asarray(x)).argmax(-1)
    return np.asarray(decided) != y


def share(wrong: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Of each fold, among some of its examples."""
    return (wrong * among).sum(1) / among.sum(1)


def score(params: Any, folds: Folds) -> dict[str, Any]:
    return {
        "train": share(wrong_of(params, folds.x, folds.y), np.ones(folds.y.shape, np.float32)),
        "test": share(wrong_of(params, folds.x_all, folds.y_all), folds.tested),
    }


def linear(folds: Folds) -> dict[str, Any]:
    """Both ways, C of the first chosen by inner folds."""
    by = trainer(folds, "linear")
    held_out = []
    for penalty in np.asarray(PENALTIES, np.float32):
        every, wrong = np.full(len(folds.x), penalty), []
        for number, fitted in enumerate(folds.fitted):
            params, _ = by.train((SMOOTH, BOTH), every, fitted, seed=1 + number)
            wrong.append(share(wrong_of(params, folds.x, folds.y), 1 - fitted))
        held_out.append(np.mean(wrong, 0))
    chosen = np.asarray(PENALTIES, np.float32)[np.argmin(held_out, 0)]
    return both_ways(by, chosen) | {"chosen_C": [round(float(c), 2) for c in chosen]}


def network(folds: Folds) -> dict[str, Any]:
    return both_ways(trainer(folds, "network"), np.full(len(folds.x), C_OF_NETWORK, np.float32))


def both_ways(by: Trainer, penalty: np.ndarray) -> dict[str, Any]:
    rows = {}
    for name, phases in {"errors first": (SMOOTH, BOTH), "errors alone": (ALONE, ALONE)}.items():
        params, spent = by.train(phases, penalty, np.ones(by.folds.y.shape, np.float32))
        rows[name] = score(params, by.folds) | {"example_evaluations": spent}
    return rows


# References, and other objectives


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


# Results


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
