"""Black boxes: losses that call ordinary Python, such as a simulator or a device on a cable.

A host function of NumPy arrays becomes a function of JAX that any loss may call. It is called for
one candidate at a time, or for all that are scored side by side at once where it takes a batch.
What goes wrong in a call costs a candidate and not the run: its result is NaN, so that it is never
taken, and is counted.
"""

import logging
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray

from rso_jax.arguments import check_callable
from rso_jax.arrays import check_arrays, kind_of
from rso_jax.black_boxes.time_limits import TimedOut, Worker, in_a_line, in_process, in_thread
from rso_jax.errors import UserError, whole_number

PyTree = Any
ResultShape = tuple[int, ...] | Callable[..., tuple[int, ...]]
"""Shape of a result, or that as a function of the arguments, of which shapes are known."""

_LOG = logging.getLogger(__name__)


class Failures(NamedTuple):
    """What became of a black box's candidates so far."""

    calls: int = 0
    """Of the host function."""
    candidates: int = 0
    """Results asked for: of a batch, each of its candidates."""
    crashes: int = 0
    """Candidates lost to an exception, or to the end of the process that it was called in."""
    timeouts: int = 0
    """Candidates lost to the time limit."""
    not_finite: int = 0
    """Candidates with a result that held a NaN or an infinity."""
    first_error: str | None = None
    """Of the first crash or timeout, in one line."""


def black_box(
    simulate: Callable[..., Any],
    *,
    result: ResultShape = (),
    dtype: Any = jnp.float32,
    batched: bool = False,
    time_limit: float | None = None,
    process: bool = False,
    give_up_after: int = 20,
) -> "BlackBox":
    """A host function as one of JAX, for use in a loss.

    ::

        run = black_box(simulate)

        def loss(params, batch):
            return run(params, batch["wind"])

    An exception, a result that is not finite and a call beyond the time limit make a result of NaN:
    a candidate that is not taken, by a search; in slopes and SPSA an evaluation that tells nothing;
    in evolution strategies an infinite loss. The first is logged, all are counted in ``failures``.
    A result of another shape or type is an error of the host function, and ends the run.

    What is computed with equal arguments may be computed once: JAX takes the function for pure.
    One that is not, as of a device with noise, should be given a key or a counter besides.

    Args:
        simulate: a function of pytrees of NumPy arrays, those that the loss passes to the black
            box; a PRNG key arrives as its data, from which ``np.random.default_rng`` can start.
            Arrays are its own to write into, except those that a batch shares. It is called by
            one thread at a time, which need not be the main one.
        result: shape of what it returns, of one candidate; or a function of the arguments that
            returns it: ``lambda params, x: (len(x),)`` is one number for each example.
        dtype: floating-point type of the result.
        batched: it takes all candidates that are scored side by side in one call. Then all
            arguments have a leading axis of candidates, and so has the result. Where such a call
            raises an exception it is repeated with each half of the candidates, so that only those
            that fail by themselves are lost.
        time_limit: seconds that a call may take; of a batch, all of it. The limit ends the wait and
            not the work, unless the call is made in a process: Python cannot stop a thread, so that
            a call which hangs goes on beside the next ones, to the end of the program if need be.
        process: make calls in a process of their own, which is killed when a call takes too long,
            and replaced. One that ends by itself is a crash like any other. A Python is started at
            the first call and after each such end, which is no part of the limit. ``simulate``
            must be a function that can be pickled, and a script needs its ``if __name__ ==
            "__main__":``; what ``simulate`` remembers is remembered there.
        give_up_after: so many candidates in a row lost to crashes or the time limit end the run
            with an error.

    Returns:
        The black box, to be called in a loss with arrays or pytrees of them.

    Raises:
        UserError: an argument that is something else.
    """
    check_callable("simulate", simulate)
    if not callable(result):
        result = _checked_shape(simulate, result)
    if time_limit is not None and not (_is_number(time_limit) and 0 < time_limit < math.inf):
        raise UserError(f"time_limit is {time_limit!r}; pass seconds above 0, or None")
    whole_number("give_up_after", give_up_after, 1)
    return BlackBox(
        simulate=simulate,
        result=result,
        dtype=_checked_type(dtype),
        batched=bool(batched),
        worker=_worker(simulate, time_limit, process),
        give_up_after=give_up_after,
    )


