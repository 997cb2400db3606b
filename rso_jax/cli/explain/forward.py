"""What every explanation begins with: mini-batches of the first cycle, and a forward pass."""

from collections.abc import Mapping
from typing import Any

from rso_jax.cli.quantities import say_bytes, say_flops
from rso_jax.tasks import Task
from rso_jax.timing import timed
from rso_jax.training import keys


def time_drawing(task: Task) -> tuple[float, Any]:
    """Seconds that drawing the mini-batches of a cycle takes once it is compiled, and these."""
    timed(lambda: task.batches(keys.generator(0, 0), 0))
    return timed(lambda: task.batches(keys.generator(0, 0), 0))


def print_forward_pass(model: str, data: str, batch_size: int, totals: Mapping[str, Any]) -> None:
    """The network, the data, and what the loss of a mini-batch takes.

    Args:
        model: name of the network.
        data: of the data set.
        batch_size: examples in a mini-batch.
        totals: with ``forward_flops`` and ``forward_bytes``.
    """
    print(
        f"{model} on {data}, batch {batch_size}: {say_flops(totals['forward_flops'])} and "
        f"{say_bytes(totals['forward_bytes'])} read and written for one forward pass of a "
        "mini-batch\n"
    )
