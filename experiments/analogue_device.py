"""An analogue layer that no two of are alike: what ``drifting_device.py`` trains, in NumPy alone.

Drives go through a converter of few bits into units whose gain and offset were left to chance, and
from there through a crossbar of conductances that are not quite what was set: each has a gain of
its own and a leak, and some are stuck at nothing. Every read-out has noise. While it is read the
gains drift.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float32]


class Faults(NamedTuple):
    """How far a device is from the ideal one."""

    bits: int = 6
    """Of the converter, which takes drives between -4 and 4."""
    gain: float = 0.4
    """Standard deviation of the gains of units and conductances around 1."""
    offset: float = 0.5
    """Of what is added to drives, conductances and read-outs."""
    stuck: float = 0.15
    """Share of the conductances that are always 0."""
    noise: float = 0.1
    """Of every read-out; scores are of about 1."""
    drift: float = 0.2
    """Standard deviation of the change of a gain's logarithm in a million images read."""


class Device:
    """One device: its gains and offsets, its noise, and its age."""

    def __init__(self, seed: int, units: int, outputs: int, faults: Faults) -> None:
        """Build a device.

        Args:
            seed: of what is left to chance.
            units: that take drives.
            outputs: that are read.
            faults: how far from ideal it is.
        """
        rng = np.random.default_rng(seed)
        shape = (units, outputs)
        self._faults, self._rng = faults, rng
        self._unit_gain = 1 + faults.gain * rng.normal(size=units)
        self._unit_offset = faults.offset * rng.normal(size=units)
        self._gain = 1 + faults.gain * rng.normal(size=shape)
        self._leak = faults.offset * rng.normal(size=shape)
        self._works = rng.random(shape) >= faults.stuck
        self._read_offset = faults.offset * rng.normal(size=outputs)
        self._log_gain = np.zeros(shape)

    def wait(self, images: int) -> None:
        """Drift for as long as it takes to read so many images."""
        size = self._faults.drift * np.sqrt(images / 1e6)
        self._log_gain += size * self._rng.normal(size=self._log_gain.shape)

    def read(
        self, drives: Values, conductances: Values, noise: np.random.Generator | None = None
    ) -> Values:
        """Read the outputs for some images.

        Args:
            drives: [images, units].
            conductances: as set, [units, outputs].
            noise: of the read-outs; the device's own if not given.
        """
        self.wait(len(drives))
        levels = 2 ** (self._faults.bits - 1) / 4
        driven = np.round(np.clip(drives, -4, 4) * levels) / levels
        units = np.tanh(driven * self._unit_gain + self._unit_offset)
        set_to = conductances * self._gain * np.exp(self._log_gain) + self._leak
        currents = units @ (set_to * self._works) + self._read_offset
        rng = self._rng if noise is None else noise
        found: Values = currents + self._faults.noise * rng.normal(size=currents.shape)
        return found.astype(np.float32)
