"""Flax Linen modules as pure functions."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from rso_jax.errors import UserError
from rso_jax.networks.functional import (
    Logits,
    LossOfLogits,
    Network,
    loss_of,
    name_logits,
    read_out,
)
from rso_jax.networks.losses import cross_entropy
from rso_jax.networks.readouts import Readout
from rso_jax.networks.statistics import calibrated, kept_in_shape

PyTree = Any

_NO_STATE = ("params", "intermediates", "perturbations")
"""Collections that a call only reads or only writes; without perturbations there are none."""


def linen_network(
    module: nn.Module,
    *,
    searching: Mapping[str, Any] | None = None,
    evaluating: Mapping[str, Any] | None = None,
    state: Mapping[str, PyTree] | None = None,
    rngs: Mapping[str, Array] | None = None,
    readout: Readout | None = None,
) -> Network:
    """A Flax Linen module as pure functions.

    Args:
        module: maps inputs [examples, ...] to logits; or to a tuple or a mapping of those of
            several layers in its order, its own last.
        searching: keyword arguments of its call while searching; ``{"train": True}``, say, where
            batch norm shall use the statistics of the batch. Without, it is called as its
            defaults say: most modules then use stored statistics.
        evaluating: the same for evaluation, ``{"train": False}``.
        state: collections besides ``params``, ``{"batch_stats": ...}``, of a network trained
            before; those that ``module.init`` gives by default. Every call begins with them, and
            what it changes is dropped. Those whose shape follows the number of examples begin
            anew for each batch.
        rngs: keys by stream, ``{"dropout": key}``, for modules that draw numbers when called.
            They are the same for every call, so that candidates are scored with one mask.
        readout: which of several logits an evaluation takes, one of ``rso_jax.networks.readouts``
            or any function of logits by name; the last if not given.

    Returns:
        A ``Network``. Its statistics are the collections by name; see ``calibrate``.

    Raises:
        UserError: something that is no Linen module. The functions raise one where the module does
            not take the keyword arguments, draws numbers without ``rngs``, or changes
            ``batch_stats`` while evaluating.
    """
    _check_module(module)
    train = dict(searching or {})
    begin = _given_state(state) if state is not None else _fresh_state(module, train)
    return _network(module, train, dict(evaluating or {}), rngs, begin, readout)


def from_linen(
    module: nn.Module,
    key: Array,
    inputs: Array,
    *,
    loss: LossOfLogits = cross_entropy,
    searching: Mapping[str, Any] | None = None,
    state: Mapping[str, PyTree] | None = None,
    rngs: Mapping[str, Array] | None = None,
) -> tuple[PyTree, Callable[[PyTree, Mapping[str, Array]], Any]]:
    """Fresh parameters of a Linen module and the loss that a search takes.

    Args:
        module: maps inputs [examples, ...] to logits; see ``linen_network``.
        key: PRNG key of the initial parameters and state.
        inputs: examples, for their shape.
        loss: ``(logits, labels) -> scalar``; of each layer that has logits.
        searching: keyword arguments of its call; see ``linen_network``, as for the next two.
        state: collections besides ``params``; those of ``module.init(key, inputs)`` by default.
        rngs: keys by stream.

    Returns:
        ``(params, loss_fn)``; the batch is ``{"image": [n, ...], "label": [n]}``.

    Raises:
        UserError: see ``linen_network``.
    """
    _check_module(module)
    train = dict(searching or {})
    with _clear_errors(module, train, "searching", inputs):
        params, first = _divided(_initialize(module, key, inputs, train))
    begin = _given_state(state) if state is not None else _fresh_state(module, train, key, first)
    return params, loss_of(_network(module, train, {}, rngs, begin), loss)


Collections = dict[str, PyTree]
Begin = Callable[[Array], tuple[Collections, PyTree]]
"""From inputs to the state before a call, and which of its leaves are of these examples alone."""


def _network(
    module: nn.Module,
    train: Mapping[str, Any],
    test: Mapping[str, Any],
    rngs: Mapping[str, Array] | None,
    begin: Begin,
    readout: Readout | None = None,
) -> Network:
    keys = dict(rngs) if rngs is not None else None

    def init(key: Array, inputs: Array) -> PyTree:
        with _clear_errors(module, train, "searching", inputs):
            return _divided(_initialize(module, key, inputs, train))[0]

    def call(params: PyTree, before: Collections, inputs: Array) -> tuple[Any, Collections]:
        variables, mutable = {"params": params, **before}, flax.core.DenyList(_NO_STATE)
        result: Any = module.apply(variables, inputs, rngs=keys, mutable=mutable, **train)
        return result

    def logits(params: PyTree, inputs: Array) -> Logits:
        with _clear_errors(module, train, "searching", inputs):
            found: Logits = name_logits(call(params, begin(inputs)[0], inputs)[0])
            return found

    def calibrate(params: PyTree, inputs: Array) -> Collections:
        def update(now: Collections) -> Collections:
            return kept_in_shape(now, call(params, now, inputs)[1])

        with _clear_errors(module, train, "searching", inputs):
            before, of_batch = begin(inputs)
            after = calibrated(update, jax.tree.map(_as_array, before))
        return jax.tree.map(lambda a, own: None if own else a, after, of_batch)

    def evaluate(params: PyTree, statistics: Collections, inputs: Array) -> Array:
        with _clear_errors(module, test, "evaluating", inputs):
            before, of_batch = begin(inputs)
            merged = jax.tree.map(
                lambda own, fresh, known: fresh if own else known, of_batch, before, statistics
            )
            variables = {"params": params, **merged}
            mutable = flax.core.DenyList((*_NO_STATE, "batch_stats"))
            result: Any = module.apply(variables, inputs, rngs=keys, mutable=mutable, **test)
            return read_out(readout, result[0])

    return Network(init, logits, calibrate, evaluate)


def _given_state(state: Mapping[str, PyTree]) -> Begin:
    collections = dict(state)
    of_batch = jax.tree.map(lambda _: False, collections)
    return lambda inputs: (collections, of_batch)


def _initialize(
    module: nn.Module, key: Array, inputs: Array, arguments: Mapping[str, Any]
) -> Mapping[str, PyTree]:
    """Variables of a module; of the first example only its shape counts, unless they follow it."""
    one = jax.ShapeDtypeStruct((1, *inputs.shape[1:]), inputs.dtype)
    try:
        found: Mapping[str, PyTree] = module.lazy_init(key, one, **arguments)
    except flax.errors.LazyInitError:
        found = module.init(key, inputs[:1], **arguments)
    return found


def _fresh_state(
    module: nn.Module,
    arguments: Mapping[str, Any],
    key: Array | None = None,
    first: Collections | None = None,
) -> Begin:
    """The state that the module begins with, as constants; ``first`` if that is known.

    What has another shape for another number of examples is made anew, by ``key``, for each.
    """

    @partial(jax.jit, static_argnames=("shape", "dtype"))
    def make(key: Array, shape: tuple[int, ...], dtype: Any) -> Collections:
        return _divided(module.init(key, jnp.zeros(shape, dtype), **arguments))[1]

    def begin(inputs: Array) -> tuple[Collections, PyTree]:
        with jax.ensure_compile_time_eval():
            made_by = jax.random.key(0) if key is None else key
            examples, *rest = inputs.shape

            def shapes(examples: int) -> Collections:
                of = partial(make, dtype=inputs.dtype, shape=(examples, *rest))
                found: Collections = jax.eval_shape(of, made_by)
                return found

            if not jax.tree.leaves(shapes(1)):  # most modules: nothing to compile
                return shapes(1), shapes(1)
            of_batch = jax.tree.map(
                lambda a, b: a.shape != b.shape, shapes(examples), shapes(examples + 1)
            )
            state = make(made_by, shape=inputs.shape, dtype=inputs.dtype)
            if first is not None:
                state = jax.tree.map(lambda own, a, b: a if own else b, of_batch, state, first)
            return state, of_batch

    return begin


def _divided(variables: Mapping[str, PyTree]) -> tuple[PyTree, Collections]:
    """Parameters, and the collections that are state."""
    state = {name: tree for name, tree in variables.items() if name not in _NO_STATE}
    return variables.get("params", {}), state


def _check_module(module: Any) -> None:
    if not isinstance(module, nn.Module):
        kind = f"the class {module.__name__}" if isinstance(module, type) else type(module).__name__
        raise UserError(
            f"{kind} is no flax.linen module; pass an instance of one, to linen_network or "
            "from_linen (of flax.nnx: nnx_network, from_nnx)"
        )


@contextmanager
def _clear_errors(
    module: nn.Module, arguments: Mapping[str, Any], name: str, inputs: Array
) -> Iterator[None]:
    """Say in one line what a call of the module lacks; ``name`` is the setting it comes from."""
    kind = type(module).__name__
    try:
        inspect.signature(type(module).__call__).bind(module, inputs, **arguments)
    except TypeError as error:
        raise UserError(
            f"{kind} cannot be called with the inputs and {name}={dict(arguments)}: {error}"
        ) from None
    try:
        yield
    except flax.errors.InvalidRngError as error:
        raise UserError(
            f"{kind}, called with {name}={dict(arguments)}, draws random numbers "
            f"({_first_part(error)}): pass rngs={{'dropout': key}} (the same mask in every call) "
            f"or arguments in {name} that switch it off"
        ) from error
    except flax.errors.ModifyScopeVariableError as error:
        raise UserError(
            f"{kind}, called with {name}={dict(arguments)}, changes its statistics "
            f"({_first_part(error)}): pass arguments in {name} that make it use stored ones, for "
            "instance {'train': False}"
        ) from error


def _first_part(error: Exception) -> str:
    """Flax's message without the address of its manual."""
    return str(error).split(" (https://")[0].rstrip(".")


def _as_array(leaf: Any) -> Any:
    return leaf if isinstance(leaf, Array) else jnp.asarray(leaf)
