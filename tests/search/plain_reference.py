"""Sequential RSO written the long way: one loss call per candidate, a Python loop.

It shares with the package only the documented derivation of keys and the small pieces
(proposal, mini-batches), so that it checks the compiled sweep and not itself.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np


def visiting_order(shape):
    """Indices of a leaf: output axis outermost, then input axis, then the leading axes."""
    if len(shape) < 2:
        return list(np.ndindex(*shape))
    leading, (inputs, outputs) = shape[:-2], shape[-2:]
    return [
        (*position, i, o)
        for o, i, position in itertools.product(
            range(outputs), range(inputs), list(np.ndindex(*leading))
        )
    ]


def replaced(params, path, at, weight):
    """``params`` with one weight of the leaf at ``path`` changed."""
    layer, name = path.split("/")
    return params | {layer: params[layer] | {name: params[layer][name].at[at].set(weight)}}


def sweep(loss_fn, params, path, leaf_index, key, batches, *, sigma, proposal, minibatches, decay):
    """Parameters, choices and losses after one sweep of the leaf at ``path`` of a dict of dicts."""
    sweep_key = jax.random.fold_in(key, leaf_index)
    proposal_key, arrange_key, visit_key = jax.random.split(sweep_key, 3)
    batch_key, _ = jax.random.split(visit_key)
    if minibatches.one_for_a_cycle:
        arrange_key = jax.random.fold_in(key, len(jax.tree.leaves(params)) + 1)
    arranged = minibatches.arrange(arrange_key, batches)
    layer, name = path.split("/")
    loss_fn = jax.jit(loss_fn)
    choices, losses = [], []
    for visit, at in enumerate(visiting_order(params[layer][name].shape)):
        if minibatches.select is None:
            columns = params[layer][name].shape[-1]
            column = visit // (params[layer][name].size // columns)
            turn = column if minibatches.turn == "column" else visit
            batch = jax.tree.map(lambda a, turn=turn: a[turn % len(a)], arranged)
        else:
            batch = minibatches.select(jax.random.fold_in(batch_key, visit), arranged)
        leaf = params[layer][name]
        incumbent = leaf[at] * jnp.asarray(1 - decay, leaf.dtype)
        steps = proposal(
            jax.random.fold_in(proposal_key, visit), incumbent, jnp.asarray(sigma, leaf.dtype)
        )
        tried = [incumbent, *(incumbent + d for d in steps)]

        values = [float(loss_fn(replaced(params, path, at, w), batch)) for w in tried]
        finite = [v if np.isfinite(v) else np.inf for v in values]
        best = int(np.argmin(finite))
        params = replaced(params, path, at, tried[best])
        choices.append(best)
        losses.append(finite)
    return params, choices, losses
