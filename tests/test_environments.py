"""Environments against plain NumPy and against Gymnasium, episodes against a plain loop."""

from math import cos, pi, radians, sin

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rso_jax import UserError, environments
from rso_jax.environments import (
    init_policy,
    play_in,
    play_in_gymnasium,
    policy,
    rollout,
)

NAMES = {
    "cartpole": "CartPole-v1",
    "acrobot": "Acrobot-v1",
    "mountain_car": "MountainCarContinuous-v0",
    "pendulum": "Pendulum-v1",
}
RANGES = {
    "cartpole": (2.6, 3, 0.25, 3),
    "acrobot": (pi, pi, 12, 28),
    "mountain_car": (1.2, 0.07),
    "pendulum": (3 * pi, 8),
}
"""States of a test lie so far from 0, at most."""


def plain_cartpole(state, action):
    x, v, angle, w = state
    push = (2 * action - 1) * 10
    pushed = (push + 0.05 * w**2 * sin(angle)) / 1.1
    turning = (9.8 * sin(angle) - cos(angle) * pushed) / (
        0.5 * (4 / 3 - 0.1 * cos(angle) ** 2 / 1.1)
    )
    moving = pushed - 0.05 * turning * cos(angle) / 1.1
    state = [x + 0.02 * v, v + 0.02 * moving, angle + 0.02 * w, w + 0.02 * turning]
    return state, 1.0, abs(state[0]) > 2.4 or abs(state[2]) > radians(12)


def plain_pendulum(state, action):
    angle, w = state
    cost = ((angle + pi) % (2 * pi) - pi) ** 2 + w**2 / 10 + action**2 / 1000
    w = min(max(w + (15 * sin(angle) + 3 * action) / 20, -8), 8)
    return [angle + w / 20, w], -cost, False


def plain_mountain_car(state, action):
    x, v = state
    v = min(max(v + 0.0015 * action - 0.0025 * cos(3 * x), -0.07), 0.07)
    x = min(max(x + v, -1.2), 0.6)
    v = 0 if x == -1.2 and v < 0 else v
    done = x >= 0.45 and v >= 0
    return [x, v], 100 * done - 0.1 * action**2, done


def plain_acrobot(state, action):
    def slope(s):
        a, b, da, db = s
        d1, d2 = 0.25 + 1.25 + cos(b) + 2, 0.25 + 0.5 * cos(b) + 1
        p2 = 4.9 * cos(a + b - pi / 2)
        p1 = -0.5 * db**2 * sin(b) - db * da * sin(b) + 14.7 * cos(a - pi / 2) + p2
        ddb = (action - 1 + d2 / d1 * p1 - 0.5 * da**2 * sin(b) - p2) / (1.25 - d2**2 / d1)
        return np.array([da, db, -(d2 * ddb + p1) / d1, ddb])

    s = np.array(state)
    k1 = slope(s)
    k2 = slope(s + 0.1 * k1)
    k3 = slope(s + 0.1 * k2)
    k4 = slope(s + 0.2 * k3)
    s = s + 0.2 / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    s[:2] = (s[:2] + pi) % (2 * pi) - pi
    s[2:] = np.clip(s[2:], [-4 * pi, -9 * pi], [4 * pi, 9 * pi])
    done = -cos(s[0]) - cos(s[0] + s[1]) > 1
    return s, 0.0 if done else -1.0, done


STEPS = {name: jax.jit(getattr(environments, name).step) for name in NAMES}
PLAIN = {name: globals()[f"plain_{name}"] for name in NAMES}


def draw_action(environment, number):
    """From a number in [0, 1]: one for JAX, and a plain one."""
    if environment.bound is None:
        chosen = min(int(number * environment.outputs), environment.outputs - 1)
        return chosen, chosen
    pushed = np.float32((2 * number - 1) * environment.bound)
    return pushed[None], float(pushed)


