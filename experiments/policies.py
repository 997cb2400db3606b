"""Policies by random search, by slopes and by evolution strategies, at equal environment steps.

Environments of ``rso_jax.environments``, which are Gymnasium's, and policies of one hidden layer of
16 tanh units. Counted is every step of every episode that a method plays, of all candidates,
probes and members; episodes that are scored are not. The policy is scored on 100 held-out episodes
at most a hundred times in its budget; it has solved its environment at the first score that reaches
Gymnasium's reward threshold (Pendulum has none).

Settings of every method are the best of 12, drawn at random from a grid of its own: fewest steps
until solved on the mean of three seeds, a run that does not solve it counting as the budget, then
the highest return at the end. Tuning has other seeds than the runs, and scores other episodes.

    python experiments/policies.py --only cartpole

Writes ``METHOD.json`` and ``tuning-METHOD.json`` under ``experiments/results/policies/ENVIRONMENT``
and leaves alone what is there; ``policies_page.py`` shows them in ``docs/policies.md``.
"""

import itertools
import json
import os
import random
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from frozen import RESULTS, Names

from rso_jax import Method, environments, rso
from rso_jax.baselines import evolution_method, open_es, pgpe
from rso_jax.environments import Play, init_policy, play_in, policy
from rso_jax.errors import UserError, check_name
from rso_jax.files import replace_file
from rso_jax.machine import machine
from rso_jax.search import acceptance, joint, minibatches
from rso_jax.slopes import probes, slopes_method, steps
from rso_jax.tasks import Task, episode_losses, mean_loss, policies
from rso_jax.training import keys

FOLDER = RESULTS / "policies"
HIDDEN = (16,)
SEEDS = range(5)
TUNING_SEEDS = range(100, 103)
TRIALS = 12
"""Settings tried of each method."""
SCORES = 100
"""Points of a run's budget at which it is scored."""
TUNING_EPISODES = range(2**31 + 1000, 2**31 + 1100)
"""Seeds of the episodes that settings are chosen by."""
EPISODES = 64
"""Of a cycle."""


class Problem(NamedTuple):
    """An environment, and when it is over."""

    environment: environments.Environment
    budget: int
    """Environment steps of a run."""
    solved: float | None
    """Gymnasium's reward threshold."""


PROBLEMS = {
    "cartpole": Problem(environments.cartpole, 200_000, 475.0),
    "acrobot": Problem(environments.acrobot, 300_000, -100.0),
    "mountain-car": Problem(environments.mountain_car, 500_000, 90.0),
    "pendulum": Problem(environments.pendulum, 500_000, None),
}


class Counter:
    """Environment steps, as the host is told of them."""

    def __init__(self) -> None:
        self.steps = 0

    def watch(self, play: Play) -> Play:
        """The same episodes, counted whenever their returns are computed."""

        def add(returns: Any, steps: Any) -> Any:
            self.steps += int(np.sum(steps))
            return np.asarray(returns)

        def counted(params: Any, seeds: Any) -> Any:
            found = play(params, seeds)
            like = jax.ShapeDtypeStruct(found.returns.shape, found.returns.dtype)
            returns = jax.pure_callback(add, like, *found, vmap_method="broadcast_all")
            return found._replace(returns=returns)

        return counted


def leave_on_ties(key: Any, losses: Any, cycle: Any) -> Any:
    """The smallest loss; a tie leaves the incumbent."""
    del key, cycle
    return losses.size - 1 - jnp.argmin(losses[::-1])


def search(
    play: Play, *, sigma: float, block: str, acceptance: str, minibatches: str
) -> tuple[Method, float]:
    """Accept/reject, over weights one at a time or over draws for a column or an array."""
    return _search(play, block, acceptance, minibatches), sigma


@cache
def _search(play: Play, block: str, accepting: str, turn: str) -> Method:
    """Compiled once for any sigma, which is part of the state."""
    return rso(
        mean_loss(play),
        sigma=lambda params: jax.tree.map(lambda a: 1.0, params),
        acceptance={"greedy": acceptance.greedy, "sideways": leave_on_ties}[accepting],
        minibatches=getattr(minibatches, turn),
        block=None if block == "weight" else joint.Block(block, joint.together, probe=False),
        evaluation="full",
    )


