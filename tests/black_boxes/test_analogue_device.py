"""The device of the experiment: without faults the ideal one, and with them the same by seed."""

import importlib
from pathlib import Path

import numpy as np
import pytest

RNG = np.random.default_rng(1)
DRIVES, G = RNG.normal(size=(5, 4)).astype("float32"), RNG.normal(size=(4, 3)).astype("float32")


@pytest.fixture
def analogue(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "experiments")
    return importlib.import_module("analogue_device")


def test_without_faults_a_device_is_its_model(analogue):
    none = analogue.Faults(bits=20, gain=0, offset=0, stuck=0, noise=0, drift=0)
    found = analogue.Device(0, 4, 3, none).read(DRIVES, G)
    np.testing.assert_allclose(found, np.tanh(DRIVES) @ G, atol=1e-4)


def test_noise_is_its_own_or_that_of_a_generator(analogue):
    device = analogue.Device(0, 4, 3, analogue.Faults(drift=0))
    first, second = (device.read(DRIVES, G, np.random.default_rng(2)) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert np.abs(device.read(DRIVES, G) - device.read(DRIVES, G)).max() > 0.01


def test_it_drifts_by_what_is_read(analogue):
    device = analogue.Device(0, 4, 3, analogue.Faults(noise=0))
    before = device.read(DRIVES, G)
    np.testing.assert_allclose(device.read(DRIVES, G), before, atol=0.02)
    device.wait(10_000_000)
    assert np.abs(device.read(DRIVES, G) - before).max() > 0.1
