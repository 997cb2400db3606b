"""Networks of dense layers in plain arrays, and losses of odd kinds."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from parts import classifier, cross_entropy, layer_norm, numbers, rms_norm, vectors, weights

GATES = {
    "SwiGLU": lambda h: jax.nn.silu(h[0]) * h[1],
    "GEGLU": lambda h: jax.nn.gelu(h[0]) * h[1],
    "GELU": lambda h: jax.nn.gelu(h[0], approximate=False),
    "SiLU": lambda h: jax.nn.silu(h[0]),
    "mish": lambda h: h[0] * jnp.tanh(jax.nn.softplus(h[0])),
    "softsign": lambda h: h[0] / (1 + jnp.abs(h[0])),
    "masked by itself": lambda h: h[0] * (h[0] > 0.0371),
    "normalised": lambda h: jnp.tanh(rms_norm(h[0])),
    "maxout": lambda h: h[0].reshape(*h[0].shape[:-1], -1, 2).max(-1).repeat(2, -1),
    "gated split": lambda h: jnp.concatenate([h[0][:, :4] * jax.nn.sigmoid(h[0][:, 4:])] * 2, -1),
    "sign": lambda h: jnp.sign(h[0] + 0.0371),
}


def gated(gate, bias):
    """Two hidden layers; a gate takes the product with a and that with b."""
    shapes = {"a0": (4, 8), "b0": (4, 8), "a1": (8, 8), "b1": (8, 8), "out": (8, 4)}
    if gate not in ("SwiGLU", "GEGLU"):
        shapes = {name: shape for name, shape in shapes.items() if not name.startswith("b")}
    if bias:
        shapes |= {f"{name}_bias": shape[-1:] for name, shape in shapes.items()}

    def dense(p, name, x):
        return x @ p[name] + p[f"{name}_bias"] if bias else x @ p[name]

    def logits(p, x):
        for layer in "01":
            x = GATES[gate]([dense(p, f"{k}{layer}", x) for k in "ab" if f"{k}{layer}" in p])
        return dense(p, "out", x)

    return classifier(logits, vectors(), **shapes)


def haiku_layout():
    """A nested mapping as Haiku has it, initial state and gain among the parameters."""

    def logits(p, x):
        for name in ("mlp/~/linear_0", "mlp/~/linear_1"):
            x = jax.nn.gelu(x @ p[name]["w"] + p[name]["b"])
        return x * p["scale"]["gain"]

    params = {f"mlp/~/linear_{i}": weights(w=(4, 4), b=(4,)) for i in range(2)}
    params["scale"] = {"gain": jnp.asarray(0.7)}
    return params, lambda p, x: cross_entropy(logits(p, x)), vectors()


def output_first():
    """Kernels stored [out, in], as PyTorch and Equinox do."""

    def logits(p, x):
        return p["out"] @ jax.nn.silu(p["b"] @ jnp.tanh(p["a"] @ x.T))

    return classifier(lambda p, x: logits(p, x).T, vectors(), a=(8, 4), b=(8, 8), out=(4, 8))


def siamese():
    """Two inputs by the same weights, a contrastive loss of their distance."""

    def loss(p, x):
        a, b = (jnp.tanh(part @ p["a"]) @ p["b"] for part in (x, x[::-1] ** 2))
        distance = jnp.sqrt(((a - b) ** 2).sum(-1) + 1e-3)
        return jnp.mean(distance[0] ** 2 + jax.nn.relu(2 - distance[1]) ** 2)

    return weights(a=(4, 8), b=(8, 4)), loss, vectors()


def tied_autoencoder():
    def loss(p, x):
        return jnp.mean((jax.nn.silu(x @ p["w"]) @ p["w"].T - x) ** 2)

    return weights(w=(4, 8)), loss, vectors()


def mixture_of_experts(top=False):
    def logits(p, x):
        gates = jax.nn.softmax(x @ p["gate"])
        if top:
            least = lax.top_k(gates, 2)[0][:, -1:]
            gates = gates * (gates >= least)
        hidden = jax.nn.gelu(jnp.einsum("nc,ecd->ned", x, p["in"]))
        return jnp.einsum("ne,ned,edk->nk", gates, hidden, p["out"])

    return classifier(logits, vectors(), gate=(4, 3), **{"in": (3, 4, 8)}, out=(3, 8, 4))


def hypernetwork():
    """A product whose kernel is another network's output."""

    def logits(p, x):
        kernel = (jnp.tanh(jnp.ones(4) @ p["a"]) @ p["b"]).reshape(4, 8)
        per_example = (x @ p["c"]).reshape(-1, 8, 4)
        return jnp.einsum("nh,nhk->nk", jax.nn.silu(x @ kernel), per_example)

    return classifier(logits, vectors(), a=(4, 4), b=(4, 32), c=(4, 32))


