"""What each part of local losses is good for: ``local_ablations.py``, ``local_ceilings.py``."""

import json
from typing import Any

from frozen import RESULTS

from report.tables import NOT_MEASURED, as_table, say_millions

FILE = RESULTS / "mnist" / "local_ablations.json"
REFERENCE = "reference"
CEILINGS = RESULTS / "cifar10" / "local_ceilings.json"
READOUTS = ("heads from 1", "heads from 4", "head 9", "output")


def ablations_table() -> str:
    """A row for each change, the reference first, then the best."""
    rows = _rows()
    if not rows:
        return NOT_MEASURED
    changed = sorted(rows, key=lambda name: (name != REFERENCE, -rows[name]["held_out_accuracy"]))
    columns = ("changed", "held-out accuracy, %", "image evaluations, against the reference")
    reference = rows[REFERENCE]["image_evaluations"]
    return as_table(
        columns,
        [
            (
                "nothing" if name == REFERENCE else name,
                f"{100 * rows[name]['held_out_accuracy']:.2f}",
                say_millions(reference)
                if name == REFERENCE
                else f"{rows[name]['image_evaluations'] / reference:.2f} times",
            )
            for name in changed
        ],
    )


def ablated_readouts_table() -> str:
    """Held-out accuracy of the reference by every readout."""
    rows = _rows()
    if not rows:
        return NOT_MEASURED
    readouts = rows[REFERENCE]["readouts"]
    return as_table(tuple(readouts), [[f"{100 * accuracy:.2f}" for accuracy in readouts.values()]])


def ceilings_table() -> str:
    """A row for each variant of ``local_ceilings.py``, the best last; held-out accuracy."""
    if not CEILINGS.exists():
        return NOT_MEASURED
    found = json.loads(CEILINGS.read_text())["held_out_accuracy"]
    columns = ("held-out accuracy, %", *READOUTS, "the best of 19")
    ordered = sorted(found, key=lambda name: max(found[name].values()))
    return as_table(
        columns,
        [
            (
                name,
                *(f"{found[name][way]:.2f}" for way in READOUTS),
                f"{max(found[name].values()):.2f}",
            )
            for name in ordered
        ],
    )


def _rows() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(FILE.read_text())["rows"] if FILE.exists() else {}
    return found
