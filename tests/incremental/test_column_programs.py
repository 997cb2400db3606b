"""Column programs against the full loss, for every leaf of many kinds of model."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

from rso_jax.incremental import column_program, count_flops
from rso_jax.networks import create, from_nnx, linen_network, loss_of
from rso_jax.trees import named_leaves

KEY = jax.random.key(0)


def labels(n):
    return jnp.arange(n) % 10


def drawn(shapes):
    """Parameters of these shapes: initialisers take longer to compile than what is tested."""
    draw = np.random.default_rng(0).standard_normal
    return jax.tree.map(
        lambda a: jnp.asarray(draw(a.shape) / math.prod(a.shape[:-1]) ** 0.5, a.dtype), shapes
    )


def problem(network, inputs):
    params = drawn(jax.eval_shape(network.init, KEY, inputs))
    return loss_of(network), params, {"image": inputs, "label": labels(len(inputs))}


def built_in(name, shape, n):
    return problem(create(name, shape, 10), jax.random.normal(KEY, (n, *shape)))


class TransformerBlock(nn.Module):
    @nn.compact
    def __call__(self, x):
        h = nn.LayerNorm()(x)
        x = x + nn.MultiHeadDotProductAttention(num_heads=2)(h, h)
        h = nn.LayerNorm()(x)
        return x + nn.Dense(8)(nn.gelu(nn.Dense(16)(h)))


class Transformer(nn.Module):
    @nn.compact
    def __call__(self, tokens):
        x = nn.Embed(20, 8)(tokens) + self.param("position", nn.initializers.normal(0.1), (5, 8))
        return nn.Dense(10)(nn.LayerNorm()(TransformerBlock()(x)).mean(1))


class Odd(nn.Module):
    """Dilated, depthwise and grouped convolutions, GroupNorm, sort, a GRU, transposition."""

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(8, (3, 3), kernel_dilation=2)(x)
        x = nn.Conv(8, (3, 3), feature_group_count=8)(x)
        x = nn.GroupNorm(4)(x)
        x = nn.Conv(8, (3, 3), strides=2, feature_group_count=2)(nn.swish(x))
        x = jnp.sort(x, axis=1).reshape(x.shape[0], -1, 8)
        x = nn.RNN(nn.GRUCell(6))(x)
        x = jnp.concatenate([x.mean(1), x.max(1)], -1)
        return nn.Dense(10)(nn.ConvTranspose(5, (3,))(x[..., None]).mean(1))


def transformer():
    tokens = jax.random.randint(KEY, (6, 5), 0, 20)
    return problem(linen_network(Transformer()), tokens)


def odd():
    images = jax.random.normal(KEY, (6, 8, 8, 3))
    return problem(linen_network(Odd()), images)


def nnx_model():
    model = nnx.Sequential(
        nnx.Linear(6, 5, rngs=nnx.Rngs(0)), nnx.BatchNorm(5, rngs=nnx.Rngs(0)), nnx.relu,
        nnx.Linear(5, 10, rngs=nnx.Rngs(1)),
    )  # fmt: skip
    params, loss = from_nnx(model)
    return loss, params, {"image": jax.random.normal(KEY, (20, 6)), "label": labels(20)}


def bare(loss, dtype=jnp.float32, **shapes):
    keys = iter(jax.random.split(KEY, 20))
    params = {
        name: jax.random.normal(next(keys), shape).astype(dtype) for name, shape in shapes.items()
    }
    return loss, params, jax.random.normal(next(keys), (7, 4)).astype(dtype)


def tied(p, x):
    h = jnp.tanh(x @ p["w"])
    return jnp.mean((h @ p["w"].T + p["shift"]) ** 2) * p["scale"]


def branching(p, x):
    a, b = jnp.tanh(x @ p["a"]), x @ p["b"]
    return jnp.mean(jnp.where(a > b, a * b, jnp.maximum(a, b[:, ::-1]))) + jnp.var(a / (2 + b**2))


def control_flow(p, x):
    def step(h, row):
        return jnp.tanh(h @ p["w"] + row), h.sum()

    h, sums = lax.scan(step, jnp.zeros(4, x.dtype), x)
    h = lax.cond(sums[-1] > 0, lambda: h * p["s"], lambda: h - p["s"])
    return lax.while_loop(lambda v: v < 1, lambda v: v + 0.5, jnp.abs(h).sum())


def reductions(p, x):
    h = x @ p["w"]
    soft = jax.nn.log_softmax(h) * jax.nn.softmax(h.T @ h)[:1, :1]
    return soft.sum() + h.max() - h.min(1).sum() + jnp.prod(h, 1).mean() + h.argmax(1).mean()


def convolve(x, kernel, strides=(1, 1), layout=("NHWC", "HWIO", "NHWC"), **options):
    return lax.conv_general_dilated(x, kernel, strides, "SAME", dimension_numbers=layout, **options)


def pooled(p, x):
    """Average pooling after convolutions: strided, dilated, with a shortcut, scaled."""
    h = nn.avg_pool(convolve(x, p["a"]), (2, 2), (2, 2))
    h = convolve(jnp.tanh(h), p["b"], rhs_dilation=(2, 2))
    h = nn.avg_pool(h + x[:, ::2, ::2, :1], (2, 2), (1, 1)) * 3
    h = nn.avg_pool(convolve(jnp.sin(h), p["c"], (2, 2)), (2, 1), (2, 1))
    return jnp.mean(jnp.cos(h.reshape(h.shape[0], -1)) ** 2)


def pooled_at_the_edge(p, x):
    """Pooling that reaches beyond the image, and a convolution used twice."""
    h = convolve(x, p["a"])
    h = jnp.tanh(nn.avg_pool(h, (3, 3), (1, 1), "SAME")) + h
    h = convolve(h, p["b"]).transpose(0, 3, 1, 2)
    return jnp.mean(jnp.sin(h)) + jnp.mean(nn.avg_pool(h, (2, 2), (2, 2)) ** 2)


def channels_first(p, x):
    layout = ("NCHW", "OIHW", "NCHW")
    h = jnp.tanh(convolve(x.transpose(0, 3, 1, 2), p["a"], layout=layout))
    return jnp.mean(jnp.tanh(convolve(h, p["b"], layout=layout)))


def images_of(loss, **shapes):
    _, params, _ = bare(loss, **shapes)
    return loss, params, jax.random.normal(KEY, (5, 8, 8, 2))


def narrow(p, x):
    return jnp.mean(jnp.sin(x @ p["w"]) * p["v"] @ p["u"])


CASES = {
    "mlp": lambda: built_in("mlp", (4, 4, 1), 30),
    "mnist network": lambda: built_in("paper-mnist", (28, 28, 1), 4),
    "transformer": transformer,
    "odd": odd,
    "nnx": nnx_model,
    "tied": lambda: bare(tied, w=(4, 3), shift=(4,), scale=()),
    "branching": lambda: bare(branching, a=(4, 3), b=(4, 3)),
    "control flow": lambda: bare(control_flow, w=(4, 4), s=(4,)),
    "reductions": lambda: bare(reductions, w=(4, 5)),
    "pooled": lambda: images_of(pooled, a=(3, 3, 2, 4), b=(3, 3, 4, 3), c=(2, 2, 3, 2)),
    "pooled at the edge": lambda: images_of(pooled_at_the_edge, a=(3, 3, 2, 4), b=(3, 3, 4, 3)),
    "channels first": lambda: images_of(channels_first, a=(4, 2, 3, 3), b=(3, 4, 3, 3)),
    "last dimension 1": lambda: bare(narrow, w=(4, 1), v=(1, 3), u=(3, 1)),
}


def leaf_errors(loss, params, batch):
    """Relative error of one changed column of every leaf, with NaN where it was."""
    leaves, treedef = jax.tree.flatten(params)
    for i, (path, leaf) in enumerate(named_leaves(params).items()):
        program = column_program(loss, params, batch, i)
        columns = leaf.shape[-1] if leaf.ndim else 1
        o = columns // 2
        noise = 0.3 * np.random.default_rng(i).standard_normal(leaf.shape[:-1])
        weights = ((leaf[..., o] if leaf.ndim else leaf) + noise).astype(leaf.dtype)

        def holding(leaves, values, i=i):
            return jax.tree.unflatten(treedef, [*leaves[:i], values, *leaves[i + 1 :]])

        # All arrays are arguments: of constants XLA would work out much while it compiles.
        @jax.jit
        def staged(leaves, batch, o, weights, i=i, program=program, holding=holding):
            leaf = leaves[i]
            nothing = holding(leaves, jnp.full_like(leaf, jnp.nan))
            prefix = program.prefix(nothing, batch)
            gone = leaf.at[..., o].set(jnp.nan) if leaf.ndim else leaf * jnp.nan
            forgotten = holding(leaves, gone)
            view = program.view(forgotten, batch, o, prefix)
            # Reached by a step of one weight from a column without it.
            k = weights.size // 3
            step = weights.reshape(-1)[k]
            without = weights.reshape(-1).at[k].set(0).reshape(weights.shape)
            z = program.preactivation(view, without)
            z = [a + step * b for a, b in zip(z, program.direction(view, k), strict=True)]
            return program.loss(view, weights, z)

        changed = holding(leaves, leaf.at[..., o].set(weights) if leaf.ndim else weights)
        expected = float(jax.jit(loss)(changed, batch))
        found = float(staged(leaves, batch, o, weights))
        yield path, abs(found - expected) / max(abs(expected), 1e-3)


@pytest.mark.parametrize("case", CASES)
def test_exact_for_every_leaf_whatever_the_column_held(case):
    for path, error in leaf_errors(*CASES[case]()):
        assert error < 1e-5, path


@pytest.mark.parametrize("case", ["tied", "branching", "control flow", "reductions", "pooled"])
def test_exact_in_64_bits(case):
    with jax.enable_x64(True):
        loss, params, batch = CASES[case]()
        params, batch = jax.tree.map(lambda a: a.astype(jnp.float64), (params, batch))
        for path, error in leaf_errors(loss, params, batch):
            assert error < 1e-12, path


def test_bfloat16():
    loss, params, batch = bare(narrow, jnp.bfloat16, w=(4, 1), v=(1, 3), u=(3, 1))
    for path, error in leaf_errors(loss, params, batch):
        assert error < 0.05, path  # 8 bits of precision


def test_a_candidate_costs_a_small_part_of_a_forward():
    loss, params, batch = built_in("paper-mnist", (28, 28, 1), 4)
    full = count_flops(loss, params, batch)
    shares = {}
    for i, (path, leaf) in enumerate(named_leaves(params).items()):
        program = column_program(loss, params, batch, i)
        o = jnp.asarray(0)
        inside = (jax.eval_shape(program.view, params, batch, o), jnp.zeros(leaf.shape[:-1]))
        z = jax.eval_shape(program.preactivation, *inside)
        shares[path] = count_flops(program.loss, *inside, z) / full
    # 1201, 655, 233, 106, 11, 0.4 of 2957 MFLOP where a share is added before it is pooled.
    limits = {"conv1": 0.41, "conv2": 0.23, "conv3": 0.08, "conv4": 0.05, "conv5": 0.006}
    for layer, limit in limits.items():
        assert shares[f"{layer}/kernel"] < limit
    assert shares["conv6/kernel"] < 0.0003


def test_what_is_made_from_nothing_is_not_kept():
    """The channel numbers by which a column is left out are as large as the activations."""
    loss_fn, params, batch = built_in("paper-mnist", (28, 28, 1), 4)
    for index, path in enumerate(named_leaves(params)):
        kept = jax.eval_shape(column_program(loss_fn, params, batch, index).prefix, params, batch)
        numbers = [a.size for a in kept if not jnp.issubdtype(a.dtype, jnp.floating)]
        # Which class is the label's is made from the mini-batch.
        assert max(numbers, default=0) <= 10 * batch["label"].size, path


def test_the_full_forward_program_is_the_loss():
    from rso_jax.incremental import full_forward_program

    loss, params, batch = CASES["tied"]()
    program = full_forward_program(loss, 2)
    weights = params["w"][:, 1] + 0.1
    got = program.loss(program.view(params, batch, jnp.asarray(1)), weights, ())
    expected = loss(params | {"w": params["w"].at[:, 1].set(weights)}, batch)
    np.testing.assert_allclose(got, expected, rtol=1e-6)
