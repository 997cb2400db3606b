"""Policies as a task: what is played, scored and trained, by methods of all kinds."""

import importlib
import re
from functools import cache
from pathlib import Path

import jax
import numpy as np
import optax
import pytest
from small_problem import StopAtLook

from rso_jax import UserError, rso
from rso_jax.baselines import evolution_method, open_es
from rso_jax.environments import cartpole, init_policy, pendulum, play_in, play_in_gymnasium, policy
from rso_jax.slopes import probes, slopes_method
from rso_jax.tasks import episode_losses, mean_loss, policies
from rso_jax.training import ConsoleReporter, train
from rso_jax.training.keys import of_initial_parameters

PAGE = Path(__file__).parents[2] / "docs" / "policies.md"
SHORT = play_in(cartpole._replace(limit=80), policy)
INIT = init_policy(4, 2)


def task(play=SHORT, init=INIT, **options):
    usual = {"batch_size": 3, "batches_per_cycle": 2, "scored": range(2**31, 2**31 + 20)}
    return policies(play, init, **(usual | options))


def ones(params):
    return jax.tree.map(lambda a: 1.0, params)


@cache
def method(name):
    """One for all tests: what it has compiled stays compiled."""
    population = {"population": 6, "sigma": 1.0, "learning_rate": 0.5, "steps": 100}
    return {
        "search": lambda: rso(mean_loss(SHORT), sigma=ones),
        "slopes": lambda: slopes_method(
            episode_losses(SHORT), optax.adam(0.5), probes.weights(eps=1.0)
        ),
        "Open_ES": lambda: evolution_method(mean_loss(SHORT), open_es(**population)),
    }[name]()


def test_mini_batches_are_new_episodes_none_of_which_is_scored():
    stack = task().batches(np.random.default_rng(0), 0)
    assert {name: a.shape for name, a in stack.items()} == {"seed": (2, 3)}
    assert stack["seed"].dtype == np.uint32 and stack["seed"].max() < 2**31
    assert len(set(stack["seed"].ravel().tolist())) == 6
    again = task().batches(np.random.default_rng(0), 5)
    np.testing.assert_array_equal(again["seed"], stack["seed"])


def test_the_score_is_the_mean_over_the_held_out_episodes():
    params = INIT(jax.random.key(1))
    played = jax.jit(SHORT)(params, np.arange(2**31, 2**31 + 20, dtype=np.uint32))
    found = task().score(params, ())
    assert found == {
        "mean_return": pytest.approx(float(np.mean(played.returns))),
        "mean_steps": pytest.approx(float(np.mean(played.steps))),
    }
    assert found == task().score(params, ())


def test_losses_are_negative_returns_of_the_same_episodes_for_all_candidates():
    seeds = np.arange(5, dtype=np.uint32)
    candidates = jax.vmap(INIT)(jax.random.split(jax.random.key(0), 3))
    together = jax.jit(jax.vmap(episode_losses(SHORT), (0, None)))(candidates, {"seed": seeds})
    for i in range(3):
        one = jax.tree.map(lambda a, i=i: a[i], candidates)
        alone = jax.jit(SHORT)(one, seeds)
        np.testing.assert_array_equal(together[i], -alone.returns)
        mean = jax.jit(mean_loss(SHORT))(one, {"seed": seeds})
        np.testing.assert_allclose(mean, -np.mean(alone.returns), rtol=1e-6)


def test_a_search_learns_to_balance_and_the_console_says_so(capsys):
    seed = 3
    before = task().score(task().init(of_initial_parameters(seed)), ())["mean_return"]
    found = train(method("search"), task(), cycles=2, seed=seed, reporter=ConsoleReporter())
    assert found.metrics[-1]["mean_return"] > before + 20
    assert re.search(r"cycle 2/2  mean return \d+", capsys.readouterr().out)


