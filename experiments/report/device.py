"""The tables of ``drifting_device.py``: what trains an analogue device through a black box."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from frozen import RESULTS

from report.tables import as_table, say_millions

FOLDER = RESULTS / "drifting_device"
TRAINING = {
    "rso": "`rso` from scratch, incumbent scored at every visit",
    "model-rso": "`rso` from Adam's weights, steps of 0.3",
    "slopes": "slopes from scratch",
    "model-slopes": "slopes from Adam's weights",
}
NOISE = {
    "noise-own": "of every reading its own",
    "noise-by-key": "of a key, the same for the candidates of a visit",
}
INCUMBENT = {
    "incumbent-carried": "its loss carried on",
    "incumbent-scored": "scored at every visit, `keyed=True`",
}


def device_tables() -> tuple[str, str, str]:
    """Training, noise, and what becomes of the incumbent's loss: means over devices."""
    model = read("model")
    of_model = np.mean([run["model_accuracy"] for run in model])
    deployed = (
        f"Adam on a model of the ideal device (there {100 * of_model:.1f} %), deployed",
        "0",
        say(model, "accuracy_when_deployed"),
    )
    later = ("the same after as long as the others take", "0", say(model))
    accuracy = "test accuracy, mean (lowest to highest)"
    training = as_table(
        ("on the device", "image evaluations there", accuracy), [deployed, later, *rows(TRAINING)]
    )
    noise = as_table(("`rso`, the noise", "image evaluations", accuracy), rows(NOISE))
    incumbent = as_table(
        ("`rso`, the incumbent", "image evaluations", "accepted in the last cycle", accuracy),
        [
            (title, evaluations, accepted(read(way)), found)
            for way, (title, evaluations, found) in zip(INCUMBENT, rows(INCUMBENT), strict=True)
        ],
    )
    return training, noise, incumbent


def rows(ways: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Title, image evaluations and test accuracy of each way."""
    return [
        (title, say_millions(read(way)[0]["image_evaluations"]), say(read(way)))
        for way, title in ways.items()
    ]


def read(way: str) -> list[dict[str, Any]]:
    """The results of a way, a device each."""
    return [json.loads(p.read_text()) for p in sorted(FOLDER.glob(f"{way}-seed[0-9]*.json"))]


def say(runs: list[dict[str, Any]], number: str = "test_accuracy") -> str:
    """Mean and range of an accuracy."""
    found = [100 * run[number] for run in runs]
    return f"**{np.mean(found):.1f} %** ({min(found):.1f} to {max(found):.1f})"


def accepted(runs: list[dict[str, Any]]) -> str:
    """Share of the visits of the last cycle that changed a weight, mean over devices."""
    return f"{100 * np.mean([run['accepted_share'] for run in runs]):.0f} %"
