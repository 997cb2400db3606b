"""Which collectives a compiled program has: read from the text of its optimised HLO.

``collectives_of(compiled.as_text())`` follows the calls from the entry computation and gives every
collective with the loops around it, its payload, and the devices that take part. ``volume`` adds
them up by the loops of a search that they lie in.
"""

import math
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
BITS = {"pred": 8}
NAME = r"[%\w.\-]+"


class Loop(NamedTuple):
    """A while loop around a collective."""

    name: str
    """Where it comes from in the traced program, such as ``jit(f)/while/body/while``."""
    trips: int | None
    """How often it runs, where the compiler knows."""


class Collective(NamedTuple):
    """An operation that moves numbers between devices."""

    kind: str
    shapes: tuple[str, ...]
    """Of what it leaves on a device, such as ``f32[3,16]``."""
    groups: tuple[tuple[int, ...], ...]
    """Devices that work together; for a permutation, sender and receiver."""
    loops: tuple[Loop, ...]
    """Around it, outermost first."""
    name: str
    """What it belongs to in the traced program."""

    @property
    def payload(self) -> int:
        """Bytes of the result on a device."""
        return sum(map(bytes_of, self.shapes))

    @property
    def group_size(self) -> int:
        """Devices in a group."""
        return max(map(len, self.groups), default=1)

    @property
    def sent(self) -> float:
        """Bytes that each device sends if the group is a ring."""
        others = self.group_size - 1
        if others == 0:
            return 0.0
        share = others / self.group_size
        factors = {"all-reduce": 2 * share, "all-gather": share, "all-to-all": share}
        factors |= {"reduce-scatter": others, "collective-permute": 1.0}
        return factors[self.kind] * self.payload

    def axes(self, shape: dict[str, int]) -> tuple[str, ...]:
        """Axes of a mesh, given by their sizes in order, along which its groups reach."""
        places = np.array(np.unravel_index(np.array(self.groups), tuple(shape.values())))
        spread = (places != places[..., :1]).any((1, 2))
        return tuple(axis for axis, over in zip(shape, spread, strict=True) if over)


def bytes_of(shape: str) -> int:
    """Of an array written as ``f32[3,16]``."""
    dtype = shape.split("[")[0]
    bits = BITS[dtype] if dtype in BITS else int(re.findall(r"\d+", dtype)[0])
    return math.prod(dimensions(shape)) * bits // 8


def dimensions(shape: str) -> list[int]:
    """Sizes of an array written as ``f32[3,16]``."""
    return [int(n) for n in re.findall(r"\d+", shape.split("[")[1])]


class Instruction(NamedTuple):
    """A line of a computation."""

    opcode: str
    result: str
    rest: str
    """Operands and attributes."""

    @property
    def calls(self) -> list[str]:
        """Computations it runs, but the condition of a loop and what a reduction adds with."""
        one = re.findall(rf"(?:body|calls|(?:true|false)_computation)=({NAME})", self.rest)
        lists = re.findall(r"(?:branch_computations|called_computations)=\{([^}]*)\}", self.rest)
        if self.opcode == "call":
            one += re.findall(rf"to_apply=({NAME})", self.rest)
        return one + [name for found in lists for name in re.findall(NAME, found)]

    @property
    def name(self) -> str:
        """Of the operation in the traced program."""
        found = re.search(r'op_name="([^"]*)"', self.rest)
        return found[1] if found else ""


def computations_of(hlo: str) -> tuple[dict[str, list[Instruction]], str]:
    """The instructions of every computation by its name, and the name of the entry."""
    found: dict[str, list[Instruction]] = {}
    entry, current = "", None
    for line in hlo.splitlines():
        header = re.match(rf"(ENTRY )?({NAME}) \(.*\{{\s*$", line)
        if header:
            current = found.setdefault(header[2], [])
            entry = header[2] if header[1] else entry
        elif line.startswith("}"):
            current = None
        elif current is not None and " = " in line:
            current.append(_instruction(line.split(" = ", 1)[1]))
    return found, entry


def _instruction(text: str) -> Instruction:
    """From what follows the equals sign: a type, which may be a tuple, and an operation."""
    end, depth = 0, 0
    while depth or text[end] != " ":
        depth += {"(": 1, ")": -1}.get(text[end], 0)
        end += 1
    opcode, rest = text[end + 1 :].split("(", 1)
    return Instruction(opcode, text[:end], rest)


def collectives_of(hlo: str) -> list[Collective]:
    """Every collective of a program, once for each way that leads to it from the entry."""
    computations, entry = computations_of(hlo)
    partitions = re.search(r"num_partitions=(\d+)", hlo)
    devices = int(partitions[1]) if partitions else 1
    return [
        Collective(kind, _results(i), groups_of(i.rest, devices), loops, i.name)
        for i, loops in _walk(computations, entry, ())
        if (kind := i.opcode.removesuffix("-start")) in KINDS
    ]