def slopes(play: Play, *, eps: float, step: str, learning_rate: float) -> tuple[Method, None]:
    """Descent along slopes from weight probes."""
    optimizer = steps.STEPS[step](learning_rate)
    return slopes_method(episode_losses(play), optimizer, probes.weights(eps)), None


def evolution(make: Callable[..., Any], play: Play, **settings: float) -> tuple[Method, None]:
    """An evolution strategy at a constant rate: its budget is of steps, not of generations."""
    return evolution_method(mean_loss(play), make(**settings, steps=10**9)), None


METHODS: dict[str, Callable[..., tuple[Method, float | None]]] = {
    "rso": search,
    "slopes": slopes,
    "open-es": lambda play, **settings: evolution(open_es, play, **settings),
    "pgpe": lambda play, **settings: evolution(pgpe, play, **settings),
}
_EVOLUTION = {
    "population": (8, 16, 32, 64),
    "sigma": (0.1, 0.3, 1.0, 3.0),
    "learning_rate": (0.1, 0.3, 1.0, 3.0),
}
GRIDS: dict[str, dict[str, tuple[Any, ...]]] = {
    "rso": {
        "sigma": (0.3, 1.0, 3.0),
        "block": ("weight", "column", "leaf"),
        "acceptance": ("greedy", "sideways"),
        "minibatches": ("fresh", "per_column"),
    },
    "slopes": {
        "eps": (0.3, 1.0, 3.0),
        "step": ("sgd", "adamw", "muon"),
        "learning_rate": (0.03, 0.1, 0.3, 1.0),
    },
    "open-es": _EVOLUTION,
    "pgpe": _EVOLUTION,
}
"""Of which 12 settings are drawn, each with a mini-batch of 1 or 4 episodes."""


@dataclass(frozen=True)
class Options:
    """Run what is missing."""

    only: Names = ()
    """Environments; all by default."""
    methods: Names = ()
    """All by default."""


def main(options: Options) -> int:
    """Tune and run every method that is missing, one file each."""
    # Programs are small and many: compiling them takes longer than running them.
    jax.config.update("jax_disable_most_optimizations", True)
    if version("jaxlib").startswith("0.10."):  # a flag that a jaxlib does not know ends the process
        os.environ["XLA_FLAGS"] = "--xla_cpu_use_fusion_emitters=false"
    for name in options.only:
        check_name("--only", name, PROBLEMS)
    for name in options.methods:
        check_name("--methods", name, METHODS)
    for problem in options.only or PROBLEMS:
        for method in options.methods or METHODS:
            run_method(problem, method)
    return 0


def run_method(problem: str, method: str) -> None:
    """The file of a method, at the settings that are best of those tried."""
    path = FOLDER / problem / f"{method}.json"
    if path.exists():
        return
    chosen = tune(problem, method)
    runs = play_seeds(problem, method, chosen, SEEDS)
    write(path, describe(problem, method) | {"settings": chosen, "runs": runs})
    ends = [(run["solved_at"], round(run["mean_return"][-1], 1)) for run in runs]
    print(problem, method, chosen, ends, flush=True)


def tune(problem: str, method: str) -> dict[str, Any]:
    """The settings that are best of those tried, of which every one is written when it is done."""
    path = FOLDER / problem / f"tuning-{method}.json"
    stored = json.loads(path.read_text())["trials"] if path.exists() else []
    tried = [trial["settings"] for trial in stored]
    for settings in draw_settings(method):
        if settings in tried:
            continue
        runs = play_seeds(problem, method, settings, TUNING_SEEDS, TUNING_EPISODES)
        found = {
            "solved_at": [run["solved_at"] for run in runs],
            "mean_return": [run["mean_return"][-1] for run in runs],
        }
        stored.append({"settings": settings} | found)
        write(path, describe(problem, method) | {"grid": GRIDS[method], "trials": stored})
        print(problem, method, stored[-1], flush=True)
    best: dict[str, Any] = min(stored, key=lambda trial: rank(trial, PROBLEMS[problem].budget))
    return best["settings"]


def draw_settings(method: str) -> list[dict[str, Any]]:
    """Those that are tried."""
    grid = GRIDS[method] | {"episodes": (1, 4)}
    every = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    return random.Random(0).sample(every, TRIALS)