def splines():
    """Kolmogorov-Arnold: a learned function of every input for every output."""

    def layer(x, coefficients):
        basis = jax.nn.relu(1 - jnp.abs(x[..., None] - jnp.linspace(-2, 2, 5))) ** 2
        return jnp.einsum("nib,ibo->no", basis, coefficients)

    def logits(p, x):
        x = layer(x, p["a"]) + jax.nn.silu(x) @ p["base"]
        return layer(x, p["b"])

    return classifier(logits, vectors(), a=(4, 5, 8), base=(4, 8), b=(8, 5, 4))


def radial_basis():
    def logits(p, x):
        squares = ((x[:, None, :] - p["centres"]) ** 2).sum(-1)
        return jnp.exp(-squares * jnp.exp(p["width"])) @ p["out"]

    return classifier(logits, vectors(), centres=(8, 4), width=(8,), out=(8, 4))


def siren():
    def loss(p, x):
        h = jnp.sin(3 * (x @ p["a"]))
        h = jnp.sin(3 * (h @ p["b"]))
        return jnp.mean((h @ p["c"] - x.sum(-1, keepdims=True)) ** 2)

    return weights(a=(4, 8), b=(8, 8), c=(8, 1)), loss, vectors()


def fourier_features():
    def logits(p, x):
        angles = x @ p["frequencies"]
        return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], -1) @ p["a"] @ p["out"]

    return classifier(logits, vectors(), frequencies=(4, 4), a=(8, 8), out=(8, 4))


def complex_filter():
    """A learned filter of the Fourier transform, real and imaginary part."""

    def logits(p, x):
        spectrum = jnp.fft.rfft(x) * lax.complex(p["re"], p["im"])
        return jax.nn.gelu(jnp.fft.irfft(spectrum, 4) @ p["a"]) @ p["out"]

    return classifier(logits, vectors(), re=(3,), im=(3,), a=(4, 8), out=(8, 4))


def graph_convolutions(segments):
    """Messages along edges, as a product with the adjacency or as sums over segments."""
    sources, targets = jnp.array([0, 1, 2, 3, 0, 2, 4]), jnp.array([1, 2, 3, 4, 2, 0, 0])
    adjacency = jnp.zeros((5, 5)).at[targets, sources].add(1.0)

    def logits(p, nodes):
        for layer in "ab":
            made = nodes @ p[layer]
            if segments:
                messages = jax.nn.relu(made[sources] @ p["edge"] + made[targets])
                made = jax.ops.segment_sum(messages, targets, 5)
            else:
                made = adjacency @ made @ p["edge"]
            nodes = jax.nn.silu(made)
        return jnp.stack([nodes.mean(0), nodes.max(0)]) @ p["out"]

    return classifier(logits, numbers(4, 5, 4), a=(4, 4), b=(4, 4), edge=(4, 4), out=(4, 4))


def deep_sets():
    def logits(p, x):
        each = jax.nn.gelu(jax.nn.gelu(x @ p["a"]) @ p["b"])
        return jax.nn.gelu(each.sum(1) @ p["c"]) @ p["out"]

    sets = numbers(5, 2, 5, 4)
    return classifier(logits, sets, a=(4, 8), b=(8, 8), c=(8, 8), out=(8, 4))


def learned_gains():
    """Residual layers, each with a scalar gain; a temperature at the end."""

    def logits(p, x):
        for i in "01":
            x = x + p[f"gain{i}"] * jnp.tanh(layer_norm(x) @ p[f"w{i}"])
        return (p["temperature"] * x) @ p["out"] / (0.1 + p["temperature"] ** 2)

    shapes = {"w0": (4, 4), "w1": (4, 4), "out": (4, 4)}
    return classifier(logits, vectors(), **shapes, gain0=(), gain1=(), temperature=())


