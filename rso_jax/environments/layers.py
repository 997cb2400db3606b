"""A policy of fully connected layers, for JAX and for NumPy alike."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rso_jax.errors import whole_number

PyTree = Any


def init_policy(
    observations: int, outputs: int, hidden: Sequence[int] = ()
) -> Callable[[Array], PyTree]:
    """What makes the initial parameters of ``policy``.

    Args:
        observations: numbers that it sees.
        outputs: numbers that it returns.
        hidden: units of each hidden layer; without any it is linear.

    Returns:
        A function of a key. Kernels are normal, of variance 1 / fan-in, and biases 0.

    Raises:
        UserError: a number that is none, or below 1.
    """
    names = ("observations", *(f"hidden[{i}]" for i in range(len(hidden))), "outputs")
    sizes = [
        whole_number(name, size, 1)
        for name, size in zip(names, (observations, *hidden, outputs), strict=True)
    ]

    def init(key: Array) -> PyTree:
        keys = jax.random.split(key, len(sizes) - 1)
        return {
            f"layer{i}": {
                "kernel": jax.random.normal(keys[i], (n, m)) / np.sqrt(n),
                "bias": jnp.zeros(m),
            }
            for i, (n, m) in enumerate(pairwise(sizes))
        }

    return init


def policy(params: PyTree, observation: Any) -> Any:
    """Outputs [..., outputs] for observations [..., observations]; hidden units are tanh.

    NumPy's where the observations are NumPy's, so that a simulator on the host can call it.

    Args:
        params: from ``init_policy``.
        observation: what is seen.
    """
    tanh = np.tanh if isinstance(observation, np.ndarray) else jnp.tanh
    seen = observation
    for i in range(len(params)):
        layer = params[f"layer{i}"]
        seen = (tanh(seen) if i else seen) @ layer["kernel"] + layer["bias"]
    return seen