def same_angles(name, found, wanted):
    """How far two states are apart, angles on their circle."""
    apart = np.asarray(found, float) - np.asarray(wanted, float)
    if name == "acrobot":
        apart[:2] = (apart[:2] + pi) % (2 * pi) - pi
    return apart


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=60)
@given(data=st.data())
def test_a_step_is_that_of_plain_python(name, data):
    environment = getattr(environments, name)
    wide = st.floats(-1, 1, width=32)
    state = np.array([r * data.draw(wide) for r in RANGES[name]], np.float32)
    action, plain_action = draw_action(environment, data.draw(st.floats(0, 1)))
    found, reward, done = STEPS[name](state, action)
    wanted, plain_reward, plain_done = PLAIN[name]([float(s) for s in state], plain_action)
    # Acrobot's links turn so fast that rounding is magnified within a step.
    loose = {"atol": 2e-2} if name == "acrobot" else {"atol": 1e-4}
    np.testing.assert_allclose(same_angles(name, found, wanted), 0, **loose)
    if bool(done) == plain_done:  # on the edge rounding decides
        np.testing.assert_allclose(reward, plain_reward, rtol=1e-4, atol=1e-4)
    else:
        assert name != "pendulum"


@pytest.mark.parametrize("name", NAMES)
def test_steps_are_those_of_gymnasium(name):
    gymnasium = pytest.importorskip("gymnasium")
    environment = getattr(environments, name)
    made = gymnasium.make(NAMES[name])
    assert made.spec.max_episode_steps == environment.limit
    assert made.observation_space.shape == (environment.observations,)
    rng, observe = np.random.default_rng(0), jax.jit(environment.observe)
    for seed in range(3):
        seen, _ = made.reset(seed=seed)
        inside = made.unwrapped
        for _ in range(40):
            state = np.asarray(inside.state, np.float32)
            np.testing.assert_allclose(observe(state), seen, atol=1e-5)
            action, _ = draw_action(environment, rng.uniform())
            found, reward, done = STEPS[name](state, action)
            seen, wanted, terminated, _, _ = made.step(action)
            assert bool(done) == terminated
            np.testing.assert_allclose(reward, wanted, rtol=1e-4, atol=1e-4)
            apart = same_angles(name, found, inside.state)
            np.testing.assert_allclose(apart, 0, atol=1e-4)
            if terminated:
                break


@pytest.mark.parametrize("name", NAMES)
def test_episodes_begin_where_gymnasiums_do(name):
    gymnasium = pytest.importorskip("gymnasium")
    made = gymnasium.make(NAMES[name])
    theirs = np.array([(made.reset(seed=s), made.unwrapped.state)[1] for s in range(300)], float)
    keys = jax.random.split(jax.random.key(0), 300)
    ours = np.asarray(jax.vmap(getattr(environments, name).reset)(keys), float)
    for found, wanted in ((ours, theirs), (theirs, ours)):
        spread = np.ptp(wanted, axis=0)
        assert (found >= wanted.min(0) - 0.05 * spread).all()
        assert (found <= wanted.max(0) + 0.05 * spread).all()


def plain_episode(environment, name, params, key):
    """Return and length, step by step in plain Python."""
    state, total, steps, done = [float(s) for s in environment.reset(key)], 0.0, 0, False
    while not done and steps < environment.limit:
        output = policy(params, np.array(state, np.float32))
        if environment.bound is None:
            action = int(output.argmax())
        else:
            action = float(np.clip(output[0], -environment.bound, environment.bound))
        state, reward, done = PLAIN[name](state, action)
        total, steps = total + reward, steps + 1
    return total, steps


