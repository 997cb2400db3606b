"""Leaves: the arrays of a parameter pytree, their layers, and where the loss meets them."""

import math
from collections import defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from rso_jax.errors import UserError

PyTree = Any
LossFn = Callable[[PyTree, PyTree], Array]


class Leaf(NamedTuple):
    """One searched array of the parameters."""

    path: str
    """Keys from the root, joined by ``/``: ``conv1/kernel``."""
    layer: str
    """Path of the layer it belongs to: the arrays that hang from the same node."""
    position: int
    """Its place among all leaves of the flattened parameters."""
    shape: tuple[int, ...]
    dtype: Any
    depth: int
    """Rank of its layer by the layer's first use in the loss, 0 the earliest."""

    @property
    def visits(self) -> int:
        """Weights in the leaf: a sweep visits each once."""
        return math.prod(self.shape)


class Stretch(NamedTuple):
    """Visits in a row that belong together: part of a column, or some whole columns.

    A sweep may be interrupted between stretches without changing a bit.
    """

    columns: int
    weights: int
    """Of each of these columns."""

    def cuts(self, leaf: Leaf) -> np.ndarray:
        """Visits of the leaf before which a stretch begins, ascending, and their number."""
        height = math.prod(leaf.shape[:-1])
        begins = np.arange(0, leaf.visits, self.columns * height)[:, None]
        within = np.arange(0, height, self.weights)
        return np.append((begins + within).ravel(), leaf.visits)

    def in_a_column(self, leaf: Leaf) -> int:
        """Stretches of a column, 1 where a stretch has several."""
        return math.ceil(math.prod(leaf.shape[:-1]) / self.weights)


def stretch_of_column(leaf: Leaf, most: int) -> Stretch:
    """At most so many weights of a column, such that columns are divided evenly."""
    return Stretch(1, _evenly(math.prod(leaf.shape[:-1]), most))


