"""The searches of ``tabular.py``: a model on all folds of a table at once, compiled once."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tabular_folds import Folds, share

from rso_jax import rso, step
from rso_jax.networks import cross_entropy, lexicographic, zero_one
from rso_jax.search import acceptance, minibatches, proposals

CYCLES = 60
"""Of each half of a run."""
HIDDEN = 8
SIGMA, SCALES = 0.5, (1.0, 0.1)
PENALTIES = (0.1, 1.0, 10.0)
"""C tried of the linear search."""
C_OF_NETWORK = 1.0

Loss = Callable[..., jax.Array]


class Phase(NamedTuple):
    """What a part of a run lowers."""

    objective: float
    """1 if the number of errors, or another first loss, is part of the loss, else 0."""
    beside: float
    """1 if cross-entropy and penalty are."""


SMOOTH, BOTH, ALONE = Phase(0.0, 1.0), Phase(1.0, 1.0), Phase(1.0, 0.0)


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