def norms_of_weights(kind):
    """Weight norm, spectral norm, a mean that is taken out, dropped and binary weights."""

    def normalised(w):
        if kind == "weight norm":
            return w / jnp.sqrt((w * w).sum(0) + 1e-3)
        if kind == "spectral norm":
            v = jnp.ones(w.shape[1])
            for _ in range(2):
                u = w @ v
                v = w.T @ (u / jnp.sqrt((u * u).sum() + 1e-3))
            return w / jnp.sqrt((v * v).sum())
        if kind == "standardised":
            return (w - w.mean(0)) / jnp.sqrt(w.var(0) + 1e-3)
        if kind == "masked":
            return w * (jnp.arange(w.size).reshape(w.shape) % 3 > 0)
        return jnp.sign(w) * jnp.abs(w).mean()

    def logits(p, x):
        x = jax.nn.silu(x @ normalised(p["a"]))
        return x @ normalised(p["b"])

    return classifier(logits, vectors(), a=(4, 8), b=(8, 4))


def tangents_in_the_loss():
    """A residual of a differential equation: the network's derivative in the loss."""

    def loss(p, x):
        def u(x):
            return (jax.nn.silu(jnp.tanh(x @ p["a"]) @ p["b"]) @ p["c"])[..., 0]

        value, along = jax.jvp(u, (x,), (jnp.ones_like(x),))
        slope = jax.grad(lambda x: u(x).sum())(x)
        return jnp.mean((along - value**2) ** 2) + jnp.mean(slope**2) / 4

    return weights(a=(4, 8), b=(8, 8), c=(8, 1)), loss, vectors()


def ordinal():
    """Thresholds of a score, counted as 0 or 1 each."""

    def loss(p, x):
        score = jnp.tanh(x @ p["a"]) @ p["b"]
        above = jnp.sign(score - jnp.cumsum(jnp.exp(p["steps"]) / 4))
        return jnp.abs(above.sum(-1) - 1).mean() + jnp.mean(score[:, 0] > 0.0371)

    return weights(a=(4, 8), b=(8, 1), steps=(3,)), loss, vectors()


def constant_in(some_leaf_only):
    """A loss that one leaf, or none, has a say in."""

    def loss(p, x):
        used = jnp.tanh(x @ p["used"]).mean() if some_leaf_only else x.mean()
        return used + 0 * p["shape only"].shape[0] + lax.stop_gradient(1.0)

    return weights(used=(4, 4), **{"shape only": (4, 3)}, scalar=()), loss, vectors()


def sorted_features():
    def logits(p, x):
        x = jnp.sort(jnp.tanh(x @ p["a"]), -1)[:, ::-1]
        best, _ = lax.top_k(x @ p["b"], 4)
        return jnp.cumsum(best, -1) @ p["out"]

    return classifier(logits, vectors(), a=(4, 8), b=(8, 8), out=(4, 4))


def low_rank():
    """Frozen kernel of the loss's own, and a learned correction of low rank."""
    frozen = numbers(6, 4, 8)

    def logits(p, x):
        return jax.nn.silu(x @ (frozen + p["a"] @ p["b"])) @ p["out"]

    return classifier(logits, vectors(), a=(4, 2), b=(2, 8), out=(8, 4))


ARCHITECTURES = {
    f"MLP {gate}{', biases' if bias else ''}": partial(gated, gate, bias)
    for gate in GATES
    for bias in (False, True)
} | {
    "Haiku layout": haiku_layout,
    "kernels output first": output_first,
    "siamese": siamese,
    "tied autoencoder": tied_autoencoder,
    "mixture of experts": mixture_of_experts,
    "mixture of experts, two of three": partial(mixture_of_experts, True),
    "hypernetwork": hypernetwork,
    "splines (KAN)": splines,
    "radial basis": radial_basis,
    "SIREN": siren,
    "Fourier features": fourier_features,
    "complex filter": complex_filter,
    "graph, adjacency": partial(graph_convolutions, False),
    "graph, segments": partial(graph_convolutions, True),
    "deep sets": deep_sets,
    "learned gains and temperature": learned_gains,
    "tangents in the loss": tangents_in_the_loss,
    "ordinal thresholds": ordinal,
    "loss constant in some leaves": partial(constant_in, True),
    "loss constant in all leaves": partial(constant_in, False),
    "sort, top-k, cumsum": sorted_features,
    "low rank": low_rank,
}
ARCHITECTURES |= {
    f"MLP, weights: {kind}": partial(norms_of_weights, kind)
    for kind in ("weight norm", "spectral norm", "standardised", "masked", "binary")
}
