"""Planning: leaves, programs and plans of a search, found once for arguments of each kind."""

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any, NamedTuple

import jax
from jax import Array
from jax.sharding import Mesh

from rso_jax.arrays import structs_of, weak_as
from rso_jax.candidates import CandidateAxis
from rso_jax.incremental import ColumnProgram, Note, became_dense
from rso_jax.mesh import check_candidates, check_divides
from rso_jax.search.columns import Outputs
from rso_jax.search.contracts import check_minibatches, check_proposal, check_schedule
from rso_jax.search.cost import SweepCost, cost_of_sweep
from rso_jax.search.evaluation import Evaluation, Plan, plan_sweep
from rso_jax.search.joint import Block
from rso_jax.search.leaves import Leaf, LossFn, describe_leaves, loss_of_columns, with_columns
from rso_jax.search.objective import Variables, traced
from rso_jax.search.sweep import Rule
from rso_jax.stacks import one_of_stack, stack_shape

PyTree = Any


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


class PlannedSweep(NamedTuple):
    """How the candidates of a leaf are evaluated."""

    loss: LossFn
    """The whole loss of ``(variables, examples)``, the leaf in its column form."""
    program: ColumnProgram
    """Likewise."""
    plan: Plan


class Settings(NamedTuple):
    """What a search is planned by; as the arguments of ``rso``."""

    rule: Rule
    schedule: Callable[[Array], Array]
    searched: Callable[[str], bool] | PyTree | None
    outputs: Outputs | None
    keyed: bool
    evaluation: Evaluation
    candidate_axis: CandidateAxis | None
    memory_budget: int
    mesh: Mesh | None


class Planner:
    """Finds leaves, programs and plans. Nothing is computed but by tracing."""

    def __init__(self, loss: LossFn, settings: Settings) -> None:
        self._loss, self._settings = loss, settings
        self.leaves = cache(self._leaves)
        self.arranged = cache(self._arranged)
        self.sweep = cache(self._sweep)
        self._traced = cache(self._traced_for)

    def check_pieces(self, dtypes: Iterable[Any]) -> None:
        """Refuse a schedule, or a proposal for weights of these types, that returns no number.

        Raises:
            UserError: with what they return.
        """
        check_schedule(self._settings.schedule)
        for dtype in dtypes:
            check_proposal(self._settings.rule.proposal, dtype)

    def _leaves(self, signature: Signature) -> dict[str, Leaf]:
        """The searched leaves by path, of batches as they are given.

        Raises:
            UserError: parameters, batches, a loss or pieces that cannot be searched.
        """
        variables, batches = signature.trees()
        check_divides(self._settings.mesh, stack_shape(batches)[1])
        examples = one_of_stack(batches)
        loss = self._traced(signature_of(variables, examples))

        def of_params(params: PyTree, others: tuple[PyTree, PyTree, PyTree]) -> Array:
            return loss(Variables(params, *others[:2]), others[2])

        others = variables.shared, variables.key, examples
        given = self._settings
        found = describe_leaves(of_params, variables.params, others, given.searched, given.outputs)
        self.check_pieces({leaf.dtype for leaf in found})
        return {leaf.path: leaf for leaf in found}

    def _arranged(self, signature: Signature) -> PyTree:
        """The stack of mini-batches as a sweep uses it."""
        _, batches = signature.trees()
        arranged = check_minibatches(self._settings.rule.minibatches, batches)
        check_divides(self._settings.mesh, stack_shape(arranged)[1])
        return jax.eval_shape(lambda tree: weak_as(batches, tree), arranged)

    def _traced_for(self, signature: Signature) -> LossFn:
        return traced(self._loss, *signature.trees())

    def _sweep(self, signature: Signature, leaf: Leaf, block: Block | None) -> PlannedSweep:
        """How a leaf is swept, of batches as they were arranged."""
        variables, batches = signature.trees()
        of_stored = self._traced(signature_of(variables, one_of_stack(batches)))
        loss, given = loss_of_columns(of_stored, leaf), self._settings
        program, plan = plan_sweep(
            loss,
            with_columns(variables, leaf),
            batches,
            leaf,
            rule=given.rule,
            block=block,
            evaluation=given.evaluation,
            candidate_axis=given.candidate_axis,
            memory_budget=given.memory_budget,
            mesh=given.mesh,
            keyed=given.keyed,
        )
        return PlannedSweep(loss, program, plan)

    def check_side_by_side(
        self, signature: Signature, leaves: Sequence[Leaf], block: Block | None
    ) -> None:
        """Refuse a mesh with more devices along its candidate axis than any sweep can use.

        Raises:
            UserError: with the most that would do.
        """
        sweeps = [self._of_given(signature, leaf, block) for leaf in leaves]
        most = max(sweep.plan.side_by_side for sweep in sweeps)
        check_candidates(self._settings.mesh, most)

    def cost(
        self, signature: Signature, leaves: Sequence[Leaf], block: Block | None
    ) -> list[SweepCost]:
        """What the sweeps of some leaves cost, of batches as they are given."""
        self.check_side_by_side(signature, leaves, block)
        variables, _ = signature.trees()
        arranged, minibatches = self.arranged(signature), self._settings.rule.minibatches
        costs = []
        for leaf in leaves:
            loss, program, plan = self._of_given(signature, leaf, block)
            given = with_columns(variables, leaf), arranged, leaf, minibatches
            costs.append(cost_of_sweep(loss, program, plan, *given))
        return costs

    def why_dense(self, signature: Signature, leaves: Sequence[Leaf]) -> dict[str, list[Note]]:
        """By path, the operations of the loss that make a column's slice of an array dense."""
        variables, batches = signature.trees()
        batch = one_of_stack(batches)
        # The user's own function, and not what was traced of it, knows its lines.
        return {
            leaf.path: became_dense(
                loss_of_columns(self._loss, leaf),
                with_columns(variables, leaf),
                batch,
                leaf.position,
            )
            for leaf in leaves
        }

    def _of_given(self, signature: Signature, leaf: Leaf, block: Block | None) -> PlannedSweep:
        variables, _ = signature.trees()
        return self.sweep(signature_of(variables, self.arranged(signature)), leaf, block)
