"""The tables of ``docs/losses.md``, of what ``tabular.py`` found: printed, to be put there.

python experiments/tabular_tables.py
"""

import json
from typing import Any

import numpy as np
from frozen import RESULTS

SETS = {
    "breast_cancer": "breast cancer",
    "iris": "iris",
    "diabetes": "diabetes, above the median",
    "wine": "wine",
}
PARTS = {"references": "", "linear": "linear, ", "network": "8 hidden units, "}
REFERENCE = "logistic regression, C chosen"


def main() -> None:
    print(errors_table(), objectives_table(), sep="\n\n")


def read_rows(name: str, part: str) -> dict[str, Any]:
    """The rows of a part; none if it is not there."""
    path = RESULTS / "tabular" / f"{name}-{part}.json"
    rows = json.loads(path.read_text())["rows"] if path.exists() else {}
    return {way: row for way, row in rows.items() if isinstance(row, dict)}


def errors_table() -> str:
    """Errors of every way on every set, and on how many folds they are fewer or more."""
    lines = [
        "| set | model | training errors | fewer, more | test errors | fewer, more |",
        "|---|---|---|---|---|---|",
    ]
    for name, title in SETS.items():
        references = read_rows(name, "references")
        for part, model in PARTS.items():
            for way, row in read_rows(name, part).items():
                against = None if part == "references" else references.get(REFERENCE)
                cells = [
                    cell
                    for which in ("train", "test")
                    for cell in (percent(row, which), compare(row, against, which))
                ]
                lines.append(f"| {title} | {model}{way} | {' | '.join(cells)} |")
                title = ""
    return "\n".join(lines)


def objectives_table() -> str:
    """Each measure, searched itself and by the best threshold of logistic regression."""
    rows = read_rows("breast_cancer", "objectives")
    lines = [
        "| breast cancer, linear | training parts | test parts | lower, higher |",
        "|---|---|---|---|",
    ]
    for way, row in rows.items():
        method, measure = way.split(": ", 1)
        against = rows[f"logistic regression: {measure}"] if method == "rso" else None
        show = number if measure == "cost" else percent
        more = ""
        if "test_false_alarms_mean" in row:
            more = f", {percent(row, 'test_false_alarms')} false alarms"
        cells = (show(row, "train"), show(row, "test") + more, compare(row, against, "test"))
        lines.append(f"| {measure}: {method} | {' | '.join(cells)} |")
    return "\n".join(lines)


def percent(row: dict[str, Any], which: str) -> str:
    mean, error = (100 * row[f"{which}_{what}"] for what in ("mean", "standard_error"))
    return f"{mean:.2f} % ± {error:.2f}"


def number(row: dict[str, Any], which: str) -> str:
    return f"{row[f'{which}_mean']:.4f} ± {row[f'{which}_standard_error']:.4f}"


def compare(row: dict[str, Any], against: dict[str, Any] | None, which: str) -> str:
    """On how many folds it is below, and on how many above."""
    if against is None:
        return ""
    difference = np.subtract(row[which], against[which])
    return f"{(difference < -1e-9).sum()}, {(difference > 1e-9).sum()}"


if __name__ == "__main__":
    main()