@pytest.mark.parametrize("name", ["cartpole", "mountain_car"])
def test_episodes_are_those_of_a_plain_loop(name):
    environment = getattr(environments, name)._replace(limit=30)
    keys = jax.random.split(jax.random.key(3), 4)
    init = init_policy(environment.observations, environment.outputs, (5,))
    play = jax.jit(lambda params: rollout(environment, policy, params, keys))
    lengths = set()
    for seed in range(4):
        params = jax.tree.map(np.asarray, init(jax.random.key(seed)))
        found = play(params)
        for i, key in enumerate(keys):
            total, steps = plain_episode(environment, name, params, key)
            # On the edge rounding decides when an episode is over.
            assert abs(int(found.steps[i]) - steps) <= 1
            np.testing.assert_allclose(found.returns[i], total, atol=1.1)
        lengths |= set(np.asarray(found.steps).tolist())
    assert max(lengths) == 30
    assert name != "cartpole" or len(lengths) > 2  # each stopped at its own end


def test_an_episode_that_is_over_gains_no_more():
    play = jax.jit(play_in(environments.cartpole, policy))
    params = init_policy(4, 2)(jax.random.key(0))
    together = play(params, jnp.arange(8, dtype=jnp.uint32))
    assert len(set(np.asarray(together.steps).tolist())) > 1
    np.testing.assert_array_equal(together.returns, together.steps)
    for seed in (0, 7):
        alone = play(params, jnp.array([seed], jnp.uint32))
        assert alone.steps[0] == together.steps[seed]


def test_a_policy_is_the_same_in_numpy_and_in_jax():
    for hidden in ((), (7,), (5, 3)):
        params = init_policy(4, 2, hidden)(jax.random.key(1))
        seen = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
        found = policy(jax.tree.map(np.asarray, params), seen)
        assert isinstance(found, np.ndarray) and found.shape == (6, 2)
        np.testing.assert_allclose(found, policy(params, jnp.array(seen)), rtol=1e-5, atol=1e-6)
    with pytest.raises(UserError, match=r"hidden\[0\] is 0; it must be at least 1"):
        init_policy(4, 2, (0,))


@pytest.mark.parametrize("name", NAMES)
def test_gymnasium_plays_as_a_plain_loop_does(name):
    gymnasium = pytest.importorskip("gymnasium")
    environment = getattr(environments, name)
    params = init_policy(environment.observations, environment.outputs, (3,))(jax.random.key(2))
    options = {"max_episode_steps": 30}
    play = play_in_gymnasium(NAMES[name], policy, **options)
    seeds = np.array([3, 2**31 + 5, 9], np.uint32)
    found = jax.jit(play)(params, seeds)
    made, plain = gymnasium.make(NAMES[name], **options), jax.tree.map(np.asarray, params)
    for i, seed in enumerate(seeds):
        seen, _ = made.reset(seed=int(seed))
        total, steps, over = 0.0, 0, False
        while not over:
            output = policy(plain, np.asarray(seen, np.float32))
            if environment.bound is None:
                action = int(output.argmax())
            else:
                action = np.clip(output, -environment.bound, environment.bound)
            seen, reward, terminated, truncated, _ = made.step(action)
            total, steps, over = total + float(reward), steps + 1, terminated or truncated
        assert found.steps[i] == steps
        np.testing.assert_allclose(found.returns[i], total, rtol=1e-5)
    twice = jax.tree.map(lambda a: jnp.stack([a, a]), params)
    many = jax.jit(jax.vmap(play, (0, None)))(twice, seeds)
    np.testing.assert_array_equal(many.returns, np.stack([found.returns] * 2))


def test_what_gymnasium_cannot_make_is_said():
    pytest.importorskip("gymnasium")
    with pytest.raises(UserError, match="makes no environment 'CartPole-v99'"):
        play_in_gymnasium("CartPole-v99", policy)
    with pytest.raises(UserError, match="policy is an int; pass a function"):
        play_in_gymnasium("CartPole-v1", 3)
    with pytest.raises(UserError, match="there must be a vector of the one"):
        play_in_gymnasium("Blackjack-v1", policy)


def test_without_gymnasium_that_is_said(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "gymnasium", None)
    with pytest.raises(UserError, match=r"pip install 'rso_jax\[rl\]'"):
        play_in_gymnasium("CartPole-v1", policy)
