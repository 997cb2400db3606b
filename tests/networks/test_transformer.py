"""The decoder for characters: against its equations, causal, and all of it open to node probes."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rso_jax import UserError
from rso_jax.networks import Transformer, cross_entropy, linen_network, loss_of
from rso_jax.slopes import probes, value_and_slopes

KEY = jax.random.key(0)
SMALL = Transformer(vocabulary=5, width=8, heads=2, layers=1, length=4)
TOKENS = jax.random.randint(KEY, (6, 4), 0, 5)


def made(module, tokens=TOKENS):
    """A network and parameters large enough that all of them matter."""
    network = linen_network(module)
    draw, shapes = np.random.default_rng(0).normal, jax.eval_shape(network.init, KEY, tokens)
    return network, jax.tree.map(lambda a: 0.5 * draw(size=a.shape).astype(a.dtype), shapes)


def plain(params, tokens, heads):
    """Logits [n, T, vocabulary], in float64."""
    kernel = {
        jax.tree_util.keystr(path, simple=True, separator="/").removesuffix("/kernel"): np.float64(
            a
        )
        for path, a in jax.tree_util.tree_leaves_with_path(params)
    }

    def norm(x):
        x = x - x.mean(-1, keepdims=True)
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6)

    def attend(x, name):
        query, key, value = (
            np.split(x @ kernel[f"{name}/{which}"], heads, -1)
            for which in ("query", "key", "value")
        )
        mixed = []
        for q, k, v in zip(query, key, value, strict=True):
            shares = np.tril(np.exp(q @ k.swapaxes(1, 2) / np.sqrt(q.shape[-1])))
            mixed.append(shares / shares.sum(-1, keepdims=True) @ v)
        return np.concatenate(mixed, -1) @ kernel[f"{name}/out"]

    vocabulary = kernel["head"].shape[1]
    tokens, count = np.asarray(tokens), tokens.shape[1]
    x = kernel["embedding"][tokens] + kernel["embedding"][vocabulary : vocabulary + count]
    for block in sorted({name.split("/")[0] for name in kernel if name.startswith("block")}):
        x = x + attend(norm(x), f"{block}/attention")
        inner = np.float64(jax.nn.gelu(norm(x) @ kernel[f"{block}/up"]))
        x = x + inner @ kernel[f"{block}/down"]
    return norm(x) @ kernel["head"]


@pytest.mark.parametrize("count", [4, 3])
def test_it_is_the_one_described(count):
    network, params = made(Transformer(vocabulary=5, width=8, heads=2, layers=2, length=4))
    assert sum(a.size for a in jax.tree.leaves(params)) == (5 + 4) * 8 + 2 * 12 * 8**2 + 8 * 5
    found = jax.jit(network.logits)(params, TOKENS[:, :count])
    np.testing.assert_allclose(found, plain(params, TOKENS[:, :count], 2), rtol=1e-3, atol=1e-4)


def test_no_token_sees_those_after_it_nor_other_examples():
    network, params = made(SMALL)
    logits, changed = (
        np.asarray(jax.jit(network.logits)(params, tokens))
        for tokens in (TOKENS, TOKENS.at[0, 2].add(1) % 5)
    )
    same = np.ones(logits.shape[:2], bool)
    same[0, 2:] = False
    np.testing.assert_array_equal(logits[same], changed[same])
    assert np.all(np.any(logits != changed, -1) == ~same)


def test_node_probes_tell_the_slopes_of_every_leaf():
    network, params = made(SMALL)
    batch = {"text": TOKENS, "next": jnp.roll(TOKENS, 1)}
    names = {"inputs": "text", "labels": "next"}
    losses = loss_of(network, partial(cross_entropy, reduction="none"), **names)
    estimate = jax.jit(value_and_slopes(losses, probes.nodes(positions="each")))
    value, slopes, info = estimate(KEY, params, batch)
    of_loss = jax.jit(jax.value_and_grad(loss_of(network, **names)))
    expected, gradient = of_loss(params, batch)
    assert float(value) == pytest.approx(float(expected), rel=1e-6)
    for a, b in zip(jax.tree.leaves(slopes), jax.tree.leaves(gradient), strict=True):
        assert jnp.vdot(a, b) > 0.99 * jnp.linalg.norm(a) * jnp.linalg.norm(b)
    columns = sum(a.shape[1] for a in jax.tree.leaves(params))
    assert int(info.image_evaluations) == 6 * (1 + 4 * columns)


def test_what_does_not_fit_is_refused():
    with pytest.raises(UserError, match=r"shape \(2, 5\); .* T from 1 to 4"):
        SMALL.init(KEY, jnp.zeros((2, 5), int))
    with pytest.raises(UserError, match="width is 9 and heads are 2"):
        Transformer(5, 9, 2).init(KEY, TOKENS)
