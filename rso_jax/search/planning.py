"""Planning: leaves, programs and plans of a search, found once for arguments of each kind."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, Literal, NamedTuple

import jax
from jax import Array
from jax.sharding import Mesh

from rso_jax.arguments import check_key
from rso_jax.arrays import structs_of, weak_as
from rso_jax.candidates import CandidateAxis
from rso_jax.errors import UserError
from rso_jax.incremental import ColumnProgram, Note, became_dense
from rso_jax.leaves import (
    Leaf,
    LookAhead,
    LossesFn,
    LossFn,
    Outputs,
    all_losses,
    describe_leaves,
    loss_named,
    loss_of_columns,
    losses_of_leaves,
    names_of_losses,
    with_columns,
)
from rso_jax.mesh import check_candidates, check_divides
from rso_jax.search import keys
from rso_jax.search.checks import check_order
from rso_jax.search.contracts import check_minibatches, check_proposal, check_schedule
from rso_jax.search.cost import SweepCost, cost_of_sweep
from rso_jax.search.joint import Block, check_block
from rso_jax.search.objective import Variables, part, trace_once
from rso_jax.search.order import Order
from rso_jax.search.plan import Evaluation, Plan, plan_sweep, program_of
from rso_jax.search.proposals import ByLeaf, Proposal
from rso_jax.search.sweep import Pieces
from rso_jax.stacks import (
    check_stack,
    count_examples,
    either,
    one_of_stack,
    stack_shape,
    traced_twice,
    with_twice_the_examples,
)

PyTree = Any

# With fewer examples arrays are hardly longer along them than along anything else.
FEWEST_HELD_LAST = 64


class Signature(NamedTuple):
    """Structure, shapes and types of a loss's variables and of a stack of mini-batches."""

    treedef: Any
    structs: tuple[jax.ShapeDtypeStruct, ...]

    def trees(self) -> tuple[Variables, PyTree]:
        """Both, as pytrees of ``jax.ShapeDtypeStruct``."""
        variables, batches = jax.tree.unflatten(self.treedef, self.structs)
        return variables, batches


def signature_of(variables: Variables, batches: PyTree) -> Signature:
    """The signature of arrays, numbers, or ``jax.ShapeDtypeStruct``."""
    structs, treedef = jax.tree.flatten(structs_of((variables, batches)))
    return Signature(treedef, tuple(structs))


class Arguments(NamedTuple):
    """What a search is given, as its loss takes it."""

    variables: Variables
    examples: PyTree
    """Stack of mini-batches, without what all examples share."""
    signature: Signature
    """Of both."""


class PlannedSweep(NamedTuple):
    """How the candidates of a leaf are evaluated."""

    program: ColumnProgram
    """Of ``(variables, examples)``, the leaf in its column form; of the loss it is searched on."""
    plan: Plan


class Found(NamedTuple):
    """What the trace of a loss says of the parameters."""

    leaves: tuple[Leaf, ...]
    """Those that are searched."""
    names: list[str]
    """Of all losses, in order."""
    losses: dict[str, str]
    """By the path of a leaf the name of the loss that it is searched on."""


class Settings(NamedTuple):
    """What a search is made by; as the arguments of ``rso``."""

    pieces: Pieces
    sigma: Callable[[PyTree], PyTree] | PyTree
    schedule: Callable[[Array], Array]
    order: Order
    block: Block | Callable[[int], Block | None] | None
    searched: Callable[[str], bool] | PyTree | None
    outputs: Outputs | None
    shared: Callable[[str], bool] | PyTree | None
    look_ahead: LookAhead
    keyed: bool
    reduction: Literal["mean", "sum"]
    evaluation: Evaluation
    candidate_axis: CandidateAxis | None
    memory_budget: int
    mesh: Mesh | None
    donate: bool

    def block_at(self, cycle: Array | int) -> Block | None:
        """What is decided at once in a cycle; None for single weights.

        Raises:
            UserError: the function of the cycle returned something else.
        """
        found = self.block(int(cycle)) if callable(self.block) else self.block
        return None if found is None else check_block(found)

    def variables_of(self, params: PyTree, shared: PyTree, key: Array) -> Variables:
        """What the loss takes besides examples."""
        return Variables(params, shared, key if self.keyed else ())

    def take(self, key: Array, params: PyTree, batches: PyTree) -> Arguments:
        """The arguments of a search as its loss takes them.

        Raises:
            UserError: no key, or a leaf of the batches that is no array.
        """
        check_key(key)
        check_stack("batches", batches)
        examples, shared = part(batches, self.shared)
        variables = self.variables_of(params, shared, key)
        return Arguments(variables, examples, signature_of(variables, examples))


