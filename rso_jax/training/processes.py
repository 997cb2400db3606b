"""Several processes, one run: what they have to agree on, and what only the first one does.

Every process runs the same loop on devices of its own (``jax.distributed``), so all must make the
same calls in the same order. What depends on a clock or a signal is agreed upon; what is on the
first one's disk is sent to the others.
"""

import json
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from rso_jax.training.plain import is_key, typed

PyTree = Any


def is_first() -> bool:
    """Whether this process writes checkpoints, metrics and the bar."""
    return jax.process_index() == 0


def several() -> bool:
    """Whether there are other processes."""
    return jax.process_count() > 1


def agree(size: int, stopping: bool) -> tuple[int, bool]:
    """The first process's size of the next call, and whether any process is to stop."""
    if not several():
        return size, stopping
    everyone = multihost_utils.process_allgather(np.array([size, stopping], np.int32))
    return int(everyone[0, 0]), bool(everyone[:, 1].any())


def from_first(tree: PyTree) -> PyTree:
    """Arrays of the first process, on the host of every process; shapes and types are the same."""
    if not several():
        return tree

    def data(leaf: Any) -> np.ndarray:
        return np.asarray(jax.random.key_data(leaf) if is_key(leaf) else leaf)

    sent = multihost_utils.broadcast_one_to_all(jax.tree.map(data, tree))
    return jax.tree.map(
        lambda a, like: typed(np.asarray(a), like, "a key") if is_key(like) else np.asarray(a),
        sent,
        tree,
    )


def text_from_first(value: Any) -> Any:
    """What the first process has, of JSON values, on every process."""
    if not several():
        return value
    text = np.frombuffer(json.dumps(value).encode(), np.uint8)
    length = int(from_first(np.array(len(text), np.int32)))
    sent = from_first(text if is_first() else np.zeros(length, np.uint8))
    return json.loads(sent.tobytes())


def differing(facts: dict[str, Any]) -> list[str]:
    """Names under which this process has another JSON value than the first one."""
    theirs = text_from_first(facts)
    mine = json.loads(json.dumps(facts))
    return [name for name in mine | theirs if mine.get(name) != theirs.get(name)]
