"""Quantities as people read them."""


def say_flops(count: float) -> str:
    """Operations, as ``1.5 MFLOP``."""
    return _shorten(count, 1000, ("", "k", "M", "G", "T", "P", "E")) + "FLOP"


def say_count(count: float) -> str:
    """A number of things, as ``1.5 M``."""
    return _shorten(count, 1000, ("", "k", "M", "G", "T", "P")).strip()


def say_bytes(count: float) -> str:
    """Bytes, as ``1.5 MiB``."""
    return _shorten(count, 1024, ("", "Ki", "Mi", "Gi", "Ti")) + "B"


def say_duration(seconds: float) -> str:
    """A time, as ``1.5 hours``."""
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.2g} seconds" if seconds < 10 else f"{seconds:.0f} seconds"


def _shorten(count: float, step: int, prefixes: tuple[str, ...]) -> str:
    for prefix in prefixes[:-1]:
        if count < step:
            return f"{count:.3g} {prefix}"
        count /= step
    return f"{count:.3g} {prefixes[-1]}"


def say_weights(weights: int, in_heads: int) -> str:
    """How many weights, those of local heads apart; ``12,016 weights + 15,360 in heads``."""
    added = f" + {in_heads:,} in heads" if in_heads else ""
    return f"{weights - in_heads:,} weights{added}"
