"""Draws docs/column_program.png: how a loss is cut, and what a column can change.

python docs/draw_column_program.py
"""

from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle

FIXED, MOVING, EDGE = "#CFE2F1", "#F6C9A8", "#444444"
STAGES = [
    ("prefix", "all that no weight\nof the array touches", "once per mini-batch", "#E8EEF4"),
    (
        "column",
        "the other columns, and\nall they lead to",
        "once per column\nand mini-batch",
        FIXED,
    ),
    ("pre-activation", "z, linear in the weights:\nadd d · direction", "every visit", "#FBE3C8"),
    (
        "loss",
        "from z on: slice, share of\nthe next layer, the rest",
        "every candidate",
        MOVING,
    ),
]
LAYERS = [
    ("input\nsame", set()),
    ("convolution\nsliced: one channel", {2}),
    ("batch norm, ReLU\nstill sliced", {2}),
    ("next convolution\nrest + share: dense", set(range(6))),
]


def main() -> None:
    """Draw and write."""
    figure = Figure(figsize=(10, 3.9), layout="constrained")
    panel = figure.subplots()
    panel.set(xlim=(0, 40), ylim=(0, 15.4))
    panel.set_axis_off()
    arrow = {"arrowstyle": "->", "color": EDGE, "lw": 1.4}
    for i, (name, what, when, colour) in enumerate(STAGES):
        x = 10 * i + 0.4
        panel.add_patch(
            FancyBboxPatch((x, 8.6), 8, 6.2, "round,pad=0.2", facecolor=colour, edgecolor=EDGE)
        )
        panel.text(x + 4, 13.9, name, ha="center", weight="bold", fontsize=12)
        panel.text(x + 4, 11.9, what, ha="center", va="center", fontsize=8.5)
        panel.text(x + 4, 9.6, when, ha="center", va="center", fontsize=8.5, style="italic")
        if i:
            panel.annotate("", (x - 0.3, 11.7), (x - 1.7, 11.7), arrowprops=arrow)
    panel.text(0.4, 7.2, "What searching one column of a convolution can change:", fontsize=9)
    for i, (label, moving) in enumerate(LAYERS):
        x = 10 * i + 1.6
        for channel in range(6):
            colour = MOVING if channel in moving else FIXED
            panel.add_patch(
                Rectangle((x + 0.95 * channel, 3.2), 0.8, 3, facecolor=colour, edgecolor=EDGE)
            )
        panel.text(x + 2.8, 1.6, label, ha="center", va="center", fontsize=8.5)
        if i:
            panel.annotate("", (x - 0.4, 4.7), (x - 3.6, 4.7), arrowprops=arrow)
    out = Path(__file__).with_name("column_program.png")
    figure.savefig(out, dpi=120, metadata={"Software": None})


if __name__ == "__main__":
    main()
