"""``rso``: a search as three pure functions over whole cycles, sweeps, or some visits.

Tripathi & Singh, "RSO: A Gradient Free Sampling Based Approach For Training Deep Neural
Networks", arXiv 2005.05955, Algorithm 1.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.sharding import Mesh

from rso_jax.arrays import check_arrays, weak_as
from rso_jax.candidates import CandidateAxis, check_in_turn
from rso_jax.errors import UserError
from rso_jax.incremental import Note
from rso_jax.mesh import CANDIDATE, DATA, along, placed, size_of
from rso_jax.search import minibatches as minibatch_pieces
from rso_jax.search.acceptance import Acceptance, greedy
from rso_jax.search.block import visit_blocks
from rso_jax.search.checks import (
    check_key,
    check_loss,
    check_order,
    check_settings,
    check_sigma,
    check_type,
    check_visits,
)
from rso_jax.search.columns import Axes, Outputs, as_stored, in_columns
from rso_jax.search.cost import SweepCost
from rso_jax.search.evaluation import Evaluation, prefixes_of, stretch_of
from rso_jax.search.interface import CycleInfo, Search, State, SweepInfo
from rso_jax.search.joint import Block, check_block
from rso_jax.search.leaves import Leaf, searched_leaves, with_columns
from rso_jax.search.minibatches import MiniBatches
from rso_jax.search.objective import UserLoss, Variables, objective_of, parted
from rso_jax.search.order import Order, last_to_first
from rso_jax.search.planning import Planner, Settings, Signature, signature_of
from rso_jax.search.proposals import Proposal, normal
from rso_jax.search.sequential import visit_weights
from rso_jax.search.sigma import he, he_scale, sigma_tree
from rso_jax.search.sweep import Prepared, Rule, Visits, drifted, prepare_sweep
from rso_jax.stacks import one_of_stack, stack_shape

PyTree = Any


def rso(
    loss_fn: UserLoss,
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
    searched: Callable[[str], bool] | PyTree | None = None,
    outputs: Outputs | None = None,
    shared: Callable[[str], bool] | PyTree | None = None,
    has_aux: bool = False,
    keyed: bool = False,
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
            Integer leaves and PRNG keys are passed through and not searched.
        sigma: scale of the perturbations: a function of the initial parameters, or a pytree of
            their structure, a scalar or an array of the leaf's shape for each leaf. ``he`` takes
            the fan-in of each leaf from the loss.
        schedule: factor on sigma as an optax schedule of the cycle, counted from 0; constant
            1 by default.
        weight_decay: share by which a weight is shrunk before it is decided; in bfloat16 and
            float16 by stochastic rounding, because a small share would be rounded away.
        proposal: draws the perturbations of a weight.
        acceptance: picks among the incumbent and its candidates.
        order: puts the leaves in the order of their sweeps; those it leaves out are not swept.
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
        searched: which leaves of the parameters are searched, by a predicate on their paths
            (``lambda path: "lora" in path``) or a pytree of booleans, each for all leaves below its
            place. The others are passed to the loss as they are.
        outputs: by the path of an array the axes that hold its outputs, if not those that its first
            product with data leaves over: ``{"mix/kernel": 0}``. Weights of one output are a
            column, and their number is the fan-in that ``he`` takes.
        shared: which arrays of the batches all examples share (class weights, a temperature),
            likewise. They have no axes [mini-batches, batch size] and go to the loss as they are;
            on a mesh every device has them whole.
        has_aux: ``loss_fn`` returns ``(loss, aux)``. ``CycleInfo.aux`` is that of the incumbent
            after the cycle on the first mini-batch, for one more forward pass a cycle.
        keyed: ``loss_fn(params, batch, key)`` gets a fresh key at every visit (or block), the same
            for all of its candidates; for dropout and other noise. Nothing computed at one visit
            holds at the next, so that a visit costs a forward pass more, and the incumbent is
            scored at every one.

    Returns:
        A ``Search``.

    Raises:
        UserError: (a ValueError) at once, of settings that are wrong by themselves; from ``init``
            and ``step``, for parameters, batches, pieces or a loss that cannot be searched;
            before anything is compiled.
    """
    check_loss(loss_fn, keyed)
    check_settings(
        weight_decay=weight_decay,
        evaluation=evaluation,
        candidate_axis=candidate_axis,
        memory_budget=memory_budget,
        mesh=mesh,
        schedule=optax.constant_schedule(1.0) if schedule is None else schedule,
        proposal=proposal,
        acceptance=acceptance,
        order=order,
    )
    check_type("minibatches", minibatches, MiniBatches, "rso_jax.search.minibatches holds")
    if candidate_axis == "map":
        check_in_turn(mesh)
    if block is not None and not callable(block):
        block = check_block(block)
    rule = Rule(proposal, acceptance, minibatches, float(weight_decay))
    scale_of = optax.constant_schedule(1.0) if schedule is None else schedule
    loss, aux_of = objective_of(loss_fn, has_aux=has_aux, keyed=keyed)
    planner = Planner(
        loss,
        Settings(
            rule=rule,
            schedule=scale_of,
            searched=searched,
            outputs=outputs,
            keyed=keyed,
            evaluation=evaluation,
            candidate_axis=candidate_axis,
            memory_budget=int(memory_budget),
            mesh=mesh,
        ),
    )

    def variables_of(params: PyTree, shared_arrays: PyTree, key: Array) -> Variables:
        return Variables(params, shared_arrays, key if keyed else ())

    def given(key: Array, params: PyTree, batches: PyTree) -> tuple[Variables, PyTree, Signature]:
        """Variables, the stack of mini-batches, and their signature."""
        check_key(key)
        check_arrays("batches", batches)
        examples, others = parted(batches, shared)
        variables = variables_of(params, others, key)
        return variables, examples, signature_of(variables, examples)

    def find(leaves: dict[str, Leaf], path: str) -> Leaf:
        if path not in leaves:
            raise UserError(f"no leaf {path!r} to search; there are: {', '.join(leaves)}")
        return leaves[path]

    def block_at(cycle: Array | int) -> Block | None:
        found = block(int(cycle)) if callable(block) else block
        return None if found is None else check_block(found)

    def ordered(key: Array, leaves: dict[str, Leaf], params: PyTree) -> list[Leaf]:
        of_order = jax.random.fold_in(key, len(jax.tree.leaves(params)))
        return check_order(order(of_order, list(leaves.values())), list(leaves.values()))

    @partial(jax.jit, static_argnames="axes")
    def prepared_by(
        key: Array,
        numbers: Array,
        array: Array,
        drift: Array,
        sigma: Array,
        cycle: Array,
        batches: PyTree,
        others: PyTree,
        axes: Axes,
    ) -> Prepared:
        array, drift = (in_columns(a, axes) for a in (array, drift))
        sigma = in_columns(sigma, axes) if sigma.ndim else sigma
        scaled = sigma * jnp.asarray(scale_of(cycle), sigma.dtype)
        of_sweep, of_cycle = (jax.random.fold_in(key, number) for number in numbers)
        drawn = prepare_sweep(
            rule, of_sweep, of_cycle, array, drift, scaled, cycle, batches, others
        )
        return along(mesh, drawn)._replace(batches=along(mesh, drawn.batches, None, DATA))

    @partial(jax.jit, static_argnames=("leaf", "block"))
    def kept_by(variables: Variables, batches: PyTree, leaf: Leaf, block: Block | None) -> PyTree:
        planned = planner.sweep(signature_of(variables, batches), leaf, block)
        return prefixes_of(planned.program, planned.plan, with_columns(variables, leaf), batches)

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
        variables = variables_of(params, prepared.shared, key)
        whole, program, plan = planner.sweep(signature_of(variables, prepared.batches), leaf, block)
        of_sweep, variables = jax.random.fold_in(key, at), with_columns(variables, leaf)
        rest = plan, of_sweep, variables, at, prepared, start, stop
        if block:
            after, done = visit_blocks(program, whole, rule, block, *rest)
        else:
            after, done = visit_weights(program, rule, *rest)
        before, drift = (in_columns(a, leaf.axes) for a in (array, drift))
        drift = drifted(drift, before, after, start, stop)
        after, drift, choices, losses = (
            as_stored(a, leaf.axes, leaf.shape) for a in (after, drift, done.choices, done.losses)
        )
        done = done._replace(choices=choices, losses=losses)
        return along(mesh, (weak_as(array, after), drift, done))

    @jax.jit
    def aux_by(key: Array, params: PyTree, batches: PyTree, others: PyTree) -> PyTree:
        # Sweeps and their order draw with the numbers below.
        of_aux = jax.random.fold_in(key, len(jax.tree.leaves(params)) + 2)
        first = weak_as(one_of_stack(batches), jax.tree.map(lambda a: a[0], batches))
        assert aux_of is not None
        return along(mesh, aux_of(variables_of(params, others, of_aux), first))

    def init(key: Array, params: PyTree) -> State:
        check_key(key)  # today's pieces start without randomness
        check_arrays("params", params)
        found = searched_leaves(params, searched)
        params = jax.tree.map(jnp.array if consume else jnp.asarray, params)
        scales: PyTree = ()
        if sigma is not he:
            scales = sigma(params) if callable(sigma) else sigma
            check_arrays("sigma", scales)
            scales = sigma_tree(scales, params)
            check_sigma(params, scales)
        arrays, treedef = jax.tree.flatten(params)
        planner.check_pieces({a.dtype for a, s in zip(arrays, found, strict=True) if s})
        drift = [
            jnp.zeros(a.shape, a.dtype) if s else jnp.zeros(())
            for a, s in zip(arrays, found, strict=True)
        ]
        state = State(params, scales, jax.tree.unflatten(treedef, drift), jnp.zeros((), jnp.int32))
        return state if mesh is None else placed(mesh, state)

    def order_of(key: Array, state: State, batches: PyTree) -> list[Leaf]:
        check_type("state", state, State, "init or step returned")
        _, _, signature = given(key, state.params, batches)
        leaves = ordered(key, planner.leaves(signature), state.params)
        planner.arranged(signature)
        if size_of(mesh, CANDIDATE) > 1:
            planner.check_side_by_side(signature, leaves, block_at(state.cycle))
        return leaves

    def sigma_of(leaf: Leaf, state: State) -> Array:
        if sigma is he:  # which needs the loss, and init has none
            return placed(mesh, np.asarray(he_scale(leaf.axes.fan_in), leaf.dtype))
        return jax.tree.leaves(state.sigma)[leaf.position]

    def prepare(key: Array, state: State, path: str, batches: PyTree) -> Prepared:
        check_type("state", state, State, "init or step returned")
        variables, examples, signature = given(key, state.params, batches)
        leaf = find(planner.leaves(signature), path)
        planner.arranged(signature)
        # Of the keys that this sweep and all sweeps of the cycle draw with.
        numbers = np.array([leaf.position, len(jax.tree.leaves(state.params)) + 1], np.int32)
        array, drift = (jax.tree.leaves(t)[leaf.position] for t in (state.params, state.drift))
        cycle = state.cycle
        drawn = prepared_by(
            key,
            placed(mesh, numbers),
            array,
            drift,
            sigma_of(leaf, state),
            cycle,
            examples,
            variables.shared,
            axes=leaf.axes,
        )
        block = block_at(cycle)
        # Planned here and not while it is compiled, so that what is wrong is told before.
        variables = variables._replace(shared=drawn.shared)
        planner.sweep(signature_of(variables, drawn.batches), leaf, block)
        return drawn._replace(prefixes=kept_by(variables, drawn.batches, leaf, block))

    def visit(
        key: Array, state: State, path: str, prepared: Prepared, start: int, stop: int
    ) -> tuple[State, SweepInfo]:
        check_type("state", state, State, "init or step returned")
        check_type("prepared", prepared, Prepared, "prepare returned")
        check_key(key)
        variables = variables_of(state.params, prepared.shared, key)
        signature = signature_of(variables, prepared.batches)
        leaf = find(planner.leaves(signature), path)
        start, stop = check_visits(path, leaf.visits, start, stop)
        block = block_at(state.cycle)
        plan = planner.sweep(signature, leaf, block).plan
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
        evaluated = plan.evaluations(leaf, start, stop)
        info = SweepInfo(
            **done._asdict(),
            visits=stop - start,
            decisions=plan.decisions(leaf, start, stop),
            candidates=evaluated,
            image_evaluations=evaluated * batch_size,
        )
        return state, info

    def sweep(key: Array, state: State, path: str, batches: PyTree) -> tuple[State, SweepInfo]:
        prepared = prepare(key, state, path, batches)
        return visit(key, state, path, prepared, 0, prepared.candidates.shape[0])

    def step(key: Array, state: State, batches: PyTree) -> tuple[State, CycleInfo]:
        sweeps: dict[str, SweepInfo] = {}
        for leaf in order_of(key, state, batches):
            state, sweeps[leaf.path] = sweep(key, state, leaf.path, batches)
        state = state._replace(cycle=state.cycle + 1)
        return state, summed(sweeps, aux(key, state, batches) if has_aux else None)

    def aux(key: Array, state: State, batches: PyTree) -> PyTree:
        variables, examples, _ = given(key, state.params, batches)
        return aux_by(key, state.params, examples, variables.shared)

    def cost(
        params: PyTree, batches: PyTree, cycle: int = 0, key: Array | None = None
    ) -> list[SweepCost]:
        check_arrays("params", params)
        key = jax.random.key(0) if key is None else key
        _, _, signature = given(key, params, batches)
        leaves = planner.leaves(signature)
        swept = ordered(key, leaves, params)
        return planner.cost(
            signature, [leaf for leaf in leaves.values() if leaf in swept], block_at(cycle)
        )

    def why_dense(params: PyTree, batches: PyTree) -> dict[str, list[Note]]:
        check_arrays("params", params)
        _, _, signature = given(jax.random.key(0), params, batches)
        return planner.why_dense(signature, list(planner.leaves(signature).values()))

    def cuts(state: State, leaf: Leaf) -> np.ndarray:
        return stretch_of(leaf, block_at(state.cycle)).cuts(leaf)

    def which(params: PyTree) -> PyTree:
        return jax.tree.unflatten(jax.tree.structure(params), searched_leaves(params, searched))

    return Search(
        init=init,
        step=step,
        sweep=sweep,
        order=order_of,
        prepare=prepare,
        visit=visit,
        cuts=cuts,
        cost=cost,
        why_dense=why_dense,
        searched=which,
        aux=aux if has_aux else None,
    )


def summed(sweeps: dict[str, SweepInfo], aux: PyTree) -> CycleInfo:
    """What a cycle decided and cost, of its sweeps in their order."""
    infos = list(sweeps.values())
    none = jnp.zeros((), jnp.int32)
    return CycleInfo(
        sweeps=sweeps,
        accepted=sum((info.accepted for info in infos), start=none),
        not_finite=sum((info.not_finite for info in infos), start=none),
        loss=infos[-1].loss,
        visits=sum(info.visits for info in infos),
        decisions=sum(info.decisions for info in infos),
        candidates=sum(info.candidates for info in infos),
        image_evaluations=sum(info.image_evaluations for info in infos),
        aux=aux,
    )