class BlackBox:
    """A host function that a loss may call; made by ``black_box``."""

    def __init__(
        self,
        *,
        simulate: Callable[..., Any],
        result: ResultShape,
        dtype: np.dtype[Any],
        batched: bool,
        worker: Worker,
        give_up_after: int,
    ) -> None:
        self._simulate, self._result, self._dtype = simulate, result, dtype
        self._batched, self._worker, self._give_up_after = batched, worker, give_up_after
        self._lock = threading.RLock()
        self._failures, self._lost_in_a_row = Failures(), 0

    @property
    def failures(self) -> Failures:
        """What became of the candidates so far; of a jitted function that still runs, some."""
        return self._failures

    def __call__(self, *arguments: PyTree) -> Array:
        """The result, an array of JAX.

        Args:
            *arguments: arrays, or pytrees of them.

        Raises:
            UserError: arguments that are no arrays, or a shape of the result that is none.
        """
        for number, argument in enumerate(arguments):
            check_arrays(f"argument {number} of {_name(self._simulate)}", argument)
        shape = self._result
        if callable(shape):
            shape = _checked_shape(self._simulate, shape(*arguments))
        arrays, treedef = jax.tree.flatten(arguments)
        arrays = [_without_key(a) for a in arrays]
        host = _Host(self, treedef, tuple(jnp.ndim(a) for a in arrays), shape)
        found: Array = jax.pure_callback(
            host,
            jax.ShapeDtypeStruct(shape, self._dtype),
            *arrays,
            vmap_method="expand_dims" if self._batched else "sequential",
        )
        return found

    def _answer(self, arguments: PyTree, count: int | None, shape: tuple[int, ...]) -> Any:
        """The result of a call; of a batch of so many candidates, theirs.

        Raises:
            UserError: a result of another shape or type, or too many candidates lost in a row.
        """
        with self._lock:
            self._count(calls=1)
            found, error = self._call(arguments)
            if error is None:
                found = self._check(found, shape if count is None else (count, *shape))
                self._lost_in_a_row = 0
                finite = np.isfinite(found).reshape(1 if count is None else count, -1).all(1)
                self._count(candidates=finite.size, not_finite=int((~finite).sum()))
                return found
            late = isinstance(error, TimedOut)
            if count is None or count == 1 or late:
                kind = "timeouts" if late else "crashes"
                return self._lose(kind, count, shape, in_a_line(error))
            return self._answer_by_halves(arguments, count, shape)

    def _call(self, arguments: PyTree) -> tuple[Any, Exception | None]:
        """What the host function returned, or what it raised."""
        try:
            return self._worker(arguments), None
        except Exception as error:  # whatever it raises
            return None, error

    def _answer_by_halves(self, arguments: PyTree, count: int, shape: tuple[int, ...]) -> Any:
        half = count // 2
        first = jax.tree.map(lambda a: a[:half], arguments)
        rest = jax.tree.map(lambda a: a[half:], arguments)
        return np.concatenate(
            [self._answer(first, half, shape), self._answer(rest, count - half, shape)]
        )

    def _lose(self, kind: str, count: int | None, shape: tuple[int, ...], why: str) -> Any:
        """The result of candidates lost.

        Raises:
            UserError: too many in a row.
        """
        lost = 1 if count is None else count
        name = _name(self._simulate)
        if self._failures.first_error is None:
            self._failures = self._failures._replace(first_error=why)
            _LOG.warning(
                "%s failed, and what it was called for is not taken (%s); further failures are "
                "counted in .failures of the black box",
                name,
                why,
            )
        self._count(**{"candidates": lost, kind: lost})
        self._lost_in_a_row += lost
        if self._lost_in_a_row >= self._give_up_after:
            in_a_row, self._lost_in_a_row = self._lost_in_a_row, 0
            raise UserError(
                f"{name} failed for {in_a_row} candidates in a row, the last time with: {why}; "
                "mend it, or pass a larger give_up_after"
            )
        return np.full(shape if count is None else (count, *shape), np.nan, self._dtype)

    def _check(self, found: Any, shape: tuple[int, ...]) -> NDArray[Any]:
        """A result as an array of the type it should have.

        Raises:
            UserError: it has another shape, or holds no real numbers.
        """
        name = _name(self._simulate)
        try:
            array = np.asarray(found)
        except ValueError:  # rows of unequal length
            array = np.asarray(None)
        if array.dtype.kind not in "fiub" and not jnp.issubdtype(array.dtype, jnp.floating):
            raise UserError(f"{name} returned {kind_of(found)}; return real numbers")
        if array.shape != shape:
            axis = "; the first axis is that of candidates" if self._batched else ""
            raise UserError(
                f"{name} returned an array of shape {array.shape}; it must be {shape}, as result= "
                f"says{axis}"
            )
        return array.astype(self._dtype)

    def _count(self, **more: int) -> None:
        added = {name: getattr(self._failures, name) + number for name, number in more.items()}
        self._failures = self._failures._replace(**added)


