"""Block search written the long way: one loss call per candidate, Python loops.

For one mini-batch and no weight decay. It shares with the package the documented derivation of
keys, the proposal, and the joint steps.
"""

import jax
import jax.numpy as jnp
import numpy as np
from plain_reference import replaced, visiting_order


def blocks(shape, size):
    """The weights of each block: whole columns, or even parts of one."""
    order = visiting_order(shape)
    height = int(np.prod(shape[:-1]))
    if size >= 2 * height:
        groups = -(-shape[-1] // (size // height))
        each = -(-shape[-1] // groups) * height
        return [order[i : i + each] for i in range(0, len(order), each)]
    each = -(-height // -(-height // size))
    columns = [order[i : i + height] for i in range(0, len(order), height)]
    return [column[i : i + each] for column in columns for i in range(0, height, each)]


def sweep(loss_fn, params, path, leaf_index, key, batches, *, sigma, proposal, size, step):
    """Parameters and losses after one sweep of the leaf at ``path`` of a dict of dicts."""
    proposal_key, *_ = jax.random.split(jax.random.fold_in(key, leaf_index), 3)
    layer, name = path.split("/")
    loss_fn = jax.jit(loss_fn)
    batch = jax.tree.map(lambda a: a[0], batches)
    kept, visit = [], 0

    def moved(places, values):
        found = params
        for at, value in zip(places, values, strict=True):
            found = replaced(found, path, at, value)
        return found

    for places in blocks(params[layer][name].shape, size):
        tried, losses = [], []
        known = loss_fn(params, batch)
        for at in places:
            weight = params[layer][name][at]
            scale = jnp.asarray(sigma, weight.dtype)
            steps = proposal(jax.random.fold_in(proposal_key, visit), weight, scale)
            tried.append(jnp.concatenate([weight[None], weight + steps]))
            losses.append([known, *(loss_fn(moved([at], [w]), batch) for w in weight + steps)])
            visit += 1
        # As the step sees them: [columns, weights, candidates].
        wide = len({at[-1] for at in places})
        tried, losses = (
            jnp.asarray(a).reshape(wide, -1, len(tried[0])) for a in (jnp.stack(tried), losses)
        )
        candidates = [([], [])]
        flat = tried.reshape(len(places), -1)
        candidates += [([at], [w]) for at, ws in zip(places, flat, strict=True) for w in ws[1:]]
        candidates += [(places, v.reshape(-1)) for v in step(tried, losses)]
        scores = [float(loss_fn(moved(*candidate), batch)) for candidate in candidates]
        best = int(np.argmin(scores))
        params = moved(*candidates[best])
        kept.append(scores[best])
    return params, kept
