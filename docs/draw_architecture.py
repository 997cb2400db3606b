"""Draws docs/architecture.png: the floors of the package, and what stands on each.

python docs/draw_architecture.py
"""

from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

EDGE, NEW = "#444444", "#C4551D"
YOURS = (
    *("rules", "pieces", "decide", "slopes:\nprobes", "Task", "networks", "baselines"),
    "cli: methods",
)
"""Rooms in which a new one of its kind goes."""
FLOORS = [
    (
        "programs",
        "#F2E3F0",
        "say what to run",
        ["cli: methods", "cli: commands", "experiments", "notebooks"],
    ),
    (
        "training",
        "#FBE3C8",
        "knows methods and tasks",
        ["loop", "checkpointer", "metrics", "run_folder", "reporter", "processes"],
    ),
    (
        "tasks, data, networks",
        "#FDF3D0",
        "what is trained, how it is judged",
        ["Task", "classification", "data", "networks", "environments"],
    ),
    (
        "methods",
        "#DCEBD3",
        "init, stages, prepare, advance, finish",
        ["search: rso", "slopes: method", "baselines: gradient", "baselines: evolution"],
    ),
    (
        "search, slopes",
        "#CFE2F1",
        "pieces, a sweep; probes, an estimate",
        [
            *("pieces", "planning", "traversal", "decide", "compiled"),
            *("slopes:\nprobes", "slopes:\nestimate"),
        ],
    ),
    (
        "leaves, incremental",
        "#E8EEF4",
        "any JAX loss in stages for a column",
        ["leaves", "interpreter", "rules", "values", "staging", "program", "candidates"],
    ),
    (
        "ground",
        "#EFEFEF",
        "used by all",
        ["method", "descent", "mesh", "black_boxes", "trees", "stacks", "arrays", "errors"],
    ),
]
HEIGHT, WIDTH = 1.9, 40.0


def main() -> None:
    """Draw and write."""
    figure = Figure(figsize=(10, 6.2), layout="constrained")
    panel = figure.subplots()
    panel.set(xlim=(-0.4, WIDTH + 0.4), ylim=(-0.3, HEIGHT * len(FLOORS) + 0.4))
    panel.set_axis_off()
    for i, (name, colour, what, rooms) in enumerate(reversed(FLOORS)):
        y = HEIGHT * i
        panel.add_patch(
            FancyBboxPatch(
                (0, y), WIDTH, HEIGHT - 0.5, "round,pad=0.15", facecolor=colour, edgecolor=EDGE
            )
        )
        panel.text(0.4, y + 0.9, name, weight="bold", fontsize=11, va="center")
        panel.text(0.4, y + 0.3, what, fontsize=8, va="center", style="italic")
        width = 28.6 / len(rooms)
        for j, room in enumerate(rooms):
            x = 11 + j * width
            new = room.startswith(YOURS)
            panel.add_patch(
                FancyBboxPatch(
                    (x, y + 0.25),
                    width - 0.5,
                    0.9,
                    "round,pad=0.05",
                    facecolor="white",
                    edgecolor=NEW if new else EDGE,
                    lw=2.0 if new else 0.6,
                )
            )
            panel.text(x + width / 2 - 0.25, y + 0.7, room, ha="center", va="center", fontsize=8)
    panel.text(
        0,
        HEIGHT * len(FLOORS),
        "A module imports from its own floor and those below. Orange: where a new one goes.",
        fontsize=9,
        va="center",
    )
    out = Path(__file__).with_name("architecture.png")
    figure.savefig(out, dpi=120, metadata={"Software": None})


if __name__ == "__main__":
    main()
