"""What a run of the search did to a network: accepted share by array, filters before and after."""

from pathlib import Path
from typing import Any

import numpy as np
from report_runs import read_runs

from rso_jax.training.run_folder import PARAMS


def accepted_figure(experiment: str, name: str, out: Path) -> None:
    """Share of accepted proposals over the cycles: kernels, a line each, and batch norm together.

    Args:
        experiment: name of its script.
        name: of the run.
        out: picture to write.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    runs = read_runs(experiment)[name]
    cycles = [line["cycle"] for line in runs[0].lines]
    shares = {
        array: 100
        * np.mean([[line["accepted_share_by_array"][array] for line in r.lines] for r in runs], 0)
        for array in runs[0].lines[0]["accepted_share_by_array"]
    }
    kernels = [array for array in shares if array.endswith("kernel")][::-1]
    others = [shares[array] for array in shares if array not in kernels]
    picture = Figure(figsize=(6.5, 3.6), layout="constrained")
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
    picture.savefig(out, dpi=150, metadata={"Software": None})


def filters_figure(experiment: str, name: str, out: Path) -> None:
    """Filters of the first convolution before and after, those of seed 0.

    Args:
        experiment: name of its script, of a network that begins with ``conv1``.
        name: of the run.
        out: picture to write.
    """
    from matplotlib.figure import Figure

    runs = read_runs(experiment)[name]
    before, after = _first_kernels(runs[0].config, runs[0].folder / PARAMS)
    size = before.shape[-1]
    picture = Figure(figsize=(9, 1.7), layout="constrained")
    panels = picture.subplots(2, size)
    largest = max(np.abs(before).max(), np.abs(after).max())
    for row, (label, kernel) in enumerate({"before": before, "after": after}.items()):
        for k in range(size):
            panel = panels[row, k]
            image = panel.imshow(kernel[:, :, 0, k], cmap="PuOr", vmin=-largest, vmax=largest)
            panel.set(xticks=[], yticks=[])
        panels[row, 0].set_ylabel(label, rotation=0, ha="right", va="center")
    picture.colorbar(image, ax=panels, shrink=0.9, pad=0.01)
    picture.savefig(out, dpi=150, metadata={"Software": None})


def _first_kernels(config: dict[str, Any], params: Path) -> tuple[np.ndarray, np.ndarray]:
    """As initialised from the run's seed, and as saved."""
    import jax

    from rso_jax.networks import create

    data, settings = config["data"], config["settings"]
    network = create(settings["model"], tuple(data["example_shape"]), data["classes"])
    key = jax.random.fold_in(jax.random.key(settings["seed"]), 0)  # as the loop does
    initial = network.init(key, jax.numpy.zeros((1, *data["example_shape"])))
    with np.load(params) as saved:
        return np.asarray(initial["conv1"]["kernel"]), saved["params/conv1/kernel"]
