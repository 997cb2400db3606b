"""Losses that call ordinary Python: simulators, programs, devices on a cable."""

from rso_jax.black_boxes.box import BlackBox, Failures, black_box

__all__ = ["BlackBox", "Failures", "black_box"]
