"""Tasks that cannot work are refused before any training, with what to do instead."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from rso_jax import UserError
from rso_jax.baselines import cosine_sgd, gradient_method
from rso_jax.mesh import make_mesh
from rso_jax.tasks import Task
from rso_jax.training import train

X = np.ones((2, 3, 4), np.float32)


def batches(rng, cycle):
    return {"x": X}


TASK = Task(
    init=lambda key: {"w": jnp.ones(4)},
    batches=batches,
    batch_size=lambda cycle: 3,
    score=lambda params, kept: {"test_error": 0.5, "train_loss": np.inf},
)


def train_on(mesh=None, advances=None, **changes):
    method = gradient_method(
        lambda params, batch: jnp.mean(batch["x"] @ params["w"]),
        cosine_sgd(learning_rate=0.1, steps=4),
        mesh=mesh,
    )
    if advances is not None:
        advance = method.advance

        def counted(*arguments):
            advances.append(1)
            return advance(*arguments)

        method = dataclasses.replace(method, advance=counted)
    return train(method, dataclasses.replace(TASK, **changes), cycles=1)


def test_a_task_that_names_its_numbers_is_not_scored_ahead():
    scored = []

    def score(params, kept):
        scored.append(params)
        return {"test_error": 0.5}

    train_on(score=score, numbers=("test_error",))
    assert len(scored) == 1


def test_other_numbers_than_the_task_names():
    with pytest.raises(UserError, match="returns test_error, train_loss, but task"):
        train_on(numbers=("test_error",))


def test_numbers_that_are_not_finite_are_null():
    assert train_on().metrics[0]["train_loss"] is None


def test_numbers_may_be_arrays():
    numbers = {"a": jnp.float32(0.5), "b": np.array(2), "c": np.float64(1)}
    (line,) = train_on(score=lambda params, kept: numbers).metrics
    assert [line[name] for name in numbers] == [0.5, 2, 1]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"score": lambda p, k: 0.5}, "task.score returns a float; let it return named numbers"),
        ({"score": lambda p, k: None}, "task.score returns a NoneType"),
        ({"score": lambda p, k: {"error": "low"}}, "task.score gives the string 'low' as 'error'"),
        (
            {"score": lambda p, k: {"error": np.ones(2)}},
            "as 'error'; let every value be one number",
        ),
        ({"score": lambda p, k: {"good": True}}, "task.score gives a bool as 'good'"),
        ({"score": lambda p, k: {3: 0.5}}, "a number 3, which is no string; rename it"),
        ({"score": lambda p, k: {"seconds": 0.5}}, "'seconds', which metrics already have; rename"),
        ({"score": lambda p, k: {"aux": 0.5}}, "'aux', which metrics already have"),
        ({"shown": ("test_eror",)}, "shown of the task is 'test_eror': did you mean 'test_error'"),
        (
            {"numbers": ("error",), "shown": ("eror",)},
            "shown of the task is 'eror': did you mean 'error'",
        ),
        (
            {"numbers": ("seconds",)},
            "numbers of the task names a number 'seconds', which metrics already have",
        ),
        (
            {"numbers": ("error",), "keep": lambda p: {"name": "mlp"}},
            "task.keep returns name is the string 'mlp'",
        ),
        ({"keep": lambda p: {"name": "mlp"}}, "task.keep returns name is the string 'mlp'"),
        ({"batches": lambda rng, c: X[0, 0]}, "every array of batches needs the same two leading"),
        ({"batches": lambda rng, c: {"x": X, "y": X[:, :2]}}, "the same two leading axes"),
        ({"batches": lambda rng, c: {}}, "batches holds no array"),
        ({"batches": lambda rng, c: {"x": "a"}}, "task.batches returns x is the string 'a'"),
        (
            {"batches": lambda rng, c: {"x": X, "w": 1.5}, "batch_size": lambda c: 4},
            "mini-batches of 3 examples, but task.batch_size says 4",
        ),
        (
            {"batches": lambda rng, c: {"x": X, "w": np.float32(1.5)}},
            r"x\[None\]; of arrays that all examples share a search is told: rso\(\.\.\., shared",
        ),
        ({"batch_size": lambda c: 4}, "mini-batches of 3 examples, but task.batch_size says 4"),
        (
            {"batch_size": lambda c: 2.5},
            r"batch_size of cycle 0 is 2\.5; it must be a whole number",
        ),
    ],
)
def test_what_a_task_must_not_return(changes, said):
    advances = []
    with pytest.raises(UserError, match=said):
        train_on(advances=advances, **changes)
    assert not advances


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"batch_size": 3}, r"batch_size of a task is an int; pass a function: lambda cycle: 100"),
        ({"score": {"test_error": 0.5}}, "score of a task is a dict; pass a function"),
        ({"unit": 3}, "unit of a task is 3; pass a word"),
        ({"numbers": "test_error"}, "numbers of a task is 'test_error'; pass a tuple of names"),
        ({"shown": "test_error"}, "shown of a task is 'test_error'; pass a tuple of names"),
    ],
)
def test_what_is_no_task(changes, said):
    with pytest.raises(UserError, match=said):
        dataclasses.replace(TASK, **changes)


def test_mini_batches_on_other_devices_than_the_method():
    mesh = make_mesh(1, 1)
    assert train_on(mesh).metrics
    assert train_on(mesh, batches=lambda rng, cycle: {"x": jnp.asarray(X)}).metrics