def volume(
    hlo: str, mesh: dict[str, int], levels: Sequence[str], mark: int
) -> dict[str, dict[str, Any]]:
    """What a device communicates each time that a loop of a search turns, by loop.

    Args:
        hlo: text of the compiled program.
        mesh: sizes of its axes, in order.
        levels: what is outside of the search's loops, then in the first of them, and so on; with
            one name, everything. The search's are the outermost loop and, in it, those of a length
            that is not known when compiling; others repeat what they hold.
        mark: a divisor of the mini-batch, and of no other size.

    Returns:
        For each level: how many collectives, how many by kind and axis, bytes of their results,
        bytes sent in a ring, the largest, and those that grow with the mini-batch.
    """
    found: dict[str, dict[str, Any]] = {}
    for one in collectives_of(hlo):
        if one.group_size == 1:
            continue
        outer = [x for i, x in enumerate(one.loops) if i == 0 or x.trips is None]
        level = levels[min(len(outer), len(levels) - 1)]
        inner = [x for x in one.loops if len(levels) == 1 or x not in outer]
        if any(x.trips is None for x in inner):
            raise ValueError(f"a loop of unknown length around {one}")
        times = math.prod(x.trips or 1 for x in inner)
        empty = {"collectives": 0, "payload": 0, "sent": 0, "kinds": {}, "largest": []}
        at = found.setdefault(level, empty | {"grow_with_batch": []})
        name = f"{one.kind} over {' and '.join(one.axes(mesh))}"
        name += "".join(f", {x.trips} times" for x in inner if x.trips)
        at["collectives"] += times
        at["payload"] += times * one.payload
        at["sent"] += round(times * one.sent)
        at["kinds"][name] = at["kinds"].get(name, 0) + 1
        at["largest"] = max(at["largest"], [one.payload, *one.shapes], key=lambda x: x[:1])
        if any(n and n % mark == 0 for shape in one.shapes for n in dimensions(shape)):
            at["grow_with_batch"].append([one.kind, *one.shapes])
    return found


def _walk(
    computations: dict[str, list[Instruction]], name: str, loops: tuple[Loop, ...]
) -> Iterator[tuple[Instruction, tuple[Loop, ...]]]:
    for i in computations[name]:
        yield i, loops
        if i.opcode == "fusion":  # holds no collectives, and is one kernel
            continue
        inside = loops
        if i.opcode == "while":
            trips = re.search(r'known_trip_count":\{"n":"(\d+)"', i.rest)
            inside = (*loops, Loop(i.name, int(trips[1]) if trips else None))
        for called in i.calls:
            yield from _walk(computations, called, inside)


def _results(i: Instruction) -> tuple[str, ...]:
    """Shapes of what a collective leaves; one that is begun here names its operands before."""
    shapes = re.findall(r"\w+\[[^\]]*\]", i.result)
    if i.opcode == "collective-permute-start":
        return tuple(shapes[1:2])
    if i.opcode.endswith("-start") and i.opcode != "all-reduce-start":
        return tuple(shapes[len(shapes) // 2 :])
    return tuple(shapes)


def groups_of(attributes: str, devices: int) -> tuple[tuple[int, ...], ...]:
    """The groups of a collective, in each of the ways in which HLO writes them.

    Args:
        attributes: of the instruction.
        devices: of the program, all in one group where none is named.
    """
    if pairs := re.search(r"source_target_pairs=\{((?:\{[\d,]*\},?)*)\}", attributes):
        return _lists(pairs[1])
    if found := re.search(r"replica_groups=\{((?:\{[\d,]*\},?)*)\}", attributes):
        return _lists(found[1]) or (tuple(range(devices)),)
    iota = r"\[([\d,]+)\](?:<=\[([\d,]+)\])?(?:T\(([\d,]+)\))?"
    if found := re.search(rf"replica_groups={iota}", attributes):
        order = _iota(found[2] or str(devices), found[3])
        return _rows(order.reshape(_numbers(found[1])))
    if found := re.search(
        rf"replica_groups=mesh\[([^\]]*)\](?:, device_ids=\((?:{iota}|([\d,]+))\))? \{{(.*?)\}}",
        attributes,
    ):
        axes = {name: int(n) for name, n in re.findall(r"'([^']+)'=(\d+)", found[1])}
        order = (
            np.array(_numbers(found[5])) if found[5] else _iota(found[2] or str(devices), found[4])
        )
        return _over_axes(order, axes, found[6])
    return (tuple(range(devices)),)


def _over_axes(order: np.ndarray, axes: dict[str, int], over: str) -> tuple[tuple[int, ...], ...]:
    """Groups along some axes of a mesh, or along a part of one, as ``'a':(2)4``."""
    shape: list[int] = []
    chosen: list[int] = []
    named = {m[1]: m for m in re.finditer(r"'([^']+)'(?::\((\d+)\)(\d+))?", over)}
    for name, size in axes.items():
        part = named.get(name)
        if part and part[2]:
            before, length = int(part[2]), int(part[3])
            chosen.append(len(shape) + 1)
            shape += [before, length, size // before // length]
        else:
            chosen += [len(shape)] if part else []
            shape.append(size)
    grid = np.moveaxis(order.reshape(shape), chosen, range(-len(chosen), 0))
    return _rows(grid.reshape(-1, math.prod(shape[at] for at in chosen)))


def _iota(sizes: str, permutation: str | None) -> np.ndarray:
    shape = _numbers(sizes)
    order = np.arange(math.prod(shape)).reshape(shape)
    return (order.transpose(_numbers(permutation)) if permutation else order).reshape(-1)


def _numbers(text: str) -> list[int]:
    return [int(n) for n in text.split(",") if n]


def _lists(text: str) -> tuple[tuple[int, ...], ...]:
    return tuple(
        tuple(_numbers(one)) for one in re.findall(r"([\d][\d,]*)", text.replace("},{", " "))
    )


def _rows(groups: np.ndarray) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(map(int, row)) for row in groups)
