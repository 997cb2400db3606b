"""Operations and bytes of traced functions, against counts by hand and against XLA's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from rso_jax.incremental import column_program, count_flops, count_work, expected_trips
from rso_jax.networks import create, loss_of

F32 = 4


def array(*shape, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(shape, dtype)


def work(function, *shapes):
    """Operations and bytes."""
    found = count_work(function, *(array(*shape) for shape in shapes))
    return found.flops, found.bytes


def inner(function):
    """A function wrapped as libraries do."""
    known = jax.custom_vjp(function)
    known.defvjp(lambda x: (function(x), x), lambda x, g: (g,))
    return jax.jit(jax.checkpoint(known))


@pytest.mark.parametrize(
    ("function", "shapes", "flops", "moved"),
    [
        # Elementwise: what is read, what is written, and nothing of what is between.
        (lambda x: jnp.exp(-x) * 2, [(3, 4)], 36, 2 * 12 * F32),
        (lambda x, y: x * y + x, [(3, 4), (1, 4)], 24, (12 + 4 + 12) * F32),
        (inner(lambda x: jnp.exp(-x) * 2), [(3, 4)], 36, 2 * 12 * F32),
        # Moved only.
        (lambda x: x.T.reshape(2, 6)[::-1], [(3, 4)], 0, 0),
        (lambda x: x[:, 1:2] * 2, [(3, 4)], 3, 6 * F32),
        (lambda x: jnp.broadcast_to(x, (5, 3)), [(3,)], 0, (3 + 15) * F32),
        # Reductions and windows: an operation for what is reduced.
        (lambda x: jnp.sum(x * x, axis=1), [(3, 4)], 24, (12 + 3) * F32),
        (lambda x: lax.cumsum(x, axis=1), [(3, 4)], 12, 2 * 12 * F32),
        (
            lambda x: lax.reduce_window(x, -jnp.inf, lax.max, (2, 2), (2, 2), "VALID"),
            [(4, 6)],
            24,
            (24 + 6) * F32,
        ),
        (lambda x: lax.reduce_precision(x, 8, 7), [(3, 4)], 12, 2 * 12 * F32),
        # Products: their operands have to be there, a transposed one is.
        (lambda x, w: x @ w.T, [(3, 4), (5, 4)], 2 * 3 * 4 * 5, (12 + 20 + 15) * F32),
        (lambda x, w: (x + 1) @ w, [(4, 4), (4, 4)], 16 + 128, (16 + 16 + 48) * F32),
        (lambda x, w: jnp.tanh(x @ w), [(3, 4), (4, 5)], 120 + 15, (12 + 20 + 15 + 30) * F32),
        (
            lambda x, w: lax.conv(x, w, (1, 1), "VALID"),
            [(2, 3, 5, 5), (4, 3, 3, 3)],
            2 * (2 * 4 * 9) * 27,
            (150 + 108 + 72) * F32,
        ),
        # An update in place: of one row, of nine.
        (lambda x, y: lax.dynamic_update_slice(x, y, (0, 0)), [(9, 4), (1, 4)], 0, 2 * 4 * F32),
        (lambda x, y: x.at[1].add(y), [(9, 4), (4,)], 4, 3 * 4 * F32),
        # What nobody needs.
        (lambda x: jax.jit(lambda x: (jnp.sin(x), jnp.cos(x) @ x))(x)[0], [(3, 3)], 9, 18 * F32),
    ],
)
def test_counted_by_hand(function, shapes, flops, moved):
    assert work(function, *shapes) == (flops, moved)


def test_loops_count_their_turns():
    body = 2 * 3 * 3 * 3

    def step(x, _):
        return x @ x, None

    def forever(x):
        return lax.while_loop(lambda x: x[0, 0] > 0, lambda x: x @ x, x)

    def told(x):
        with jax.named_scope("mine"), jax.named_scope(expected_trips(3.5)):
            return forever(x)

    square = array(3, 3)
    assert count_work(lambda x: lax.scan(step, x, length=7)[0], square).flops == 7 * body
    once, many = count_work(forever, square), count_work(told, square)
    assert once.products == body and once.flops == body + 1
    assert many.products == 3.5 * body and many.flops == round(3.5 * (body + 1))
    batched = count_work(jax.vmap(told), array(2, 3, 3))
    assert batched.products == 3.5 * 2 * body


def test_the_dearest_branch_counts():
    def function(x):
        return lax.cond(x[0, 0] > 0, lambda x: x @ x @ x, lambda x: x @ x, x)

    assert count_work(function, array(3, 3)).products == 2 * 54
    assert count_flops(function, array(3, 3)) == 2 * 54


def test_a_loop_carries_what_it_updates_in_place():
    """Filling a long array a row at a time is not copying it each time."""

    def fill(x, y):
        return lax.fori_loop(0, 1000, lambda i, x: x.at[i].set(y), x)

    assert count_work(fill, array(1000, 4), array(4)).bytes < 4 * 1000 * 4 * F32


def xla(function, *arguments):
    """Operations and bytes by XLA's own analysis of what it compiles."""
    analysis = jax.jit(function).lower(*arguments).compile().cost_analysis()
    analysis = analysis[0] if isinstance(analysis, list) else analysis
    return analysis["flops"] + analysis.get("transcendentals", 0), analysis["bytes accessed"]


@pytest.mark.parametrize(("model", "size"), [("mlp", 100), ("paper-mnist", 20)])
def test_candidates_and_forward_passes_as_xla_counts_them(model, size):
    network = create(model, (28, 28, 1), 10)
    batch = {"image": jnp.zeros((size, 28, 28, 1)), "label": jnp.zeros(size, int)}
    loss, params = loss_of(network), network.init(jax.random.key(0), batch["image"])
    names = [jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(params)]
    counted = {"forward": (count_work(loss, params, batch), xla(loss, params, batch))}
    for i, name in enumerate(names):
        if "kernel" not in name or name[2:7] in ("conv2", "conv3", "conv4"):
            continue
        program = column_program(loss, params, batch, i)
        o, leaf = jnp.int32(0), jax.tree.leaves(params)[i]
        inside = program.view(params, batch, o), leaf[..., 0]
        given = *inside, program.preactivation(*inside)
        counted[name] = count_work(program.loss, *given), xla(program.loss, *given)
    for name, (ours, (flops, moved)) in counted.items():
        assert 0.5 < ours.flops / flops < 2, name
        # Of small programs XLA leaves some of what is read out.
        assert moved < 1e4 * size / 20 or 0.3 < ours.bytes / moved < 2, name


def test_random_numbers_factors_and_keys_are_counted():
    def function(key, x):
        noise = jax.random.normal(key, (4, 4))
        return jnp.linalg.cholesky(x @ x.T + noise) + jnp.sort(x) + jnp.fft.fft(x).real

    counted = count_work(function, jax.eval_shape(jax.random.key, 0), array(4, 4))
    assert counted.flops > counted.products + 16 * 60
    assert np.isfinite(counted.bytes) and counted.bytes > 0
