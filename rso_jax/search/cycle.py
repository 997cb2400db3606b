"""``rso``: a search as three pure functions over whole cycles, sweeps, or some visits.

Tripathi & Singh, "RSO: A Gradient Free Sampling Based Approach For Training Deep Neural
Networks", arXiv 2005.05955, Algorithm 1.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.sharding import Mesh

from rso_jax.errors import UserError
from rso_jax.incremental import ColumnProgram
from rso_jax.mesh import CANDIDATE, DATA, along, check_candidates, check_divides, placed, size_of
from rso_jax.search import minibatches as minibatch_pieces
from rso_jax.search.acceptance import Acceptance, greedy
from rso_jax.search.block import visit_blocks
from rso_jax.search.candidates import CandidateAxis, check_in_turn
from rso_jax.search.cost import SweepCost, cost_of_sweep
from rso_jax.search.evaluation import Evaluation, Plan, plan_sweep, prefixes_of, stretch_of
from rso_jax.search.interface import CycleInfo, Search, State, SweepInfo
from rso_jax.search.joint import Block, check_block
from rso_jax.search.leaves import Leaf, LossFn, describe_leaves, named_leaves, searchable
from rso_jax.search.minibatches import MiniBatches, stack_shape
from rso_jax.search.order import Order, last_to_first
from rso_jax.search.proposals import Proposal, normal
from rso_jax.search.sequential import visit_weights
from rso_jax.search.sigma import he, sigma_tree
from rso_jax.search.sweep import Prepared, Rule, Visits, drifted, prepare_sweep

PyTree = Any


def rso(
    loss_fn: LossFn,
    *,
    sigma: Callable[[PyTree], PyTree] | PyTree = he,
    schedule: optax.Schedule | None = None,
    weight_decay: float = 0.0,
    proposal: Proposal = normal,
    acceptance: Acceptance = greedy,
    order: Order = last_to_first,
    minibatches: MiniBatches = minibatch_pieces.cycled,
    block: Block | Callable[[int], Block | None] | None = None,
    evaluation: Evaluation = "column",
    candidate_axis: CandidateAxis | None = None,
    memory_budget: int = 8 * 2**30,
    mesh: Mesh | None = None,
    consume: bool = False,
) -> Search:
    """Random search optimisation of any JAX loss, one weight at a time.

    ::

        search = rso(loss_fn, **presets.authors_code(cycles=5))
        state = search.init(key, params)
        for cycle in range(5):
            state, info = search.step(jax.random.fold_in(key, cycle), state, batches)

    Each leaf is compiled once; nothing is compiled again for another key, cycle or part of a
    sweep. A loss that is NaN or infinite is never accepted, a tie keeps the incumbent, and
    the incumbent is scored on the same mini-batch as its candidates.

    Args:
        loss_fn: ``loss_fn(params, batch) -> scalar``, any JAX function of any pytree.
            Integer leaves are passed through and not searched.
        sigma: scale of the perturbations: a function of the initial parameters, or a pytree of
            their structure, a scalar or an array of the leaf's shape for each leaf.
        schedule: factor on sigma as an optax schedule of the cycle, counted from 0; constant
            1 by default.
        weight_decay: share by which a weight is shrunk before it is decided.
        proposal: draws the perturbations of a weight.
        acceptance: picks among the incumbent and its candidates.
        order: puts the leaves in the order of their sweeps.
        minibatches: how the mini-batch of a visit is found.
        block: what is decided at once, if it is not single weights in turn; or that as a function
            of the cycle, counted from 0.
        evaluation: ``"column"`` computes once what a column cannot change; ``"full"`` runs the
            whole loss for every candidate, the reference; ``"cached"`` runs it from the leaf on.
        candidate_axis: ``"vmap"`` scores all candidates of a visit at once, ``"map"`` one at a
            time, without any ``vmap``: whatever the loss calls is called once for each candidate.
            Chosen by backend and size if not given; ``"map"`` for a loss with a
            ``jax.pure_callback`` that names no ``vmap_method``.
        memory_budget: bytes of intermediate results that a sweep may keep on a device; with
            less, it computes more of them again.
        mesh: devices that share the work, by ``rso_jax.mesh.make_mesh``; one if not given. What
            is decided is the same, up to the rounding of sums over a mini-batch.
        consume: let each step reuse the memory of the state it is given, which is then gone.

    Returns:
        A ``Search``.

    Raises:
        UserError: (a ValueError) from ``init`` and ``step``, for parameters, batches or a loss
            that cannot be searched; before anything is compiled.
    """
    if not 0.0 <= weight_decay < 1.0:
        raise UserError(f"weight_decay is {weight_decay}; it must be at least 0 and below 1")
    if candidate_axis == "map":
        check_in_turn(mesh)
    rule = Rule(proposal, acceptance, minibatches, weight_decay)
    scale_of = schedule or optax.constant_schedule(1.0)

    @cache
    def examine(treedef: Any, shapes: tuple[Any, ...]) -> dict[str, Leaf]:
        params, batches = jax.tree.unflatten(treedef, shapes)
        batch = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), batches)
        return {leaf.path: leaf for leaf in describe_leaves(loss_fn, params, batch)}

    @cache
    def planned(
        treedef: Any, shapes: tuple[Any, ...], leaf: Leaf, block: Block | None
    ) -> tuple[ColumnProgram, Plan]:
        params, batches = jax.tree.unflatten(treedef, shapes)
        return plan_sweep(
            loss_fn,
            params,
            batches,
            leaf,
            rule=rule,
            block=block,
            evaluation=evaluation,
            candidate_axis=candidate_axis,
            memory_budget=memory_budget,
            mesh=mesh,
        )

    def signature(params: PyTree, batches: PyTree) -> tuple[Any, tuple[Any, ...]]:
        arrays, treedef = jax.tree.flatten((params, batches))
        return treedef, tuple(jax.ShapeDtypeStruct(np.shape(a), jnp.result_type(a)) for a in arrays)

    def examined(params: PyTree, batches: PyTree) -> dict[str, Leaf]:
        check_divides(mesh, stack_shape(batches)[1])
        return examine(*signature(params, batches))

    def find(leaves: dict[str, Leaf], path: str) -> Leaf:
        if path not in leaves:
            raise UserError(f"no leaf {path!r} to search; there are: {', '.join(leaves)}")
        return leaves[path]

    def block_at(cycle: Array | int) -> Block | None:
        found = block(int(cycle)) if callable(block) else block
        return check_block(found) if found else None

    def sweep_key(key: Array, leaf: Leaf) -> Array:
        return jax.random.fold_in(key, leaf.position)

    def order_key(key: Array, params: PyTree) -> Array:
        return jax.random.fold_in(key, len(jax.tree.leaves(params)))

    @jax.jit
    def prepared_by(
        key: Array,
        numbers: Array,
        array: Array,
        drift: Array,
        sigma: Array,
        cycle: Array,
        batches: PyTree,
    ) -> Prepared:
        scaled = sigma * jnp.asarray(scale_of(cycle), sigma.dtype)
        of_sweep, of_cycle = (jax.random.fold_in(key, number) for number in numbers)
        drawn = prepare_sweep(rule, of_sweep, of_cycle, array, drift, scaled, cycle, batches)
        return along(mesh, drawn)._replace(batches=along(mesh, drawn.batches, None, DATA))

    @partial(jax.jit, static_argnames=("leaf", "block"))
    def kept_by(params: PyTree, batches: PyTree, leaf: Leaf, block: Block | None) -> PyTree:
        return prefixes_of(*planned(*signature(params, batches), leaf, block), params, batches)

    @partial(
        jax.jit,
        static_argnames=("treedef", "leaf", "block"),
        donate_argnames=("array", "drift") if consume else (),
    )
    def visited_by(
        key: Array,
        array: Array,
        drift: Array,
        others: list[Array],
        prepared: Prepared,
        start: Array,
        stop: Array,
        treedef: Any,
        leaf: Leaf,
        block: Block | None,
    ) -> tuple[Array, Array, Visits]:
        at = leaf.position
        params = jax.tree.unflatten(treedef, [*others[:at], array, *others[at:]])
        program, plan = planned(*signature(params, prepared.batches), leaf, block)
        rest = plan, sweep_key(key, leaf), params, at, prepared, start, stop
        if block:
            params, done = visit_blocks(program, loss_fn, rule, block, *rest)
        else:
            params, done = visit_weights(program, rule, *rest)
        after = jax.tree.leaves(params)[at]
        return along(mesh, (after, drifted(drift, array, after, start, stop), done))

    def init(key: Array, params: PyTree) -> State:
        del key  # today's pieces start without randomness
        named = named_leaves(params)
        if not any(searchable(array) for array in named.values()):
            raise UserError("params holds no floating-point array, so there is nothing to search")
        for path, array in named.items():
            if jnp.issubdtype(jnp.result_type(array), jnp.complexfloating):
                raise UserError(f"{path} is complex; pass its real and imaginary parts instead")
        params = jax.tree.map(jnp.array if consume else jnp.asarray, params)
        drift = jax.tree.map(jnp.zeros_like, params)
        state = State(params, sigma_tree(sigma, params), drift, jnp.zeros((), jnp.int32))
        return state if mesh is None else placed(mesh, state)

    def order_of(key: Array, state: State, batches: PyTree) -> list[Leaf]:
        leaves = examined(state.params, batches)
        if size_of(mesh, CANDIDATE) > 1:
            plans_of(*signature(state.params, batches), block_at(state.cycle))
        return order(order_key(key, state.params), list(leaves.values()))

    def prepare(key: Array, state: State, path: str, batches: PyTree) -> Prepared:
        leaf = find(examined(state.params, batches), path)
        # Of the keys that this sweep and all sweeps of the cycle draw with.
        numbers = np.array([leaf.position, len(jax.tree.leaves(state.params)) + 1], np.int32)
        trees = state.params, state.drift, state.sigma
        arrays = [jax.tree.leaves(tree)[leaf.position] for tree in trees]
        drawn = prepared_by(key, placed(mesh, numbers), *arrays, state.cycle, batches)
        block = block_at(state.cycle)
        return drawn._replace(prefixes=kept_by(state.params, drawn.batches, leaf, block))

    def visit(
        key: Array, state: State, path: str, prepared: Prepared, start: int, stop: int
    ) -> tuple[State, SweepInfo]:
        leaf = find(examined(state.params, prepared.batches), path)
        if not 0 <= start <= stop <= leaf.visits:
            raise UserError(f"visits {start} to {stop} of {path}, which has {leaf.visits} weights")
        block = block_at(state.cycle)
        _, plan = planned(*signature(state.params, prepared.batches), leaf, block)
        if block and not {start, stop} <= set(cuts(state, leaf).tolist()):
            raise UserError(f"visits {start} to {stop} of {path} cut a block; see search.cuts")
        params, treedef = jax.tree.flatten(state.params)
        drift = jax.tree.leaves(state.drift)
        at = leaf.position
        # Only what changes goes through the call, so that the rest is not copied.
        params[at], drift[at], done = visited_by(
            key,
            params[at],
            drift[at],
            [*params[:at], *params[at + 1 :]],
            prepared,
            *placed(mesh, (np.int32(start), np.int32(stop))),
            treedef=treedef,
            leaf=leaf,
            block=block,
        )
        state = state._replace(
            params=jax.tree.unflatten(treedef, params), drift=jax.tree.unflatten(treedef, drift)
        )
        _, batch_size = stack_shape(prepared.batches)
        info = SweepInfo(
            **done._asdict(),
            visits=stop - start,
            decisions=plan.decisions(leaf, start, stop),
            image_evaluations=plan.evaluations(leaf, start, stop) * batch_size,
        )
        return state, info

    def sweep(key: Array, state: State, path: str, batches: PyTree) -> tuple[State, SweepInfo]:
        prepared = prepare(key, state, path, batches)
        return visit(key, state, path, prepared, 0, prepared.candidates.shape[0])

    def step(key: Array, state: State, batches: PyTree) -> tuple[State, CycleInfo]:
        sweeps: dict[str, SweepInfo] = {}
        for leaf in order_of(key, state, batches):
            state, sweeps[leaf.path] = sweep(key, state, leaf.path, batches)
        infos = list(sweeps.values())
        return state._replace(cycle=state.cycle + 1), CycleInfo(
            sweeps=sweeps,
            accepted=sum((info.accepted for info in infos), start=jnp.zeros((), jnp.int32)),
            loss=infos[-1].loss,
            visits=sum(info.visits for info in infos),
            decisions=sum(info.decisions for info in infos),
            image_evaluations=sum(info.image_evaluations for info in infos),
        )

    @cache
    def plans_of(
        treedef: Any, shapes: tuple[Any, ...], block: Block | None
    ) -> list[tuple[Leaf, PyTree, ColumnProgram, Plan]]:
        """Of every leaf its sweep's mini-batches, program and plan; nothing is computed."""
        params, batches = jax.tree.unflatten(treedef, shapes)
        key, numbers = jax.eval_shape(jax.random.key, 0), np.zeros(2, np.int32)
        found = []
        for leaf in examined(params, batches).values():
            array, scalar = (jax.ShapeDtypeStruct(s, leaf.dtype) for s in (leaf.shape, ()))
            drawn = jax.eval_shape(
                prepared_by, key, numbers, array, array, scalar, 0, batches
            ).batches
            found.append((leaf, drawn, *planned(*signature(params, drawn), leaf, block)))
        check_candidates(mesh, max(plan.side_by_side for *_, plan in found))
        return found

    def cost(params: PyTree, batches: PyTree, cycle: int = 0) -> list[SweepCost]:
        params, batches = jax.tree.unflatten(*signature(params, batches))
        return [
            cost_of_sweep(loss_fn, program, plan, params, drawn, leaf, minibatches)
            for leaf, drawn, program, plan in plans_of(*signature(params, batches), block_at(cycle))
        ]

    def cuts(state: State, leaf: Leaf) -> np.ndarray:
        return stretch_of(leaf, block_at(state.cycle)).cuts(leaf)

    return Search(init, step, sweep, order_of, prepare, visit, cuts, cost)
