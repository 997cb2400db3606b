"""What every explanation begins with: mini-batches of the first cycle, and a forward pass."""

from collections.abc import Mapping
from typing import Any

from rso_jax.cli.problem import Posed
from rso_jax.cli.quantities import say_bytes, say_flops, say_weights
from rso_jax.tasks import Task
from rso_jax.timing import timed
from rso_jax.training import keys


def time_drawing(task: Task) -> tuple[float, Any]:
    """Seconds that drawing the mini-batches of a cycle takes once it is compiled, and these."""
    timed(lambda: task.batches(keys.generator(0, 0), 0))
    return timed(lambda: task.batches(keys.generator(0, 0), 0))


def print_forward_pass(posed: Posed, batch_size: int, totals: Mapping[str, Any]) -> None:
    """The network, the data, and what the loss of a mini-batch takes.

    Args:
        posed: network and data.
        batch_size: examples in a mini-batch.
        totals: with ``weights``, ``weights_in_heads``, ``forward_flops`` and ``forward_bytes``.
    """
    in_heads = totals["weights_in_heads"]
    weights = f" ({say_weights(totals['weights'], in_heads)})" if in_heads else ""
    print(
        f"{posed.model}{weights} on {posed.data.name}, batch {batch_size}: "
        f"{say_flops(totals['forward_flops'])} and {say_bytes(totals['forward_bytes'])} read and "
        "written for one forward pass of a mini-batch\n"
    )
