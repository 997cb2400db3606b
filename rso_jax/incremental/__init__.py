"""Column programs: evaluate single-column changes of any JAX loss at the cost of what they change.

Usable without the rest of the package.
"""

from rso_jax.incremental.bfloat16 import bfloat16_products
from rso_jax.incremental.column_loss import became_dense
from rso_jax.incremental.flops import Work, count_flops, count_work, expected_trips, total_work
from rso_jax.incremental.notes import Note
from rso_jax.incremental.program import (
    ColumnProgram,
    ColumnView,
    column_program,
    move,
)
from rso_jax.incremental.references import cached_forward_program, full_forward_program
from rso_jax.incremental.rules import rule_for, temporary_rules, withdraw_rule

__all__ = [
    "ColumnProgram",
    "ColumnView",
    "Note",
    "Work",
    "became_dense",
    "bfloat16_products",
    "cached_forward_program",
    "column_program",
    "count_flops",
    "count_work",
    "expected_trips",
    "full_forward_program",
    "move",
    "rule_for",
    "temporary_rules",
    "total_work",
    "withdraw_rule",
]