@pytest.mark.parametrize("name", ["search", "slopes", "Open_ES"])
def test_interrupted_it_goes_on_to_the_same_end(name, tmp_path):
    whole = train(method(name), task(), cycles=2)
    train(method(name), task(), cycles=2, folder=tmp_path, stop=StopAtLook(2))
    resumed = train(method(name), task(), cycles=2, folder=tmp_path, resume=True)
    for a, b in zip(*map(jax.tree.leaves, (whole.params, resumed.params)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_slopes_tell_how_returns_change():
    """By finite differences of every weight, of a return that is smooth."""
    play = play_in(pendulum._replace(limit=5), policy)
    params = jax.tree.map(lambda a: 0.1 * a, init_policy(3, 1)(jax.random.key(0)))
    batch = {"seed": np.arange(4, dtype=np.uint32)}
    found = slopes_method(episode_losses(play), optax.sgd(1.0), probes.weights(1e-2))
    state = found.init(jax.random.key(0), params)
    stack = jax.tree.map(lambda a: a[None], batch)
    (stage,) = found.stages(jax.random.key(0), state, stack)
    prepared = found.prepare(jax.random.key(0), state, stage, stack)
    after, _ = found.advance(jax.random.key(0), state, stage, prepared, 0, 1)
    gradient = jax.jit(jax.jacfwd(mean_loss(play)))(params, batch)
    moved = jax.tree.map(lambda a, b: a - b, params, found.params(after))
    for a, b in zip(*map(jax.tree.leaves, (moved, gradient)), strict=True):
        np.testing.assert_allclose(a, b, rtol=0.05, atol=0.02)


def test_gymnasium_is_trained_as_a_black_box():
    pytest.importorskip("gymnasium")
    play = play_in_gymnasium("CartPole-v1", policy, max_episode_steps=40)
    small = task(play, batch_size=2, batches_per_cycle=1, scored=range(5))
    for made in (
        slopes_method(episode_losses(play), optax.adam(0.5), probes.weights(1.0)),
        evolution_method(
            mean_loss(play), open_es(population=4, sigma=1.0, learning_rate=0.5, steps=9)
        ),
    ):
        found = train(made, small, cycles=2)
        assert found.metrics[-1]["mean_return"] == found.metrics[-1]["mean_steps"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"play": 3}, "play is an int; pass a function"),
        ({"init": None}, "init is a NoneType; pass a function"),
        ({"batch_size": 0}, "batch_size is 0; it must be at least 1"),
        ({"batches_per_cycle": 1.5}, "batches_per_cycle is 1.5; it must be a whole number"),
        ({"scored": 100}, "scored is 100; pass the seeds"),
        ({"scored": []}, "pass the seeds of some episodes"),
        ({"scored": [-1]}, "must be at least 0"),
        ({"scored": [2**32]}, "below 2"),
    ],
)
def test_what_is_no_task_is_refused(options, said):
    with pytest.raises(UserError, match=said):
        task(**options)


@pytest.fixture(scope="module")
def page():
    """Names that its code defines, and what it prints."""
    names = {"printed": []}
    names["print"] = lambda *said: names["printed"].append(" ".join(map(str, said)))
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        exec(compile(block, str(PAGE), "exec"), names)
    return names


def test_the_page_trains_what_it_shows(page):
    search, *others = page["printed"]
    assert float(re.search(r"return (\d+) over", search).group(1)) > 150
    assert [line.split(":")[0] for line in others] == ["Open_ES", "PGPE", "slopes"]
    assert all(float(line.split(": ")[1]) > 100 for line in others)


def test_the_page_trains_in_gymnasium(page):
    pytest.importorskip("gymnasium")
    found = page["train_in_gymnasium"]("CartPole-v1", 4, 2)
    assert found.metrics[-1]["mean_return"] > 100


@pytest.fixture
def experiment(monkeypatch):
    """A script by its name."""
    monkeypatch.syspath_prepend(PAGE.parents[1] / "experiments")
    return importlib.import_module


def test_the_table_on_the_page_is_that_of_the_results(experiment):
    script = experiment("policies_page")
    assert script.table(script.read_results()) in PAGE.read_text()


def test_the_experiment_counts_every_step_of_every_candidate(experiment):
    counter = experiment("policies").Counter()
    candidates = jax.vmap(INIT)(jax.random.split(jax.random.key(0), 3))
    seeds = np.arange(5, dtype=np.uint32)
    found = jax.jit(jax.vmap(counter.watch(SHORT), (0, None)))(candidates, seeds)
    jax.block_until_ready(found)
    assert counter.steps == np.sum(found.steps)
