"""One leaf of a search, where a test does not run a whole cycle."""

import numpy as np

from rso_jax.method import Stage, run_stage
from rso_jax.trees import named_leaves


def stage_of(search, key, state, path, batches):
    """The stage that sweeps the leaf at a path; of a leaf that is not swept, one of no such leaf.

    What a search says of it is for the search to say.
    """
    stages = search.stages(key, state, batches)
    return next((s for s in stages if s.name == path), Stage(path, np.array([0, 1])))


def sweep(search, key, state, path, batches):
    """One sweep of the leaf at a path, ``(state, info)``."""
    return run_stage(search, key, state, stage_of(search, key, state, path, batches), batches)


def position_of(params, path):
    """The place of the leaf at a path among all flattened parameters."""
    return list(named_leaves(params)).index(path)
