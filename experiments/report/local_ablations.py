"""The tables of ``local_ablations.py``: what each part of local losses is good for."""

import json
from typing import Any

from frozen import RESULTS

from report.tables import NOT_MEASURED, as_table, say_millions

FILE = RESULTS / "mnist" / "local_ablations.json"
REFERENCE = "reference"


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


def _rows() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(FILE.read_text())["rows"] if FILE.exists() else {}
    return found
