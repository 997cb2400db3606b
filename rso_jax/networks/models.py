"""The networks that the command line knows by name."""

import math
from collections.abc import Sequence
from functools import cache
from typing import Any, cast, get_args

import flax.linen as nn

from rso_jax.errors import UserError, check_name, whole_number
from rso_jax.networks import grids, int8
from rso_jax.networks.activations import Activation, ActivationName, activation_named
from rso_jax.networks.evojax import EvojaxMnist
from rso_jax.networks.functional import Network
from rso_jax.networks.grids import Grid
from rso_jax.networks.heads import gives_logits_of_head
from rso_jax.networks.layers import Norm
from rso_jax.networks.linen import linen_network
from rso_jax.networks.mlp import MLP
from rso_jax.networks.paper import PaperCifar10, PaperMnist
from rso_jax.networks.readouts import Readout

NORMS = {
    "mlp": ("batch", "layer", "none"),
    "paper-mnist": ("batch", "layer"),
    "paper-cifar10": ("batch", "layer"),
    "evojax-mnist": ("none",),
}
"""The normalisations that each network can have, its own first."""
MODELS = tuple(NORMS)

GRIDS: dict[str, Grid] = {"binary": grids.binary, "ternary": grids.ternary, "int8": int8.grid}
"""What kernels take their weights from, other than real numbers."""

# The convolutional networks pool twice by 2 and the size must survive it; the channel counts are
# those of the data they are meant for, so that the published parameter counts hold.
_IMAGES = {
    "paper-mnist": (28, 28, 1),
    "paper-cifar10": (32, 32, 3),
    "evojax-mnist": (28, 28, 1),
}
_MOST_BINS = {"mlp": 1, "paper-mnist": 7, "paper-cifar10": 8}
"""Bins a side that the heads of a network can have: the pixels of its smallest layer. A network
that is missing has no heads."""


def create(
    name: str,
    example_shape: Sequence[int],
    classes: int,
    hidden: Sequence[int] = (64,),
    norm: Norm | None = None,
    *,
    heads: int | None = None,
    head_width: int | None = None,
    readout: Readout | None = None,
    activation: str = "relu",
    window: float | None = None,
    weights: str = "float",
) -> Network:
    """A network by name.

    Args:
        name: one of ``MODELS``.
        example_shape: of one input, without the batch axis.
        classes: number of logits.
        hidden: widths of the hidden layers of ``mlp``.
        norm: one of ``NORMS[name]``; by default the network's own, which is batch norm where it
            can have that.
        heads: bins a side of a head for every layer but the last; 1 for ``mlp``. None for no heads.
        head_width: of a hidden layer in each of them; None for none.
        readout: which logits of a network with heads an evaluation takes; see ``linen_network``.
        activation: between layers, ``relu``, ``sign``, or ``int8`` for ``mlp`` without a norm,
            whose inputs are rounded too; ``evojax-mnist`` has its own.
        window: of ``sign``, where gradients pass, for methods that take them.
        weights: of kernels, ``float`` or one of ``GRIDS``, on which the network then begins and is
            evaluated, as by ``network_on_grid``.

    Raises:
        UserError: an unknown name, a hidden width below 1, a normalisation, heads or an activation
            that the network does not have, or examples of a size that it is not made for.
    """
    check_name("model", name, MODELS)
    wanted = _IMAGES.get(name)
    if wanted is not None and tuple(example_shape) != wanted:
        raise UserError(
            f"model {name} takes images of shape {wanted}, this data has {tuple(example_shape)}; "
            "use --model mlp, which takes any"
        )
    if any(width < 1 for width in hidden):
        raise UserError(f"hidden widths are {tuple(hidden)}; each must be at least 1")
    _check_heads(name, heads, head_width)
    if head_width is not None and activation != "relu":
        raise UserError(
            f"head_width is {head_width} with activation {activation}; a head's hidden layer has a "
            "ReLU: leave one of them out"
        )
    norm, grid = _choose_norm(name, norm), grid_named(weights)
    _check_activation(name, activation, norm, (math.prod(example_shape), *hidden))
    between = activation_named(activation, window)
    network = _build(name, classes, tuple(hidden), norm, heads, head_width, readout, between)
    return network if grid is None else _on_grid(network, grid)


_on_grid = cache(grids.network_on_grid)  # as the network itself is kept


def grid_named(weights: str) -> Grid | None:
    """A grid by its name; None for ``float``.

    Raises:
        UserError: an unknown name.
    """
    check_name("weights", weights, ("float", *GRIDS))
    return GRIDS.get(weights)


def _check_activation(name: str, activation: str, norm: str, inputs: Sequence[int]) -> None:
    """Refuse activations that the network does not have.

    Args:
        name: of the network.
        activation: by its name.
        norm: likewise.
        inputs: of its dense layers, if it is ``mlp``.
    """
    check_name("activation", activation, get_args(ActivationName))
    if name == "evojax-mnist" and activation != "relu":
        raise UserError(f"model {name} has no activation {activation!r}; it is published with relu")
    if activation != "int8":
        return
    if name != "mlp" or norm != "none":
        raise UserError(
            f"activation int8 is of model mlp with norm none, this is {name} with norm {norm}"
        )
    if max(inputs) > int8.MOST_INPUTS:
        raise UserError(
            f"a layer has {max(inputs)} inputs; with activation int8 it has at most "
            f"{int8.MOST_INPUTS}, so that its sums are exact"
        )


def gives_logits(path: str) -> bool:
    """Whether an array of one of these networks enters logits, by its path: no activation follows.

    So do the last layer and heads, but for a head's hidden layer.
    """
    return path.split("/")[0] in ("output", "dense") or gives_logits_of_head(path)


def _check_heads(name: str, heads: Any, width: Any) -> None:
    if heads is None and width is None:
        return
    if name not in _MOST_BINS:
        raise UserError(f"model {name} has no heads; those that do are {', '.join(_MOST_BINS)}")
    if heads is None:
        raise UserError(f"head_width is {width} but there are no heads; add heads, bins a side")
    if width is not None:
        whole_number("head_width", width, 1)
    most = _MOST_BINS[name]
    if whole_number("heads", heads, 1) > most:
        reason = "its layers have no pixels" if most == 1 else f"one layer has {most}x{most} pixels"
        raise UserError(f"heads is {heads}; for model {name} it is at most {most}: {reason}")


def _choose_norm(name: str, norm: str | None) -> Norm:
    if norm is None:
        norm = NORMS[name][0]
    check_name("norm", norm, get_args(Norm))
    if norm not in NORMS[name]:
        raise UserError(
            f"model {name} has no norm {norm!r}; choose from {', '.join(NORMS[name])}, or use "
            "--model mlp, which takes any"
        )
    return cast(Norm, norm)


@cache  # what is compiled for a network serves all who ask for it
def _build(
    name: str,
    classes: int,
    hidden: tuple[int, ...],
    norm: Norm,
    heads: int | None,
    head_width: int | None,
    readout: Readout | None,
    activation: Activation,
) -> Network:
    module: nn.Module
    if name == "mlp":
        inputs = int8.round_inputs if activation is int8.activate else None
        module = MLP(hidden, classes, norm, heads, activation, inputs, head_width)
    elif name == "evojax-mnist":
        module = EvojaxMnist(classes)
    else:
        paper = PaperMnist if name == "paper-mnist" else PaperCifar10
        own_norm: Any = "layer" if norm == "layer" else "batch"
        module = paper(classes, own_norm, heads, activation, head_width)
    return linen_network(
        module, searching={"train": True}, evaluating={"train": False}, readout=readout
    )
