"""Next-character prediction: windows, scores, training by slopes and by gradients."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rso_jax import UserError
from rso_jax.baselines import gradient_method
from rso_jax.mesh import make_mesh
from rso_jax.networks import create, cross_entropy, linen_network, loss_of
from rso_jax.slopes import slopes_method
from rso_jax.tasks import characters
from rso_jax.training import SilentReporter, train

TEXT = "how much wood would a woodchuck chuck if a woodchuck could chuck wood? " * 5
LETTERS = sorted(set(TEXT))


class Bigram(nn.Module):
    """The next character by the last one alone."""

    vocabulary: int

    @nn.compact
    def __call__(self, tokens):
        return nn.Dense(self.vocabulary, use_bias=False)(nn.one_hot(tokens, self.vocabulary))


NETWORK = linen_network(Bigram(len(LETTERS)))
NAMES = {"inputs": "text", "labels": "next"}
LOSSES = loss_of(NETWORK, partial(cross_entropy, reduction="none"), **NAMES)


def task(text=TEXT, network=NETWORK, **options):
    usual = {"length": 6, "batch_size": 8, "batches_per_cycle": 3}
    return characters(text, network, **(usual | options))


def spell(numbers):
    return "".join(LETTERS[i] for i in numbers)


def test_windows_are_of_the_training_text_and_followed_by_its_next_characters():
    held_out = round(0.3 * len(TEXT))
    stack = task(held_out=0.3).batches(np.random.default_rng(0), 0)
    assert {name: a.shape for name, a in stack.items()} == {"text": (3, 8, 6), "next": (3, 8, 6)}
    starts = set()
    for text, following in zip(
        *(np.reshape(stack[n], (-1, 6)) for n in ("text", "next")), strict=True
    ):
        seen = spell(text) + spell(following[-1:])
        assert spell(following) == seen[1:] and seen in TEXT[: len(TEXT) - held_out]
        starts.add(seen)
    assert len(starts) > 15  # of 24, in a text that repeats itself
    again = task(held_out=0.3, mesh=make_mesh(1, 1)).batches(np.random.default_rng(0), 1)
    np.testing.assert_array_equal(again["text"], stack["text"])


def test_scores_are_nats_per_character_over_windows_of_both_parts():
    params = task().init(jax.random.key(0))
    table = np.asarray(jax.nn.log_softmax(jax.tree.leaves(params)[0]))
    numbers = np.array([LETTERS.index(c) for c in TEXT])
    cut = len(TEXT) - round(0.1 * len(TEXT))

    def expected(part, starts):
        pairs = [(part[s + i], part[s + i + 1]) for s in starts for i in range(6)]
        right = np.mean([table[a].argmax() == b for a, b in pairs])
        return -np.mean([table[a, b] for a, b in pairs]), right

    task_ = task(scored=3)
    found = task_.score(params, task_.keep(params))
    for name, part in (("train", numbers[:cut]), ("test", numbers[cut:])):
        last = len(part) - 7
        loss, accuracy = expected(part, [0, last // 2, last])
        assert found[f"{name}_loss"] == pytest.approx(loss, rel=1e-5)
        assert found[f"{name}_accuracy"] == pytest.approx(accuracy)
    assert task_.shown == ("test_loss", "train_loss")


@pytest.mark.parametrize("mesh", [None, make_mesh(1, 1)])
@pytest.mark.parametrize("way", ["slopes", "gradient"])
def test_both_ways_learn_it(way, mesh):
    optimizer = optax.adam(0.1)
    if way == "slopes":
        method = slopes_method(LOSSES, optimizer, mesh=mesh)
    else:
        method = gradient_method(loss_of(NETWORK, **NAMES), optimizer, mesh=mesh)
    lines = train(method, task(mesh=mesh), cycles=4).metrics
    assert lines[-1]["test_loss"] < min(2.2, lines[0]["test_loss"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"text": b"bytes"}, "text is a bytes; pass a string"),
        ({"text": "too short a text"}, "16 characters, 2 of them for test; .* needs 7"),
        ({"held_out": 0.99}, "4 of them for training"),
        ({"held_out": 1}, "held_out is 1; it must be a share"),
        ({"held_out": True}, "held_out is True; it must be a share"),
        ({"length": 0}, "length is 0; it must be at least 1"),
        ({"batch_size": 2.5}, "batch_size is 2.5; it must be a whole number"),
        ({"scored": 0}, "scored is 0"),
        ({"network": Bigram(5)}, r"network is a function \(Bigram\); pass what linen_network"),
        ({"mesh": 2}, "mesh is an int; pass what rso_jax.mesh.make_mesh"),
    ],
)
def test_what_cannot_be_a_task_is_refused(options, said):
    with pytest.raises(UserError, match=said):
        task(**options)


@pytest.mark.parametrize(
    "network", [linen_network(Bigram(5)), create("mlp", (6,), 10, norm="none")]
)
def test_a_network_of_other_logits_is_refused(network):
    with pytest.raises(UserError, match=r"characters; they must be \[8, 6, "):
        task(network=network).init(jax.random.key(0))


def test_the_vocabulary_is_that_of_the_whole_text():
    text = "ab" * 40 + "xyz" * 3
    params = task(text, linen_network(Bigram(5)), length=4).init(jax.random.key(0))
    assert jnp.shape(jax.tree.leaves(params)[0]) == (5, 5)


def test_what_is_counted_in_a_second_are_windows():
    heard = []

    class Listener(SilentReporter):
        def visits(self, cycle, stage, done, status):
            heard.append(status.unit)

    method = gradient_method(loss_of(NETWORK, **NAMES), optax.sgd(0.1))
    train(method, task(), cycles=1, reporter=Listener())
    assert {*heard} == {"windows"}