class Planner:
    """Finds leaves, programs and plans. Nothing is computed but by tracing."""

    def __init__(self, losses: LossesFn, settings: Settings) -> None:
        self._losses, self.settings = losses, settings
        self.leaves = cache(self._describe_leaves)
        self.arranged = cache(self._arrange)
        self.sweep = cache(self._plan_sweep)
        self.proposal = cache(self._choose_proposal)
        self._traced = cache(self._trace)
        self._named = cache(self._trace_named)
        self._found = cache(self._find)

    def check_pieces(self, dtypes: Mapping[str, Any]) -> None:
        """Refuse a schedule, or a proposal for weights of these types, that returns no number.

        Args:
            dtypes: of the leaves, by path.

        Raises:
            UserError: with what they return.
        """
        check_schedule(self.settings.schedule)
        for path, dtype in {(self.asks_by_leaf(path), dtype) for path, dtype in dtypes.items()}:
            check_proposal(self.proposal(path), dtype)

    def asks_by_leaf(self, path: str) -> str:
        """The path of a leaf if its proposal depends on that, else an empty one for all."""
        return path if isinstance(self.settings.pieces.proposal, ByLeaf) else ""

    def _choose_proposal(self, path: str) -> Proposal:
        """That of the leaf at a path."""
        given = self.settings.pieces.proposal
        return given.choose(path) if isinstance(given, ByLeaf) else given

    def leaf(self, signature: Signature, path: str) -> Leaf:
        """The searched leaf at a path; see ``leaves``.

        Raises:
            UserError: there is none.
        """
        leaves: dict[str, Leaf] = self.leaves(signature)
        if path not in leaves:
            raise UserError(f"no leaf {path!r} to search; there are: {', '.join(leaves)}")
        return leaves[path]

    def order(self, key: Array, signature: Signature) -> list[Leaf]:
        """The leaves in the order in which a cycle sweeps them.

        Raises:
            UserError: an order that returns something else.
        """
        leaves = list(self.leaves(signature).values())
        variables, _ = signature.trees()
        of_order = keys.of_order(key, len(jax.tree.leaves(variables.params)))
        return check_order(self.settings.order(of_order, leaves), leaves)

    def check_side_by_side(
        self, signature: Signature, leaves: Sequence[Leaf], block: Block | None
    ) -> None:
        """Refuse a mesh with more devices along its candidate axis than any sweep can use.

        Raises:
            UserError: with the most that would do.
        """
        sweeps = [self._sweep_of_given(signature, leaf, block) for leaf in leaves]
        most = max(sweep.plan.counts.side_by_side for sweep in sweeps)
        check_candidates(self.settings.mesh, most)

    def cost(
        self, signature: Signature, leaves: Sequence[Leaf], block: Block | None
    ) -> list[SweepCost]:
        """What the sweeps of some leaves cost, of batches as they are given."""
        self.check_side_by_side(signature, leaves, block)
        variables, _ = signature.trees()
        arranged, minibatches = self.arranged(signature), self.settings.pieces.minibatches
        own = self._found(signature_of(variables, one_of_stack(arranged))).losses
        return [
            cost_of_sweep(
                *self._sweep_of_given(signature, leaf, block)[:2],
                with_columns(variables, leaf),
                arranged,
                leaf,
                minibatches,
                loss_of_columns(all_losses(self._losses), leaf),
            )._replace(loss=own[leaf.path])
            for leaf in leaves
        ]

    def why_dense(self, signature: Signature, leaves: Sequence[Leaf]) -> dict[str, list[Note]]:
        """By path, the operations of the loss that make a column's slice of an array dense."""
        variables, batches = signature.trees()
        batch = one_of_stack(batches)
        names = self._found(signature_of(variables, batch)).losses
        # The user's own function, and not what was traced of it, knows its lines.
        return {
            leaf.path: became_dense(
                loss_of_columns(loss_named(self._losses, names[leaf.path]), leaf),
                with_columns(variables, leaf),
                batch,
                leaf.position,
            )
            for leaf in leaves
        }

    def _describe_leaves(self, signature: Signature) -> dict[str, Leaf]:
        """The searched leaves by path, of batches as they are given.

        Raises:
            UserError: parameters, batches, a loss or pieces that cannot be searched.
        """
        variables, batches = signature.trees()
        check_divides(self.settings.mesh, stack_shape(batches)[1])
        leaves = self._found(signature_of(variables, one_of_stack(batches))).leaves
        self.check_pieces({leaf.path: leaf.dtype for leaf in leaves})
        return {leaf.path: leaf for leaf in leaves}

    def _find(self, signature: Signature) -> Found:
        """What the trace says of one mini-batch as it is given.

        Raises:
            UserError: parameters or a loss that cannot be searched.
        """
        variables, examples = signature.trees()
        losses_fn = self._traced(signature)

        def losses_of_params(params: PyTree, others: tuple[PyTree, PyTree, PyTree]) -> Any:
            return losses_fn(Variables(params, *others[:2]), others[2])

        others = variables.shared, variables.key, examples
        given = variables.params, others
        told = self.settings.searched, self.settings.outputs
        leaves = describe_leaves(all_losses(losses_of_params), *given, *told)
        losses = losses_of_leaves(losses_of_params, *given, leaves, self.settings.look_ahead)
        return Found(leaves, names_of_losses(losses_of_params, *given), losses)

    def _arrange(self, signature: Signature) -> PyTree:
        """The stack of mini-batches as a sweep uses it."""
        _, batches = signature.trees()
        arranged = check_minibatches(self.settings.pieces.minibatches, batches)
        check_divides(self.settings.mesh, stack_shape(arranged)[1])
        return jax.eval_shape(lambda tree: weak_as(batches, tree), arranged)

    def _trace(self, signature: Signature) -> LossesFn:
        return trace_once(self._losses, *signature.trees())

    def _trace_named(self, signature: Signature, name: str) -> LossFn:
        """One of the losses alone."""
        alone = loss_named(self._traced(signature), name)
        return loss_named(trace_once(alone, *signature.trees()), "") if name else alone

    def _plan_sweep(self, signature: Signature, leaf: Leaf, block: Block | None) -> PlannedSweep:
        """How a leaf is swept, of batches as they were arranged."""
        variables, batches = signature.trees()
        batch, given = one_of_stack(batches), self.settings
        of_one = signature_of(variables, batch)
        own = self._found(of_one).losses[leaf.path]
        loss, twice = self._at_both_sizes(variables, batch, own)
        by_columns = with_columns(variables, leaf)
        program = program_of(
            given.evaluation, loss_of_columns(loss, leaf), by_columns, batch, leaf, twice
        )
        plan = plan_sweep(
            program,
            by_columns,
            batches,
            leaf,
            pieces=given.pieces,
            proposal=self.proposal(leaf.path),
            block=block,
            candidate_axis=given.candidate_axis,
            memory_budget=given.memory_budget,
            mesh=given.mesh,
            keyed=given.keyed,
        )
        return PlannedSweep(program, plan)

    def _at_both_sizes(
        self, variables: PyTree, batch: PyTree, name: str
    ) -> tuple[LossFn, PyTree | None]:
        """One of the losses, and a mini-batch of twice the size, which it takes as well.

        None in place of that where there is no use for it, or the loss does not take it.
        """
        loss = self._named(signature_of(variables, batch), name)
        few = count_examples(batch) < FEWEST_HELD_LAST
        if few or self.settings.evaluation != "column" or jax.default_backend() != "cpu":
            return loss, None
        of_twice = traced_twice(
            lambda twice: self._named(signature_of(variables, twice), name), batch
        )
        if of_twice is None:
            return loss, None
        return either(loss, of_twice, batch), with_twice_the_examples(batch)

    def _sweep_of_given(
        self, signature: Signature, leaf: Leaf, block: Block | None
    ) -> PlannedSweep:
        """How a leaf is swept, of batches as they are given."""
        variables, _ = signature.trees()
        return self.sweep(signature_of(variables, self.arranged(signature)), leaf, block)
