"""What ``rso train`` prints before and after the training."""

import sys
from pathlib import Path

import jax

from rso_jax.cli.assemble import Assembly
from rso_jax.cli.devices import describe
from rso_jax.cli.table import print_table
from rso_jax.method import count_weights
from rso_jax.tasks import score
from rso_jax.training import Outcome, processes


def announce(assembly: Assembly, folder: Path) -> None:
    """Say what is trained on what, and where it is written."""
    if not processes.is_first():
        return
    config, data = assembly.config, assembly.data
    how = f"rso, preset {config.preset}" if config.optimizer == "rso" else config.optimizer
    devices = f"{devices}\n" if (devices := describe(assembly.mesh)) else ""
    unit = "cycles" if config.optimizer == "rso" else "epochs"
    print(
        f"{config.model} ({_weights(assembly):,} weights) on {data.name} "
        f"({len(data.y_train):,} training, {len(data.y_test):,} test examples) by {how}: "
        f"{config.cycles} {unit}, batch {', '.join(map(str, config.batch_size))}, "
        f"seed {config.seed}\n"
        f"{devices}run folder {folder}",
        flush=True,
    )


def _weights(assembly: Assembly) -> int:
    shapes = jax.eval_shape(
        assembly.network.init, jax.random.key(0), jax.numpy.asarray(assembly.data.x_train[:1])
    )
    return count_weights(assembly.method, shapes)


def summarise(outcome: Outcome, assembly: Assembly, folder: Path) -> None:
    """Print what the run came to, and how to go on with it if it is not complete."""
    rows: list[tuple[str, str]] = []
    if outcome.metrics:
        last = outcome.metrics[-1]
        best = max(outcome.metrics, key=lambda line: line["test_accuracy"])
        rows = [
            (f"test accuracy after cycle {last['cycle']}", f"{last['test_accuracy']:.2%}"),
            (
                "best test accuracy (selected on the test set)",
                f"{best['test_accuracy']:.2%} in cycle {best['cycle']}",
            ),
            ("training accuracy", f"{last['train_accuracy']:.2%}"),
            ("updates of each weight", f"{last['updates_per_weight']:,.4g}"),
            ("image evaluations", f"{last['image_evaluations']:,}"),
            ("training time", f"{last['seconds']:.1f} s"),
        ]
    # The same in every process: only the first has the metrics of a run that was resumed.
    goes_on = bool(outcome.progress.proposed) or outcome.progress.cycle % (
        assembly.config.score_every or 1
    )
    if outcome.stopped is not None and goes_on:
        data = assembly.data
        now = score(
            assembly.network,
            outcome.params,
            outcome.kept,
            data.x_test,
            data.y_test,
            assembly.mesh,
        )
        rows.append(("test accuracy now", f"{now.accuracy:.2%}"))
    if not processes.is_first():
        return
    print_table(rows)
    print(f"run folder {folder}")
    if outcome.stopped is not None:
        progress = outcome.progress
        where = f"in cycle {progress.cycle + 1} of {assembly.config.cycles}"
        if progress.proposed:
            where += f", {sum(progress.proposed.values()):,} visits into it"
        print(f"{outcome.stopped} {where}; go on with: rso train --resume {folder}")
    sys.stdout.flush()
