"""The figures, drawn and not yet written."""

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from report.names import LABELS, SMALL_TITLES
from report.sources import Run, at_the_end, courses, read_runs, read_study
from rso_jax.training.run_folder import PARAMS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# One colour and one marker per method, told apart by readers with any colour vision.
STYLES = {
    "rso": ("#0072B2", "o"),
    "rso-part": ("#0072B2", "o"),
    "rso-heads": ("#56B4E9", "v"),
    "rso-heads-5": ("#56B4E9", "^"),
    "rso-paper": ("#000000", "X"),
    "spectral": ("#56B4E9", "P"),
    "slopes": ("#000000", "*"),
    "slopes-quarter": ("#999999", "*"),
    "slopes-shifted": ("#666666", "*"),
    "local": ("#000000", "*"),
    "local-short": ("#999999", "h"),
    "local-global": ("#444444", "P"),
    "local-shifted": ("#666666", "p"),
    "local-evening": ("#444444", "D"),
    "local-half-hour-shifted": ("#444444", "D"),
    "local-long": ("#56B4E9", "P"),
    "local-wide": ("#0072B2", "P"),
    "sgd": ("#D55E00", "s"),
    "sgd-128": ("#CC79A7", "s"),
    "sgd-shifted": ("#CC79A7", "s"),
    "sgd-part": ("#CC79A7", "s"),
    "adam": ("#E69F00", "^"),
    "adam-10": ("#E69F00", "<"),
    "adam-heads": ("#E69F00", ">"),
    "open-es": ("#009E73", "D"),
    "pgpe": ("#CC79A7", "v"),
    "snes": ("#999999", "<"),
    "spsa": ("#8B4513", ">"),
}
# Drawn with a colour and a marker of its own; the other variants stay in the background.
VARIANT_STYLES = {
    "sequential": ("#0072B2", "o"),
    "sequential, a batch for a column": ("#56B4E9", "v"),
    "blocks of 16, parabola": ("#CC79A7", "D"),
    "leaves, differences": ("#009E73", "^"),
    "leaves, orthogonal": ("#D55E00", "s"),
    "leaves, orthogonal, batch x 4": ("#000000", "X"),
    "leaves, orthogonal, quarter": ("#E69F00", "P"),
}
AXES = {
    "updates_per_weight": "updates of each weight",
    "image_evaluations": "image evaluations (a gradient counts 3)",
    "seconds": "training seconds",
}


