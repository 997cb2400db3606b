"""Segments of a sweep: visits that belong together."""

import math
from typing import NamedTuple

import numpy as np

from rso_jax.leaves import Leaf


class SegmentSize(NamedTuple):
    """How many visits in a row belong together: part of a column, or some whole columns.

    A sweep may be interrupted between segments without changing a bit.
    """

    columns: int
    weights: int
    """Of each of these columns."""

    def boundaries(self, leaf: Leaf) -> np.ndarray:
        """Visits of the leaf before which a segment begins, ascending, and their number."""
        begins = np.arange(0, leaf.visits, self.columns * leaf.height)[:, None]
        within = np.arange(0, leaf.height, self.weights)
        return np.append((begins + within).ravel(), leaf.visits)

    def in_a_column(self, leaf: Leaf) -> int:
        """Segments of a column, 1 where a segment has several."""
        return math.ceil(leaf.height / self.weights)


def segment_of_column(leaf: Leaf, most: int) -> SegmentSize:
    """At most so many weights of a column, such that columns are divided evenly."""
    return SegmentSize(1, _evenly(leaf.height, most))


def segment_of_leaf(leaf: Leaf, most: int) -> SegmentSize:
    """At most so many weights: part of a column or, where columns are shorter, several."""
    if most < 2 * leaf.height:
        return segment_of_column(leaf, most)
    return SegmentSize(_evenly(leaf.columns, most // leaf.height), leaf.height)


def _evenly(count: int, most: int) -> int:
    return math.ceil(count / math.ceil(count / most))
