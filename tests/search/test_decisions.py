"""Column programs decide as full forwards do, except where rounding decides; how often is told."""

import flax.linen as nn
import jax
import numpy as np

from rso_jax import presets, rso
from rso_jax.method import run_stage
from rso_jax.networks import from_linen
from rso_jax.search.order import visiting_order

KEY = jax.random.key(5)


class Small(nn.Module):
    """Convolutions, batch norm, average and max pooling, a dense layer, as in the paper."""

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(4, (3, 3), use_bias=False)(x)
        x = nn.BatchNorm(use_running_average=False)(x)
        x = nn.avg_pool(nn.Conv(4, (3, 3), use_bias=False)(nn.relu(x)), (2, 2), (2, 2))
        x = nn.BatchNorm(use_running_average=False)(x)
        return nn.Dense(3)(nn.relu(x).max((1, 2)))


def both_ways():
    images = jax.random.normal(KEY, (2, 30, 6, 6, 1))
    batches = {"image": images, "label": jax.random.randint(KEY, (2, 30), 0, 3)}
    params, loss_fn = from_linen(Small(), KEY, images[0])
    settings = presets.authors_code(3)
    searches = [rso(loss_fn, evaluation=way, **settings) for way in ("column", "full")]
    state = searches[0].init(KEY, params)
    for stage in searches[0].stages(KEY, state, batches):
        yield stage, *(run_stage(s, KEY, state, stage, batches)[1] for s in searches)


def test_decisions_of_every_sweep(record_property):
    visits, decided_by_rounding = 0, 0
    for stage, column, full in both_ways():
        order = np.asarray(visiting_order(column.choices.shape))
        mine, theirs = (np.asarray(info.choices).ravel()[order] for info in (column, full))
        losses = [np.asarray(info.losses).ravel()[order] for info in (column, full)]
        differing = np.flatnonzero(mine != theirs)
        same = differing[0] if differing.size else stage.visits
        np.testing.assert_allclose(losses[0][:same], losses[1][:same], rtol=1e-5)
        if differing.size:  # up to here both had the same weights: how close were the two?
            decided_by_rounding += 1
            gap = abs(losses[0][same] - losses[1][same])
            assert gap <= 1e-5 * abs(losses[1][same]), stage.name
        visits += same
    record_property("visits compared", visits)
    record_property("decided by rounding", decided_by_rounding)
    print(f"{visits} visits compared, {decided_by_rounding} decided by rounding")
    assert visits > 100
