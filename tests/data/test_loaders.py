"""Loaders of mini-batches as the stacks of a task."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rso_jax import UserError, rso, step
from rso_jax.baselines import cosine_sgd, gradient_method
from rso_jax.data import load, normalize, stacks_from
from rso_jax.networks import create, loss_of
from rso_jax.slopes import slopes_method
from rso_jax.tasks import classification
from rso_jax.training import StopRequest, train

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(10, 3)).astype(np.float32), np.arange(10)


class Tensors:
    """What a loader of PyTorch gives: something that NumPy reads, and that can be gone through
    again."""

    def __init__(self, size):
        self.size = size

    def __iter__(self):
        for start in range(0, len(X), self.size):
            yield Tensor(X[start : start + self.size]), Tensor(Y[start : start + self.size])


class Tensor:
    def __init__(self, array):
        self._array = array

    def __array__(self, dtype=None, copy=None):
        return self._array if dtype is None else self._array.astype(dtype)


def test_a_loader_is_gone_through_in_every_cycle():
    batches = stacks_from(Tensors(4), convert=lambda pair: dict(zip("xy", pair, strict=True)))
    for cycle in range(2):
        found = batches(RNG, cycle)
        np.testing.assert_array_equal(found["x"], X[:8].reshape(2, 4, 3))  # two are left over
        np.testing.assert_array_equal(found["y"], Y[:8].reshape(2, 4))
    assert stacks_from(Tensors(5))(RNG, 0)[0].shape == (2, 5, 3)
    assert stacks_from(Tensors(2), batches_per_cycle=3)(RNG, 0)[0].shape == (3, 2, 3)
    assert stacks_from([X])(RNG, 0).shape == (1, 10, 3)


def test_an_endless_stream_is_read_on_in_every_cycle():
    stream = (np.full((2, 1), number) for number in itertools.count())
    batches = stacks_from(lambda rng, cycle: stream, batches_per_cycle=3)
    assert [batches(RNG, cycle)[:, 0, 0].tolist() for cycle in range(2)] == [[0, 1, 2], [3, 4, 5]]


def mean_square(weights, batch):
    return jnp.mean((batch["x"] @ weights) ** 2)


def squares(weights, batch):
    return (batch["x"] @ weights) ** 2


METHODS = {
    "search": rso(mean_square),
    "gradients": gradient_method(mean_square, cosine_sgd(learning_rate=0.1, steps=9)),
    "slopes": slopes_method(squares, optax.sgd(0.1)),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["generator", "Tensors"])
def test_a_loader_in_place_of_a_stack_is_told_apart(method, kind):
    method, key = METHODS[method], jax.random.key(0)
    loader = ({"x": X} for _ in range(3)) if kind == "generator" else Tensors(5)
    with pytest.raises(UserError, match=rf"batches is a {kind}.*stacks_from\(loader\)"):
        step(method, key, method.init(key, jnp.ones(3)), loader)


def test_a_run_by_a_generator_is_resumed_exactly(tmp_path):
    data = normalize(load("digits"), "center")
    network = create("mlp", data.x_train.shape[1:], 10, (5,), "none")

    def shuffled(rng, cycle):
        rows = rng.permutation(400).reshape(4, 100)
        for some in rows:
            yield {"image": data.x_train[some], "label": data.y_train[some]}

    task = classification(network, data, batch_size=100)
    task = dataclasses.replace(task, batches=stacks_from(shuffled, batches_per_cycle=3))
    method = gradient_method(loss_of(network), cosine_sgd(learning_rate=0.1, steps=9))
    whole = train(method, task, cycles=3)
    stopped = {"folder": tmp_path / "run", "cycles": 3}
    train(method, task, **stopped, stop=StopRequest(max_minutes=1e-6))
    found = train(method, task, **stopped, resume=True)
    for name, layer in whole.params.items():
        np.testing.assert_array_equal(found.params[name]["kernel"], layer["kernel"])


def test_what_cannot_be_stacked_is_refused():
    with pytest.raises(UserError, match="only once"):
        stacks_from(iter([X]))
    with pytest.raises(UserError, match="loader is an int"):
        stacks_from(3)
    with pytest.raises(UserError, match="gave 2 mini-batches of one size in cycle 0, of 3"):
        stacks_from(Tensors(4), batches_per_cycle=3)(RNG, 0)
    with pytest.raises(UserError, match="gave 0"):
        stacks_from([])(RNG, 0)
    with pytest.raises(UserError, match="mini-batch 1 is not like its first"):
        stacks_from([X, X.astype(np.float16)])(RNG, 0)
