"""Why arrays become dense: told with the operation and the line of the user's code."""

from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from rso_jax.incremental import became_dense

X = jnp.ones((5, 3))
PARAMS = {"w": jnp.ones((3, 4)), "v": jnp.ones((4, 2))}


def loss(params, x):
    h = jnp.tanh(x @ params["w"])
    h = jnp.fft.fft(h, axis=0).real  # no rule
    return jnp.mean((h @ params["v"]) ** 2)


def test_an_operation_without_a_rule_is_named_with_its_line():
    (note,) = became_dense(loss, PARAMS, X, 1)
    assert (note.primitive, note.reason, note.shape) == ("fft", "has no rule", (4, 5))
    path, line = note.line.rsplit(":", 1)
    assert path == __file__
    assert "no rule" in Path(path).read_text().splitlines()[int(line) - 1]


def test_a_product_over_the_channel_is_told_as_what_it_is():
    def plain(params, x):
        return jnp.mean((jnp.tanh(x @ params["w"]) @ params["v"]) ** 2)

    (note,) = became_dense(plain, PARAMS, X, 1)
    assert note.primitive == "dot_general"
    assert note.reason == "adds up over the column's channel"
    (note,) = became_dense(plain, PARAMS, X, 0)  # of the last layer only the mean mixes columns
    assert note.primitive == "reduce_sum"


@pytest.mark.parametrize("transform", [jax.jit, jax.checkpoint])
def test_it_is_found_inside_calls(transform):
    def wrapped(params, x):
        return transform(loss)(params, x)

    assert [n.primitive for n in became_dense(wrapped, PARAMS, X, 1)] == ["fft"]


def test_nothing_is_told_twice():
    def twice(params, x):
        h = x @ params["w"]
        for _ in range(3):
            h = jnp.where(h > 0, jnp.sort(h, 1), h)  # along the channel
        return jnp.mean(h)

    notes = became_dense(twice, PARAMS, X, 1)
    assert [n.reason for n in notes] == ["the slice does not survive it"]