def rank(trial: Mapping[str, Any], budget: int) -> tuple[float, float]:
    """Smaller is better."""
    steps = [budget if at is None else at for at in trial["solved_at"]]
    return float(np.mean(steps)), -float(np.mean(trial["mean_return"]))


def play_seeds(
    problem: str,
    method: str,
    settings: Mapping[str, Any],
    seeds: range,
    scored: range | None = None,
) -> list[dict[str, Any]]:
    """A run for each of the seeds."""
    environment = PROBLEMS[problem].environment
    play, counter = counted_play(problem)
    of_method = {name: value for name, value in settings.items() if name != "episodes"}
    made, sigma = METHODS[method](play, **of_method)
    init = init_policy(environment.observations, environment.outputs, HIDDEN)
    task = policies(
        play_in(environment, policy),
        init,
        batch_size=settings["episodes"],
        batches_per_cycle=EPISODES // settings["episodes"],
        **({} if scored is None else {"scored": scored}),
    )
    return [run_seed(PROBLEMS[problem], made, sigma, task, counter, seed) for seed in seeds]


@cache
def counted_play(problem: str) -> tuple[Play, Counter]:
    """Episodes of a problem and the counter of their steps."""
    counter = Counter()
    return counter.watch(play_in(PROBLEMS[problem].environment, policy)), counter


def run_seed(
    problem: Problem,
    method: Method,
    sigma: float | None,
    task: Task,
    counter: Counter,
    seed: int,
) -> dict[str, Any]:
    """The course of a run until its budget is spent.

    As ``train`` goes, but scored and ended by environment steps instead of cycles.
    """
    began = time.monotonic()
    state = method.init(keys.of_method(seed), task.init(keys.of_initial_parameters(seed)))
    if sigma is not None:
        state = state._replace(sigma=jax.tree.map(lambda a: a * sigma, state.sigma))
    counter.steps, cycle = 0, 0
    course: dict[str, list[Any]] = {"environment_steps": [], "mean_return": []}
    while counter.steps < problem.budget:
        key = keys.of_cycle(seed, cycle)
        batches = jax.tree.map(jnp.asarray, task.batches(keys.generator(seed, cycle), cycle))
        for stage in method.stages(key, state, batches):
            prepared, visit = method.prepare(key, state, stage, batches), 0
            while visit < stage.visits and counter.steps < problem.budget:
                end = stage.next_boundary(visit, 1)
                state, _ = method.advance(key, state, stage, prepared, visit, end)
                jax.block_until_ready(state)
                visit = end
                due = len(course["mean_return"]) * problem.budget / SCORES
                if counter.steps >= due:
                    course["environment_steps"].append(counter.steps)
                    score = task.score(method.params(state), ())["mean_return"]
                    course["mean_return"].append(round(score, 2))
        state, cycle = method.finish(state), cycle + 1
    return {
        "seed": seed,
        "solved_at": solved_at(course, problem),
        "seconds": round(time.monotonic() - began, 2),
        **course,
    }


def solved_at(course: Mapping[str, list[Any]], problem: Problem) -> int | None:
    """Environment steps, within the budget, at the first score that reaches the threshold."""
    for at, reached in zip(course["environment_steps"], course["mean_return"], strict=True):
        if problem.solved is not None and reached >= problem.solved and at <= problem.budget:
            found: int = at
            return found
    return None


def describe(problem: str, method: str) -> dict[str, Any]:
    """What all files have."""
    _, budget, threshold = PROBLEMS[problem]
    return {
        "environment": problem,
        "method": method,
        "hidden": HIDDEN,
        "budget": budget,
        "threshold": threshold,
        **machine(),
    }


def write(path: Path, found: Mapping[str, Any]) -> None:
    """A line for each trial, or for each run."""
    lists = {name: found[name] for name in ("trials", "runs") if name in found}
    head = json.dumps({k: v for k, v in found.items() if k not in lists}, indent=2)
    ((name, rows),) = lists.items()
    lines = ",\n".join(f"    {json.dumps(row)}" for row in rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, f'{head[:-2]},\n  "{name}": [\n{lines}\n  ]\n}}\n')


if __name__ == "__main__":
    try:
        sys.exit(main(tyro.cli(Options, description=__doc__)))
    except UserError as error:
        sys.exit(f"error: {error}")
