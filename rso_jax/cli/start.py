"""Weights to begin with: those that another run came to."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from rso_jax.errors import UserError
from rso_jax.networks.heads import head_of
from rso_jax.training import run_folder
from rso_jax.training.plain import typed
from rso_jax.trees import named_leaves

PyTree = Any


def start_from(path: Path, drawn: PyTree) -> PyTree:
    """Parameters with the weights of a file.

    A head may be in one of both alone: what the network has besides stays as it was drawn, what the
    file has besides is left out. A head of both is alike in both.

    Args:
        path: run folder, or its params.npz.
        drawn: the network's parameters.

    Raises:
        UserError: an unreadable file, or other arrays than the network has.
    """
    file = path / run_folder.PARAMS if path.is_dir() else path
    prefix = "params/"
    stored = {
        name.removeprefix(prefix): array
        for name, array in run_folder.read_arrays(file).items()
        if name.startswith(prefix)
    }
    own = named_leaves(drawn)
    in_both = {head_of(name) for name in own} & {head_of(name) for name in stored}
    for name in sorted(own.keys() | stored.keys()):
        here, there = (np.shape(a[name]) if name in a else "none" for a in (own, stored))
        left_out = head_of(name) not in in_both and "none" in (here, there)
        if here != there and not left_out:
            raise UserError(
                f"--start {path} does not fit the network: {name} has shape {there} in the file "
                f"and {here} in the network"
            )
    begun = [
        typed(stored[name], leaf, f"{file}: {name}") if name in stored else leaf
        for name, leaf in own.items()
    ]
    return jax.tree.unflatten(jax.tree.structure(drawn), begun)
