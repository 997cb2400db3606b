"""Networks of sequences in plain arrays: attention, recurrence, bags of words."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from parts import attend, classifier, convolve, images, layer_norm, rms_norm, sequences, tokens

CAUSAL = jnp.tri(5, dtype=bool)


def by_index(x, w, heads=2):
    """Queries, keys, values of one product, told apart by reshape and index."""
    n, length, width = x.shape
    qkv = (x @ w).reshape(n, length, 3, heads, width // heads)
    return qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2]


def by_split(x, w, heads=2):
    """The same by split; heads after it."""
    n, length, width = x.shape
    return [a.reshape(n, length, heads, width // heads) for a in jnp.split(x @ w, 3, -1)]


def by_heads(x, w):
    """From kernels [d, 3, heads, width]."""
    return jnp.moveaxis(jnp.einsum("nld,dphe->nlphe", x, w), 2, 0)


def rotated(x):
    """Rotary embedding of [n, length, heads, width]."""
    half = x.shape[-1] // 2
    angle = jnp.arange(x.shape[1])[:, None, None] * 0.5 ** jnp.arange(half)
    a, b = x[..., :half], x[..., half:]
    return jnp.concatenate(
        [a * jnp.cos(angle) - b * jnp.sin(angle), b * jnp.cos(angle) + a * jnp.sin(angle)], -1
    )


def block(x, p, split=by_index, rotary=False, causal=True):
    """Attention, then a gated dense layer; RMS norm before each."""
    q, k, v = split(rms_norm(x), p["qkv"])
    if rotary:
        q, k = rotated(q), rotated(k)
    mixed = attend(q, k, v, CAUSAL if causal else None)
    x = x + mixed.reshape(*x.shape[:2], -1) @ p["mix"]
    return x + jax.nn.gelu(layer_norm(x) @ p["wide"]) @ p["narrow"]


BLOCK = {"qkv": (4, 12), "mix": (4, 4), "wide": (4, 8), "narrow": (8, 4)}


def transformer(heads=None, **how):
    def logits(p, x):
        x = block(p["embedding"][x] + p["position"], p, **how)
        return x.mean(1) @ p["out"]

    shapes = BLOCK | {"embedding": (7, 4), "position": (5, 4), "out": (4, 4)}
    if heads:
        shapes["qkv"] = heads
    return classifier(logits, tokens(), **shapes)


def scanned_transformer(unroll):
    """Two blocks, stacked along a first axis."""

    def logits(p, x):
        layers = {name: p[name] for name in BLOCK}
        if unroll:
            for i in range(2):
                x = block(x, {name: a[i] for name, a in layers.items()}, rotary=True)
        else:
            x, _ = lax.scan(lambda h, q: (block(h, q, rotary=True), None), x, layers)
        return x.mean(1) @ p["out"]

    shapes = {name: (2, *shape) for name, shape in BLOCK.items()}
    return classifier(logits, sequences(), **shapes, out=(4, 4))


def language_model():
    """Every token predicts the next; the embedding is tied to the logits."""

    def loss(p, x):
        h = block(p["embedding"][x], p, by_split)
        scores = jax.nn.log_softmax(h @ p["embedding"].T)
        return -jnp.take_along_axis(scores[:, :-1], x[:, 1:, None], -1).mean()

    made, _, batch = classifier(lambda p, x: x, tokens(), **BLOCK, embedding=(7, 4))
    return made, loss, batch


def vision_transformer():
    """Patches, a class token in front, learned positions."""

    def logits(p, x):
        patches = convolve(x, p["patches"], 3, "VALID").reshape(2, 4, 4)
        start = jnp.broadcast_to(p["token"], (2, 1, 4))
        x = jnp.concatenate([start, patches], 1) + p["position"]
        return block(x, p, by_split, causal=False)[:, 0] @ p["out"]

    shapes = BLOCK | {"patches": (3, 3, 3, 4), "token": (4,), "position": (5, 4), "out": (4, 4)}
    return classifier(logits, images(), **shapes)


def attention_pooling():
    """A learned query pools the sequence."""

    def logits(p, x):
        keys, values = x @ p["k"], jax.nn.silu(x @ p["v"])
        pooled = jnp.einsum("nl,nld->nd", jax.nn.softmax(keys @ p["query"], -1), values)
        return pooled @ p["out"]

    return classifier(logits, sequences(), k=(4, 4), v=(4, 4), query=(4,), out=(4, 4))


def linear_attention():
    """Running sums in place of a softmax."""

    def logits(p, x):
        q, k, v = (x @ p[name] for name in "qkv")
        q, k = jax.nn.elu(q) + 1, jax.nn.elu(k) + 1
        outer = jnp.cumsum(k[..., :, None] * v[..., None, :], 1)
        norm = (q * jnp.cumsum(k, 1)).sum(-1, keepdims=True)
        return (jnp.einsum("nlk,nlkv->nlv", q, outer) / norm)[:, -1] @ p["out"]

    return classifier(logits, sequences(), q=(4, 4), k=(4, 4), v=(4, 4), out=(4, 4))


def bag_of_words(one_hot):
    def logits(p, x):
        words = jax.nn.one_hot(x, 7) @ p["embedding"] if one_hot else p["embedding"][x]
        return jax.nn.silu(words.mean(1) @ p["a"]) @ p["out"]

    return classifier(logits, tokens(), embedding=(7, 4), a=(4, 8), out=(8, 4))


def temporal_convolutions():
    """Causal, dilated, gated, with a residual, as WaveNet."""

    def logits(p, x):
        for k, dilation in (("a", 1), ("b", 2)):
            padded = jnp.pad(x, ((0, 0), (dilation, 0), (0, 0)))
            h = convolve(
                padded, p[k], pad="VALID", rhs_dilation=(dilation,), layout=("NHC", "HIO", "NHC")
            )
            x = x + jnp.tanh(h[..., :4]) * jax.nn.sigmoid(h[..., 4:])
        return x[:, -1] @ p["out"]

    return classifier(logits, sequences(), a=(2, 4, 8), b=(2, 4, 8), out=(4, 4))


def lstm_cell(p, k, carry, x):
    c, h = carry
    i, f, g, o = jnp.split(x @ p[f"{k}_in"] + h @ p[f"{k}_back"], 4, -1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return c, jax.nn.sigmoid(o) * jnp.tanh(c)


def gru_cell(p, k, h, x):
    made, back = x @ p[f"{k}_in"], h @ p[f"{k}_back"]
    r, u = (jax.nn.sigmoid(made[:, s] + back[:, s]) for s in (slice(4), slice(4, 8)))
    new = jnp.tanh(made[:, 8:] + r * back[:, 8:])
    return u * h + (1 - u) * new


def lstm(layers, unroll):
    def logits(p, x):
        x = x.swapaxes(0, 1)
        for k in "ab"[:layers]:
            carry = (jnp.zeros((2, 4)), jnp.zeros((2, 4)))
            if unroll:
                rows = []
                for row in x:
                    carry = lstm_cell(p, k, carry, row)
                    rows.append(carry[1])
                x = jnp.stack(rows)
            else:

                def step(carry, row, k=k):
                    carry = lstm_cell(p, k, carry, row)
                    return carry, carry[1]

                _, x = lax.scan(step, carry, x)
        return x[-1] @ p["out"]

    shapes = {f"{k}_{what}": (4, 16) for k in "ab"[:layers] for what in ("in", "back")}
    return classifier(logits, sequences(), **shapes, out=(4, 4))


STARTS = {
    "zeros": lambda: jnp.zeros((2, 4)),
    "ones": lambda: jnp.ones((2, 4)),
    "arange": lambda: jnp.arange(8.0).reshape(2, 4) / 8,
    "full": lambda: jnp.full((2, 4), 0.3),
}


def unrolled(start):
    """A cell without biases, unrolled from a constant state."""

    def logits(p, x):
        h = STARTS[start]()
        for t in range(3):
            h = gru_cell(p, "a", h, x[:, t])
        return h @ p["out"]

    return classifier(logits, sequences(), a_in=(4, 12), a_back=(4, 12), out=(4, 4))


def state_space():
    """A diagonal linear recurrence by an associative scan, and its gate."""

    def logits(p, x):
        def both(a, b):
            return a[0] * b[0], a[1] * b[0] + b[1]

        decay = jnp.broadcast_to(jax.nn.sigmoid(p["decay"]), x.shape)
        _, h = lax.associative_scan(both, (decay, x @ p["in"]), axis=1)
        return (h * jax.nn.silu(x @ p["gate"]))[:, -1] @ p["out"]

    shapes = {"decay": (4,), "in": (4, 4), "gate": (4, 4), "out": (4, 4)}
    return classifier(logits, sequences(), **shapes)


ARCHITECTURES = {
    "transformer, heads by index": transformer,
    "transformer, heads by split": partial(transformer, split=by_split),
    "transformer, kernels of heads": partial(transformer, (4, 3, 2, 2), split=by_heads),
    "transformer, rotary": partial(transformer, rotary=True),
    "transformer, scan over layers": partial(scanned_transformer, False),
    "transformer, stacked, unrolled": partial(scanned_transformer, True),
    "language model, tied": language_model,
    "ViT": vision_transformer,
    "attention pooling": attention_pooling,
    "linear attention": linear_attention,
    "bag of words": partial(bag_of_words, False),
    "one-hot words": partial(bag_of_words, True),
    "temporal convolutions": temporal_convolutions,
    "LSTM": partial(lstm, 1, False),
    "LSTM, two layers": partial(lstm, 2, False),
    "LSTM, unrolled": partial(lstm, 1, True),
    "state space": state_space,
}
ARCHITECTURES |= {f"GRU, unrolled from {start}": partial(unrolled, start) for start in STARTS}