def stretch_of_leaf(leaf: Leaf, most: int) -> Stretch:
    """At most so many weights: part of a column or, where columns are shorter, several."""
    height, columns = math.prod(leaf.shape[:-1]), leaf.shape[-1] if leaf.shape else 1
    if most < 2 * height:
        return stretch_of_column(leaf, most)
    return Stretch(_evenly(columns, most // height), height)


def _evenly(count: int, most: int) -> int:
    return math.ceil(count / math.ceil(count / most))


def path_name(path: tuple[Any, ...]) -> str:
    """Keys of a JAX key path joined by ``/``."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def named_leaves(tree: PyTree) -> dict[str, Any]:
    """The leaves of a pytree by path, in flattening order.

    Raises:
        UserError: two leaves whose keys spell the same path.
    """
    named: dict[str, Any] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        name = path_name(path)
        if name in named:
            raise UserError(f"two arrays are both named {name!r}; rename one of the keys")
        named[name] = leaf
    return named


def searchable(array: Any) -> bool:
    """Whether a leaf holds weights: real floating point, and not empty."""
    return jnp.issubdtype(jnp.result_type(array), jnp.floating) and math.prod(np.shape(array)) > 0


def chosen(what: str, which: Callable[[str], bool] | PyTree | None, tree: PyTree) -> list[bool]:
    """Which leaves of a pytree are meant, in flattening order.

    Args:
        what: name of the setting, for messages.
        which: a predicate on paths (``"conv1/kernel"``), or a pytree of booleans, each for all
            leaves below its place; all leaves, if None.
        tree: the pytree.

    Raises:
        UserError: another structure, or values that are not booleans.
    """
    named = named_leaves(tree)
    if which is None:
        return [True] * len(named)
    if callable(which):
        answers = {path: which(path) for path in named}
    else:
        try:
            spread = jax.tree.leaves(jax.tree.broadcast(which, tree))
        except ValueError:
            raise UserError(
                f"{what} has the structure {jax.tree.structure(which)}, which does not fit "
                f"{jax.tree.structure(tree)}; pass a boolean for each leaf, or a function of its "
                f"path (paths are {', '.join(named)})"
            ) from None
        answers = dict(zip(named, spread, strict=True))
    for path, answer in answers.items():
        if not isinstance(answer, bool | np.bool_):
            raise UserError(f"{what} says {answer!r} of {path or 'the array'}; say True or False")
    return [bool(answer) for answer in answers.values()]


def searched_leaves(
    params: PyTree, searched: Callable[[str], bool] | PyTree | None = None
) -> list[bool]:
    """Which leaves of the parameters a search changes, in flattening order.

    Args:
        params: pytree of arrays or ``jax.ShapeDtypeStruct``.
        searched: which may be, as ``chosen`` takes it; those of floating point are.

    Raises:
        UserError: complex numbers among them, or nothing.
    """
    named = named_leaves(params)
    wanted = chosen("searched", searched, params)
    for (path, array), want in zip(named.items(), wanted, strict=True):
        if want and jnp.issubdtype(jnp.result_type(array), jnp.complexfloating):
            raise UserError(f"{path} is complex; pass its real and imaginary parts instead")
    found = [want and searchable(a) for a, want in zip(named.values(), wanted, strict=True)]
    if not any(map(searchable, named.values())):
        raise UserError("params holds no floating-point array, so there is nothing to search")
    if not any(found):
        raise UserError(
            "searched leaves out every floating-point array, so there is nothing to search; "
            f"arrays are {', '.join(named)}"
        )
    return found


def describe_leaves(
    loss_fn: LossFn,
    params: PyTree,
    batch: PyTree,
    searched: Callable[[str], bool] | PyTree | None = None,
) -> tuple[Leaf, ...]:
    """The searched leaves of ``params``, their layers ranked by first use in the loss.

    A layer is the node that arrays hang from (``conv1`` of ``conv1/kernel``). Arrays at the
    root, or a tree with a single such node, are layers of their own. The rank comes from
    tracing the loss: the first operation where a parameter meets something that depends on
    the batch. A pytree flattens in the order of its keys' names, which says nothing about
    the network; the trace does.

    Args:
        loss_fn: ``loss_fn(params, batch)``, a scalar.
        params: pytree of arrays.
        batch: one mini-batch, arrays or ``jax.ShapeDtypeStruct``.
        searched: which leaves are, as ``searched_leaves`` takes it.

    Raises:
        UserError: nothing to search.
    """
    named = named_leaves(params)
    wanted = searched_leaves(params, searched)
    traced = jax.make_jaxpr(loss_fn)(params, batch)
    uses = _first_uses(traced, len(named))
    layers = _layers(list(named))

    first_use: dict[str, int] = {}
    for layer, use in zip(layers, uses, strict=True):
        first_use[layer] = min(use, first_use.get(layer, use))
    rank = {layer: i for i, layer in enumerate(sorted(first_use, key=lambda k: first_use[k]))}

    described = zip(named.items(), layers, wanted, strict=True)
    return tuple(
        Leaf(path, layer, i, np.shape(array), jnp.result_type(array), rank[layer])
        for i, ((path, array), layer, is_searched) in enumerate(described)
        if is_searched
    )


def _layers(paths: list[str]) -> list[str]:
    parents = [path.rpartition("/")[0] for path in paths]
    if len(set(parents)) == 1:
        return paths
    return [parent or path for parent, path in zip(parents, paths, strict=True)]


def _first_uses(traced: ClosedJaxpr, parameters: int) -> list[int]:
    """For each of the first ``parameters`` inputs, when it first meets batch-dependent data."""
    never = 2**62
    first = [never] * parameters
    clock = 0

    class Value(NamedTuple):
        batch: bool  # depends on the batch
        waiting: frozenset[int]  # parameters it depends on that have not met the batch yet

    constant = Value(False, frozenset())

    def walk(jaxpr: Jaxpr, inputs: list[Value]) -> None:
        nonlocal clock
        values: dict[Any, Value] = defaultdict(lambda: constant)
        values.update(zip(jaxpr.invars, inputs, strict=True))
        for eqn in jaxpr.eqns:
            operands = [constant if isinstance(v, Literal) else values[v] for v in eqn.invars]
            inner = _called(eqn)
            if inner is not None and len(inner.invars) == len(operands):
                walk(inner, operands)
            clock += 1
            meets_batch = any(v.batch for v in operands)
            waiting = frozenset().union(*(v.waiting for v in operands))
            if meets_batch:
                for i in waiting:
                    first[i] = min(first[i], clock)
                waiting = frozenset()
            for var in eqn.outvars:
                values[var] = Value(meets_batch, waiting)

    inputs = [
        Value(False, frozenset([i])) if i < parameters else Value(True, frozenset())
        for i in range(len(traced.jaxpr.invars))
    ]
    walk(traced.jaxpr, inputs)
    return first


def _called(eqn: Any) -> Jaxpr | None:
    """The jaxpr that an equation calls with its own operands, if it is of that kind."""
    for name in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        inner = eqn.params.get(name)
        if isinstance(inner, ClosedJaxpr):
            return inner.jaxpr
        if isinstance(inner, Jaxpr):
            return inner
    return None