def new_figure(width: float, height: float) -> "Figure":
    """An empty one, in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=150, layout="constrained")


def runs_figure(experiment: str, lowest: float, axes: tuple[str, ...] = tuple(AXES)) -> "Figure":
    """Mean test accuracy with the range over seeds, against what it cost.

    Args:
        experiment: name of its script.
        lowest: test accuracy at the foot of the picture, in percent.
        axes: keys of ``AXES``.
    """
    picture = new_figure(4.5 * len(axes), 3.8)
    panels = picture.subplots(1, len(axes), sharey=True)
    for panel, quantity in zip(panels, axes, strict=True):
        for name, runs in read_runs(experiment).items():
            if runs:
                _draw_runs(panel, name, runs, quantity)
        _label_powers(panel)
        panel.set_xlabel(AXES[quantity])
        panel.grid(alpha=0.3)
    panels[0].set_ylim(lowest, 100)
    panels[0].set_ylabel("test accuracy (%)")
    handles, labels = panels[0].get_legend_handles_labels()
    picture.legend(handles, labels, loc="outside lower center", ncols=6, fontsize=9)
    return picture


def _label_powers(panel: Any) -> None:
    """Count in powers of ten, which alone leave a run of one decade without a number to read."""
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

    panel.set_xscale("log")
    low, high = panel.get_xlim()
    panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 300 * low else (1,)))
    panel.xaxis.set_major_formatter(EngFormatter(sep=""))
    panel.xaxis.set_minor_formatter(NullFormatter())


def _draw_runs(panel: Any, name: str, runs: list[Run], quantity: str) -> None:
    x, y = courses(runs, quantity).mean(0), 100 * courses(runs, "test_accuracy")
    colour, marker = STYLES[name]
    panel.fill_between(x, y.min(0), y.max(0), color=colour, alpha=0.2, linewidth=0)
    panel.plot(
        x,
        y.mean(0),
        color=colour,
        marker=marker,
        markersize=4,
        markevery=max(1, len(x) // 12),
        label=LABELS[name].replace("`", ""),
    )


def variants_figure(dataset: str) -> "Figure":
    """Held-out accuracy, mean and range over seeds, against evaluations and against rounds."""
    variants = read_study("search_variants", dataset)
    best_first = sorted(
        variants, key=lambda name: -at_the_end(variants[name], "held_out_accuracy").mean()
    )
    picture = new_figure(11, 3.8)
    panels = picture.subplots(1, 2, sharey=True)
    for panel, quantity in zip(panels, ("image_evaluations", "rounds"), strict=True):
        for name in best_first:
            _draw_variant(panel, name, variants[name], quantity)
        panel.set_xscale("log")
        panel.grid(alpha=0.3)
    panels[0].set_xlabel("image evaluations")
    panels[1].set_xlabel("rounds: evaluations that wait for one another")
    panels[0].set_ylim(60, 98)
    panels[0].set_ylabel("held-out accuracy (%)")
    panels[0].set_title(SMALL_TITLES[dataset], loc="left", fontsize=10)
    handles, labels = panels[0].get_legend_handles_labels()
    picture.legend(handles, labels, loc="outside right center", fontsize=8)
    return picture


def _draw_variant(panel: Any, name: str, runs: list[Run], quantity: str) -> None:
    x, y = courses(runs, quantity)[0], 100 * courses(runs, "held_out_accuracy")
    colour, marker = VARIANT_STYLES.get(name, ("#BBBBBB", None))
    front = name in VARIANT_STYLES
    if front:
        panel.fill_between(x, y.min(0), y.max(0), color=colour, alpha=0.2, linewidth=0)
    panel.plot(
        x,
        y.mean(0),
        color=colour,
        marker=marker,
        markersize=3,
        label=name if front else None,
        zorder=2 if front else 1,
    )


def accepted_figure(experiment: str, name: str) -> "Figure":
    """Share of accepted proposals over the cycles: kernels, a line each, and batch norm together.

    Args:
        experiment: name of its script.
        name: of the run.
    """
    from matplotlib import colormaps

    runs = read_runs(experiment)[name]
    cycles = [line["cycle"] for line in runs[0].lines]
    shares = {
        array: 100
        * np.mean([[line["accepted_share_by_array"][array] for line in r.lines] for r in runs], 0)
        for array in runs[0].lines[0]["accepted_share_by_array"]
    }
    kernels = [array for array in shares if array.endswith("kernel")][::-1]
    others = [shares[array] for array in shares if array not in kernels]
    picture = new_figure(6.5, 3.6)
    panel = picture.subplots()
    for k, array in enumerate(kernels):  # from the first layer, dark, to the last, bright
        colour = colormaps["viridis"](0.92 * k / max(1, len(kernels) - 1))
        panel.plot(cycles, shares[array], color=colour, marker="osD^vPX*"[k % 8], label=array)
    if others:
        mean = np.mean(others, 0)
        panel.plot(cycles, mean, color="#777777", linestyle="--", label="batch norm, mean")
    panel.set(xlabel="cycle", ylabel="accepted share (%)", xticks=cycles, ylim=(0, 100))
    panel.grid(alpha=0.3)
    panel.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=9, frameon=False)
    return picture


def filters_figure(experiment: str, name: str) -> "Figure":
    """Filters of the first convolution before and after, those of seed 0.

    Args:
        experiment: name of its script, of a network that begins with ``conv1``.
        name: of the run.
    """
    run = read_runs(experiment)[name][0]
    data, settings = run.config["data"], run.config["settings"]
    before = _initial_filters(
        settings["model"], tuple(data["example_shape"]), data["classes"], settings["seed"]
    )
    with np.load(run.folder / PARAMS) as saved:
        after = saved["params/conv1/kernel"]
    size = before.shape[-1]
    picture = new_figure(9, 1.7)
    panels = picture.subplots(2, size)
    largest = max(np.abs(before).max(), np.abs(after).max())
    for row, (label, kernel) in enumerate({"before": before, "after": after}.items()):
        for k in range(size):
            panel = panels[row, k]
            image = panel.imshow(kernel[:, :, 0, k], cmap="PuOr", vmin=-largest, vmax=largest)
            panel.set(xticks=[], yticks=[])
        panels[row, 0].set_ylabel(label, rotation=0, ha="right", va="center")
    picture.colorbar(image, ax=panels, shrink=0.9, pad=0.01)
    return picture


@cache
def _initial_filters(
    model: str, example_shape: tuple[int, ...], classes: int, seed: int
) -> np.ndarray:
    """Of ``conv1``, as a run of that seed begins."""
    import jax

    from rso_jax.networks import create
    from rso_jax.training import keys

    network = create(model, example_shape, classes)

    @jax.jit  # which leaves out all the rest
    def filters(key: jax.Array) -> jax.Array:
        return network.init(key, jax.numpy.zeros((1, *example_shape)))["conv1"]["kernel"]

    return np.asarray(filters(keys.of_initial_parameters(seed)))
