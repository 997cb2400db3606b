"""The interpreter: a traced loss evaluated on values that know what a column can change."""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax.numpy as jnp
from jax.extend.core import Jaxpr, Literal

from rso_jax.incremental.jaxprs import called_by, evaluate, variables
from rso_jax.incremental.notes import Notes, note_dense
from rso_jax.incremental.rules import RULES
from rso_jax.incremental.scans import scan
from rso_jax.incremental.sums import SUM_RULES
from rso_jax.incremental.values import Dense, Same, Sum, Value, whole


def interpret(
    jaxpr: Jaxpr, constants: Sequence[Any], inputs: Sequence[Value], notes: Notes | None = None
) -> list[Value]:
    """Values of a jaxpr's outputs from those of its inputs.

    Args:
        jaxpr: the traced function.
        constants: of its constvars.
        inputs: a value for each input.
        notes: where what became dense is written down.

    Raises:
        UserError: a rule failed; with the line of the loss.
    """
    notes = Notes([]) if notes is None else notes
    values: dict[Any, Value] = {}

    def read(atom: Any) -> Value:
        constant = isinstance(atom, Literal)
        return Same(jnp.asarray(atom.val, atom.aval.dtype)) if constant else values[atom]

    values.update(zip(jaxpr.constvars, map(Same, constants), strict=True))
    values.update(zip(jaxpr.invars, inputs, strict=True))
    eqns: list[Any] = jaxpr.eqns
    readers = Counter(v for eqn in eqns for v in variables(eqn.invars))

    def add_up(atoms: Sequence[Any], least_readers: int) -> list[Value]:
        """Operands, of which sums with so many readers are added up, once for all of these."""
        for atom in variables(atoms):
            if isinstance(value := values[atom], Sum) and readers[atom] >= least_readers:
                values[atom] = Dense(whole(value))
        return [read(atom) for atom in atoms]

    for eqn in eqns:
        operands = add_up(eqn.invars, 2)
        results = _apply_rule(eqn, operands, notes)
        if results is None and any(isinstance(value, Sum) for value in operands):
            operands = add_up(eqn.invars, 1)
            results = _apply_rule(eqn, operands, notes)
        if results is None:
            results = [Dense(x) for x in evaluate(eqn, [whole(v) for v in operands])]
        note_dense(notes, eqn, operands, results)
        values.update(zip(eqn.outvars, results, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _apply_rule(eqn: Any, operands: list[Value], notes: Notes) -> list[Value] | None:
    if (called := called_by(eqn)) is not None:
        return interpret(called.jaxpr, called.consts, operands, notes.inside(eqn))
    empty = bool(eqn.outvars) and all(0 in v.aval.shape for v in eqn.outvars)
    if empty or all(isinstance(v, Same) for v in operands):
        return [Same(result) for result in evaluate(eqn, [whole(v) for v in operands])]
    if eqn.effects:
        return None
    # What remains depends on the column.
    name = eqn.primitive.name
    if name == "scan":
        return scan(eqn, operands, partial(interpret, notes=notes.inside(eqn)))
    sums = any(isinstance(v, Sum) for v in operands) or (
        name in SUM_RULES and any(isinstance(v, Dense) for v in operands)
    )
    rules = SUM_RULES if sums else RULES
    if name not in rules:
        return None
    found = rules.apply(eqn, operands, notes.callers)
    return found if found is None or isinstance(found, list) else [found]