@dataclass(frozen=True)
class _Host:
    """What JAX calls; equal where box and arguments are of the same kind."""

    box: BlackBox
    treedef: Any
    ranks: tuple[int, ...]
    """Of each argument without axes of candidates."""
    shape: tuple[int, ...]

    def __call__(self, *given: Any) -> Any:
        """The results, with as many axes of candidates as there are ``vmap`` around it."""
        arrays = [np.array(a) for a in given]
        if not self.box._batched:
            return self.box._answer(jax.tree.unflatten(self.treedef, arrays), None, self.shape)
        own = [a.shape[a.ndim - rank :] for a, rank in zip(arrays, self.ranks, strict=True)]
        axes = [a.shape[: a.ndim - rank] for a, rank in zip(arrays, self.ranks, strict=True)]
        lead = np.broadcast_shapes(*axes)
        count = math.prod(lead)
        # Of an array that all share the view is read-only; of its own one stays as it is.
        arrays = [
            (a if shared == lead else np.broadcast_to(a, (*lead, *rest))).reshape(count, *rest)
            for a, shared, rest in zip(arrays, axes, own, strict=True)
        ]
        arguments = jax.tree.unflatten(self.treedef, arrays)
        return self.box._answer(arguments, count, self.shape).reshape((*lead, *self.shape))


def _worker(simulate: Callable[..., Any], time_limit: float | None, process: bool) -> Worker:
    """How calls are made: here, or where they can be left.

    Raises:
        UserError: a function that a process cannot be told of.
    """
    if process:
        return in_process(simulate, time_limit)
    if time_limit is None:
        return lambda arguments: simulate(*arguments)
    return in_thread(simulate, time_limit)


def _without_key(array: Any) -> Any:
    is_key = jnp.issubdtype(jnp.result_type(array), jax.dtypes.prng_key)
    return jax.random.key_data(array) if is_key else array


def _checked_shape(simulate: Callable[..., Any], shape: Any) -> tuple[int, ...]:
    """A shape, of whole numbers.

    Raises:
        UserError: it is none.
    """
    sizes = shape if isinstance(shape, tuple | list) else None
    if sizes is None or not all(isinstance(n, int | np.integer) and n >= 0 for n in sizes):
        raise UserError(
            f"result of {_name(simulate)} is {shape!r}; pass the shape of what it returns, as () "
            "for one number, or a function of its arguments that returns the shape"
        )
    return tuple(int(n) for n in sizes)


def _checked_type(dtype: Any) -> np.dtype[Any]:
    """A floating-point type that JAX holds.

    Raises:
        UserError: another one, in which a candidate cannot be lost.
    """
    try:
        known = np.dtype(dtype)
    except TypeError:
        raise UserError(f"dtype is {kind_of(dtype)}; pass a floating-point type") from None
    if not jnp.issubdtype(known, jnp.floating):
        raise UserError(f"dtype is {known}; a result must be floating-point, to be NaN if it fails")
    if jax.dtypes.canonicalize_dtype(known) != known:
        raise UserError(f"dtype is {known}, which JAX holds only with jax_enable_x64; use float32")
    return known


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def _name(simulate: Callable[..., Any]) -> str:
    return getattr(simulate, "__name__", "simulate")
