"""What ``rso train`` prints before and after the training."""

import sys
from pathlib import Path

from rso_jax.cli.assemble import Assembly
from rso_jax.cli.devices import describe
from rso_jax.cli.problem import describe_augmentation, describe_values, say_readout
from rso_jax.cli.quantities import say_weights
from rso_jax.cli.table import print_table
from rso_jax.method import count_trained
from rso_jax.tasks import score
from rso_jax.training import Outcome, processes


def announce(assembly: Assembly, folder: Path) -> None:
    """Say what is trained on what, and where it is written."""
    if not processes.is_first():
        return
    method, posed, schedule = assembly.settings.method, assembly.posed, assembly.schedule
    data, weights = posed.data, count_trained(assembly.method, posed.describe_params())
    more = [describe_augmentation(assembly.settings.problem.details), describe(assembly.mesh)]
    lines = "".join(f"{line}\n" for line in more if line)
    values = describe_values(assembly.settings.problem.details)
    print(
        f"{posed.model}{values} ({say_weights(weights, posed.weights_in_heads)}) on {data.name} "
        f"({len(data.y_train):,} training, {len(data.y_test):,} test examples) by {method.title}: "
        f"{schedule.cycles} {method.unit}, batch {', '.join(map(str, schedule.batch_sizes))}, "
        f"seed {assembly.settings.running.seed}\n"
        f"{lines}run folder {folder}",
        flush=True,
    )


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
        if assembly.posed.readout["readout"] is not None:
            rows.append(("scored", say_readout(**assembly.posed.readout)))
    # The same in every process: only the first has the metrics of a run that was resumed.
    goes_on = bool(outcome.progress.proposed) or outcome.progress.cycle % (
        assembly.schedule.score_every
    )
    if outcome.stopped is not None and goes_on:
        data = assembly.posed.data
        now = score(
            assembly.posed.network,
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
        where = f"in cycle {progress.cycle + 1} of {assembly.schedule.cycles}"
        if progress.proposed:
            where += f", {sum(progress.proposed.values()):,} visits into it"
        print(f"{outcome.stopped} {where}; go on with: rso train --resume {folder}")
    sys.stdout.flush()
