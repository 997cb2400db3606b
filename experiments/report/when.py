"""The decision table of ``docs/when.md``: which method for what, and what it came to here."""

import json
from typing import Any

import numpy as np
from frozen import RESULTS
from policies_page import course

from report.discrete import few_accuracy
from report.sources import at_the_end, read_runs
from report.tables import as_table, say_millions


def when_table() -> str:
    """A row for each situation, the figures from result files."""
    columns = ("your loss", "your network and budget", "take", "what it came to here")
    return as_table(columns, [*with_a_derivative(), *without_one(), *of_steps(), *of_simulators()])


def with_a_derivative() -> list[tuple[str, ...]]:
    """Where gradients are of use."""
    return [
        (
            "has a useful derivative",
            "any",
            "a gradient: SGD or Adam of optax",
            f"MNIST {percent('mnist', 'adam')}, CIFAR-10 (JPEG) "
            f"{percent('cifar10', 'adam')}; the best without gradients "
            f"{percent('mnist', 'local-half-hour-shifted')} and "
            f"{percent('cifar10', 'local-evening')} on shifted images, in many times the "
            "evaluations",
        ),
    ]


def without_one() -> list[tuple[str, ...]]:
    """Where evaluations are all there is, and examples have losses of their own."""
    return [
        (
            "one for each example, no derivative at hand",
            "dense layers, no batch norm; a minute",
            "[slopes](slopes.md) by node probes, AdamW or SGD along them",
            f"784-256-10 on MNIST {percent('mnist_mlp', 'slopes')} in "
            f"{seconds('mnist_mlp', 'slopes')}; SGD {percent('mnist_mlp', 'sgd')}, Open_ES "
            f"{percent('mnist_mlp', 'open-es')} in {seconds('mnist_mlp', 'open-es')}",
        ),
        (
            "the same",
            "convolutions; minutes to hours",
            "slopes with [a loss for every layer](local_losses.md) (`--heads 4`)",
            f"the paper's network on MNIST {percent('mnist', 'local-short')} in "
            f"{seconds('mnist', 'local-short')}, {percent('mnist', 'local')} in "
            f"{seconds('mnist', 'local')}; CIFAR-10 (JPEG) {percent('cifar10', 'local')} in "
            f"{seconds('cifar10', 'local')}, {percent('cifar10', 'local-evening')} in "
            f"{seconds('cifar10', 'local-evening')}; Open_ES on MNIST "
            f"{percent('mnist', 'open-es')} in {seconds('mnist', 'open-es')}",
        ),
        (
            "one for each token",
            "a small transformer",
            "slopes by tokens (`credit=`)",
            f"{nats('slopes')} nats a character, Adam along gradients {nats('adam')}",
        ),
        (
            "one number, nothing else known of it",
            "up to some thousand weights; few updates of each wanted",
            "`rso`, one weight at a time",
            f"digits {percent('digits', 'rso')} after {updates('digits', 'rso')} updates of each "
            f"weight; Open_ES {percent('digits', 'open-es')} after {updates('digits', 'open-es')}",
        ),
        (
            "the same",
            "more weights than that",
            "an evolution strategy, or SPSA",
            f"MNIST, 784-256-10: Open_ES {percent('mnist_mlp', 'open-es')}, PGPE "
            f"{percent('mnist_mlp', 'pgpe')}, SNES {percent('mnist_mlp', 'snes')}, SPSA "
            f"{percent('mnist_mlp', 'spsa')}, of {millions('mnist_mlp', 'open-es')} image "
            "evaluations",
        ),
    ]


