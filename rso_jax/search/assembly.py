"""``rso``: a search assembled of its pieces.

Tripathi & Singh, "RSO: A Gradient Free Sampling Based Approach For Training Deep Neural
Networks", arXiv 2005.05955, Algorithm 1.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import optax
from jax.sharding import Mesh

from rso_jax.arguments import check_callable, check_type
from rso_jax.candidates import CandidateAxis, check_in_turn
from rso_jax.errors import check_name
from rso_jax.leaves import LookAhead, LossesFn, Outputs, check_look_ahead, mark_searched
from rso_jax.search import cycle
from rso_jax.search import minibatches as minibatch_pieces
from rso_jax.search.acceptance import Acceptance, greedy
from rso_jax.search.checks import (
    check_loss,
    check_mesh,
    check_number,
)
from rso_jax.search.compiled import Aux, compile_functions
from rso_jax.search.interface import Search
from rso_jax.search.joint import Block, check_block
from rso_jax.search.minibatches import MiniBatches
from rso_jax.search.objective import UserLoss, take_apart
from rso_jax.search.order import Order, last_to_first
from rso_jax.search.plan import Evaluation
from rso_jax.search.planning import Planner, Settings
from rso_jax.search.proposals import ByLeaf, Proposal, normal
from rso_jax.search.sigma import he
from rso_jax.search.sweep import Pieces

PyTree = Any


def rso(
    loss_fn: UserLoss,
    *,
    sigma: Callable[[PyTree], PyTree] | PyTree = he,
    schedule: optax.Schedule | None = None,
    weight_decay: float = 0.0,
    proposal: Proposal | ByLeaf = normal,
    acceptance: Acceptance = greedy,
    order: Order = last_to_first,
    minibatches: MiniBatches = minibatch_pieces.cycled,
    block: Block | Callable[[int], Block | None] | None = None,
    evaluation: Evaluation = "column",
    candidate_axis: CandidateAxis | None = None,
    memory_budget: int = 8 * 2**30,
    mesh: Mesh | None = None,
    donate: bool = False,
    searched: Callable[[str], bool] | PyTree | None = None,
    outputs: Outputs | None = None,
    shared: Callable[[str], bool] | PyTree | None = None,
    look_ahead: LookAhead = 0,
    reduction: Literal["mean", "sum"] = "mean",
    has_aux: bool = False,
    keyed: bool = False,
) -> Search:
    """Random search optimisation of any JAX loss, one weight at a time.

    ::

        search = rso(loss_fn, **presets.authors_code(cycles=5))
        state = search.init(key, params)
        for cycle in range(5):
            state, info = step(search, jax.random.fold_in(key, cycle), state, batches)

    Each leaf is compiled once; nothing is compiled again for another key, cycle or part of a
    sweep. A loss that is NaN or infinite is never accepted, a tie keeps the incumbent, and
    the incumbent is scored on the same mini-batch as its candidates.

    Args:
        loss_fn: ``loss_fn(params, batch) -> scalar``, any JAX function of any pytree.
            Integer leaves and PRNG keys are passed through and not searched. It may return several
            losses in the network's order, as a tuple, a list or a mapping by name; each leaf is
            then searched on one of them, and what only the others need is not computed.
        sigma: scale of the perturbations: a function of the initial parameters, or a pytree of
            their structure, a scalar or an array of the leaf's shape for each leaf. ``he`` takes
            the fan-in of each leaf from the loss.
        schedule: factor on sigma as an optax schedule of the cycle, counted from 0; constant
            1 by default.
        weight_decay: share by which a weight is shrunk before it is decided; in bfloat16 and
            float16 by stochastic rounding, because a small share would be rounded away.
        proposal: draws the perturbations of a weight; ``ByLeaf`` for leaves of several kinds.
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
        donate: let each step reuse the memory of the state it is given, which is then gone.
        searched: which leaves of the parameters are searched, by a predicate on their paths
            (``lambda path: "lora" in path``) or a pytree of booleans, each for all leaves below its
            place. The others are passed to the loss as they are.
        outputs: by the path of an array the axes that hold its outputs, if not those that its first
            product with data leaves over: ``{"mix/kernel": 0}``. Weights of one output are a
            column, and their number is the fan-in that ``he`` takes.
        shared: which arrays of the batches all examples share (class weights, a temperature),
            likewise. They have no axes [mini-batches, batch size] and go to the loss as they are;
            on a mesh every device has them whole.
        look_ahead: of several losses a leaf is searched on the first that it can change, as the
            trace tells, or with a number above 0 on one so many after it, the last where there are
            fewer. A function of a leaf's path, or a pytree, gives each its own: a number, or the
            name of a loss, which in a tuple is "0", "1" and so on.
        reduction: how the loss joins those of a mini-batch's examples. ``Info.loss`` is always that
            of one example: a ``"sum"`` is divided by the batch size.
        has_aux: ``loss_fn`` returns ``(loss, aux)``. ``Info.aux`` of a cycle is that of the
            incumbent after it on the first mini-batch, for one more forward pass a cycle.
        keyed: ``loss_fn(params, batch, key)`` gets a fresh key at every visit (or block), the same
            for all of its candidates; for dropout and other noise. Nothing computed at one visit
            holds at the next, so that a visit costs a forward pass more, and the incumbent is
            scored at every one.

    Returns:
        A ``Search``, which is a ``Method``.

    Raises:
        UserError: (a ValueError) at once, of settings that are wrong by themselves; from ``init``
            and ``step``, for parameters, batches, pieces or a loss that cannot be searched;
            before anything is compiled.
    """
    check_loss(loss_fn, keyed)
    settings = Settings(
        pieces=Pieces(proposal, acceptance, minibatches, weight_decay),
        sigma=sigma,
        schedule=optax.constant_schedule(1.0) if schedule is None else schedule,
        order=order,
        block=block,
        searched=searched,
        outputs=outputs,
        shared=shared,
        look_ahead=look_ahead,
        keyed=keyed,
        reduction=reduction,
        evaluation=evaluation,
        candidate_axis=candidate_axis,
        memory_budget=memory_budget,
        mesh=mesh,
        donate=donate,
    )
    return _assemble(_check(settings), *take_apart(loss_fn, has_aux=has_aux, keyed=keyed))


def _check(settings: Settings) -> Settings:
    """The settings, their numbers as Python's.

    Raises:
        UserError: one that is wrong by itself, whatever is searched.
    """
    pieces, block = settings.pieces, settings.block
    weight_decay = check_number("weight_decay", pieces.weight_decay, 0, 1)
    check_name("evaluation", settings.evaluation, ("column", "cached", "full"))
    if settings.candidate_axis is not None:
        check_name("candidate_axis", settings.candidate_axis, ("vmap", "map"))
    memory_budget = check_number("memory_budget", settings.memory_budget, 0)
    check_name("reduction", settings.reduction, ("mean", "sum"))
    check_look_ahead(settings.look_ahead)
    check_mesh(settings.mesh)
    check_callable("schedule", settings.schedule)
    if isinstance(pieces.proposal, ByLeaf):
        check_callable("choose of proposal", pieces.proposal.choose)
    else:
        check_callable("proposal", pieces.proposal)
    check_callable("acceptance", pieces.acceptance)
    check_callable("order", settings.order)
    check_type("minibatches", pieces.minibatches, MiniBatches, "rso_jax.search.minibatches holds")
    if settings.candidate_axis == "map":
        check_in_turn(settings.mesh)
    return settings._replace(
        pieces=pieces._replace(weight_decay=weight_decay),
        block=block if block is None or callable(block) else check_block(block),
        memory_budget=int(memory_budget),
    )


def _assemble(settings: Settings, losses: LossesFn, aux: Aux | None) -> Search:
    """A search of its settings and its losses, ``aux`` what comes besides, if anything does."""
    planner = Planner(losses, settings)
    compiled = compile_functions(planner, aux)
    return Search(
        init=partial(cycle.begin, planner),
        stages=partial(cycle.order_stages, planner),
        prepare=partial(cycle.prepare, planner, compiled),
        advance=partial(cycle.advance, planner, compiled),
        finish=cycle.finish,
        trained=partial(mark_searched, searched=settings.searched),
        aux=partial(cycle.evaluate_aux, planner, compiled) if aux else None,
        mesh=settings.mesh,
        compile=partial(cycle.compile_stage, planner, compiled),
        cost=partial(cycle.count_cost, planner),
        why_dense=partial(cycle.explain_dense, planner),
    )
