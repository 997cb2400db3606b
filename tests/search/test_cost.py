"""What a sweep will cost, counted from shapes alone."""

from functools import cache

import jax
import jax.numpy as jnp
import pytest

from rso_jax import rso
from rso_jax.networks import create, loss_of
from rso_jax.search.joint import Block, accepted


@cache
def paper_mnist(evaluation, size=100, minibatches=2, **settings):
    """Costs of the sweeps of the paper's MNIST network, by path."""
    network = create("paper-mnist", (28, 28, 1), 10)
    images = jax.ShapeDtypeStruct((minibatches, size, 28, 28, 1), jnp.float32)
    labels = jax.ShapeDtypeStruct((minibatches, size), jnp.int32)
    params = jax.eval_shape(network.init, jax.random.key(0), images)
    search = rso(loss_of(network), evaluation=evaluation, **settings)
    return {cost.path: cost for cost in search.cost(params, {"image": images, "label": labels})}


def test_a_full_forward_costs_a_forward_and_keeps_nothing():
    for cost in paper_mnist("full").values():
        # Apart from putting the column into the array.
        assert cost.candidate_flops == pytest.approx(cost.forward_flops, rel=1e-6)
        assert cost.candidate_bytes == pytest.approx(cost.forward_bytes, rel=1e-3)
        assert cost.sweep_flops == cost.weights * cost.candidates * cost.candidate_flops
        assert cost.sweep_bytes == cost.weights * cost.candidates * cost.candidate_bytes
        assert cost.bytes_kept == 0 and cost.candidates == 3


def test_what_a_candidate_saves_over_all_kernel_weights():
    costs = {e: paper_mnist(e) for e in ("column", "cached")}
    kernels = [path for path in costs["column"] if path.endswith("kernel")]
    by_forwards, by_columns, moved, moved_by_columns = 0, 0, 0, 0
    for path in kernels:
        column, cached = costs["column"][path], costs["cached"][path]
        assert 0 < column.candidate_flops < cached.candidate_flops
        assert 0 < column.candidate_bytes < cached.candidate_bytes
        by_forwards += column.weights * column.forward_flops
        by_columns += column.weights * column.candidate_flops
        moved += column.weights * column.forward_bytes
        moved_by_columns += column.weights * column.candidate_bytes
    assert by_forwards / by_columns > 15
    assert moved / moved_by_columns > 6


def test_memory_grows_with_the_stack_and_stays_within_the_budget():
    def one(path):
        return path == "conv2/kernel"

    small, large = (
        paper_mnist("column", minibatches=m, searched=one)["conv2/kernel"] for m in (2, 4)
    )
    assert large.bytes_kept == pytest.approx(2 * small.bytes_kept, rel=0.01)
    budget = small.bytes_kept - 1
    bounded = paper_mnist("column", memory_budget=budget, searched=one)["conv2/kernel"]
    assert bounded.bytes_kept <= budget
    assert bounded.sweep_flops > small.sweep_flops
    assert bounded.sweep_bytes > small.sweep_bytes


@pytest.mark.parametrize("block", [None, Block(4, accepted()), Block("leaf", accepted())])
def test_last_layers_are_not_free(block):
    """No product is left in a candidate of the last layer, but its softmax is."""
    params = {"kernel": jnp.zeros((3, 2)), "bias": jnp.zeros(2)}
    batches = {"image": jnp.zeros((2, 5, 3)), "label": jnp.zeros((2, 5), int)}

    def loss(params, batch):
        logits = batch["image"] @ params["kernel"] + params["bias"]
        return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(5), batch["label"]])

    for cost in rso(loss, block=block).cost(params, batches):
        assert 4 * 5 < cost.candidate_flops < cost.forward_flops
        assert cost.sweep_flops >= cost.weights * cost.candidate_flops
        assert cost.sweep_bytes >= cost.weights * cost.candidate_bytes > 0