def of_steps() -> list[tuple[str, ...]]:
    """Where the loss or the network is made of steps."""
    return [
        (
            "smooth, of a network of signs",
            "one hidden layer; a minute",
            "slopes by `probes.towards`, or a straight-through estimator",
            versus("sign-1-slopes", "sign-1-gradients"),
        ),
        (
            "the same",
            "several layers of signs",
            "slopes by `probes.towards` with a loss for every layer",
            versus("sign-3-heads-slopes", "sign-3-gradients"),
        ),
        (
            "smooth",
            "ternary weights, convolutions",
            "slopes with a loss for every layer, `stay_on_grid`",
            versus("ternary-heads-slopes", "ternary-heads-gradients"),
        ),
        (
            "smooth",
            "8-bit weights and activations, trained as deployed",
            "slopes, `stay_on_grid`, `export_int8`",
            versus("int8-slopes", "int8-gradients")
            + f"; in 32-bit numbers {percent('discrete', 'float-slopes')}",
        ),
        (
            "smooth",
            "signs and ternary weights, 10 or 40 images of each class",
            "slopes with a loss for every layer, or a straight-through estimator",
            f"slopes {few_accuracy('slopes', 10)} and {few_accuracy('slopes', 40)}, gradients "
            f"{few_accuracy('gradients', 10)} and {few_accuracy('gradients', 40)}, published "
            "(BeMi) 61.7 % and 76.4 %",
        ),
        (
            "a number of errors, costs, F1, a rule about alarms",
            "linear or small, tables; seconds",
            "`rso` on the errors with a smooth loss [below](losses.md#errors-first) them",
            "fewer training errors than logistic regression on three of four tables, test errors "
            "within a standard error; the other measures overfit",
        ),
    ]


def of_simulators() -> list[tuple[str, ...]]:
    """Where the loss is somebody else's program, or a world to act in."""
    return [
        (
            "a device or a simulator, one result for each example",
            "a model of it, that is not exact",
            "slopes through a [black box](black_boxes.md), from the weights of the model",
            f"a drifting device: {device('model-slopes')}; the model's weights deployed at once "
            f"{device('model', 'accuracy_when_deployed')}, `rso` from them {device('model-rso')}",
        ),
        (
            "the return of episodes",
            "a small policy, returns that saturate (CartPole)",
            "`rso`, a draw for a whole array, ties moving ([policies](policies.md))",
            f"solved after {steps('rso')} environment steps, Open_ES after {steps('open-es')}; but "
            f"{final('cartpole', 'rso')} at the end, Open_ES {final('cartpole', 'open-es')}",
        ),
        (
            "the return of episodes",
            "returns that differ much by how an episode begins (Pendulum)",
            "Open_ES",
            f"{final('pendulum', 'open-es')} after "
            f"{policy('pendulum', 'open-es')['budget']:,} steps, `rso` "
            f"{final('pendulum', 'rso')}, slopes {final('pendulum', 'slopes')}",
        ),
    ]


def percent(experiment: str, run: str) -> str:
    """Final test accuracy, mean over seeds."""
    runs = read_runs(experiment).get(run)
    return f"{100 * at_the_end(runs, 'test_accuracy').mean():.2f} %" if runs else "not run yet"


def seconds(experiment: str, run: str) -> str:
    """Of training, median over seeds."""
    return f"{np.median(at_the_end(read_runs(experiment)[run], 'seconds')):,.0f} s"


def updates(experiment: str, run: str) -> str:
    """Of each weight."""
    return f"{read_runs(experiment)[run][0].lines[-1]['updates_per_weight']:,.0f}"


def millions(experiment: str, run: str) -> str:
    """Image evaluations."""
    return say_millions(read_runs(experiment)[run][0].lines[-1]["image_evaluations"])


def nats(run: str) -> str:
    """Of a character, at the end."""
    return f"{at_the_end(read_runs('characters')[run], 'test_loss').mean():.2f}"


def versus(slopes: str, gradients: str) -> str:
    """Slopes and straight-through gradients on a discrete network."""
    return (
        f"slopes {percent('discrete', slopes)}, straight-through gradients "
        f"{percent('discrete', gradients)}"
    )


def device(way: str, number: str = "test_accuracy") -> str:
    """An accuracy on the drifting device, mean over devices."""
    paths = sorted((RESULTS / "drifting_device").glob(f"{way}-seed[0-9]*.json"))
    found = [json.loads(path.read_text())[number] for path in paths]
    return f"{100 * np.mean(found):.1f} %"


def policy(environment: str, method: str) -> dict[str, Any]:
    """The result of ``policies.py`` by a method."""
    path = RESULTS / "policies" / environment / f"{method}.json"
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def steps(method: str) -> str:
    """Environment steps until CartPole was solved, mean over seeds."""
    return f"{np.mean([run['solved_at'] for run in policy('cartpole', method)['runs']]):,.0f}"


def final(environment: str, method: str) -> str:
    """Mean return at the end of the budget."""
    result = policy(environment, method)
    ends = [course(run, np.array(result["budget"])) for run in result["runs"]]
    return f"a return of {np.mean(ends):,.0f}"
