"""A new rule is one function; without it the result is the same and costs more."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import mlir

from rso_jax.errors import UserError
from rso_jax.incremental import (
    column_program,
    count_flops,
    rule_for,
    temporary_rules,
    withdraw_rule,
)
from rso_jax.incremental.directions import DIRECTION_RULES
from rso_jax.incremental.rules import Dense, Same, apply
from rso_jax.incremental.sums import SUM_RULES

halve_p = Primitive("halve")
halve_p.def_impl(lambda x: x / 2)
halve_p.def_abstract_eval(lambda x: x)
mlir.register_lowering(halve_p, mlir.lower_fun(lambda x: x / 2, multiple_results=False))


def loss(w, x):
    hidden = halve_p.bind(x @ w)  # the halving
    return jnp.mean(jnp.tanh(hidden @ jnp.ones((8, 8))) @ jnp.ones((8, 3)))


W, X = jax.random.normal(jax.random.key(0), (6, 8)), jnp.ones((5, 6))


def cost_and_value():
    program = column_program(loss, W, X, 0)
    arguments = (program.view(W, X, jnp.asarray(3)), W[:, 0])
    arguments = (*arguments, program.preactivation(*arguments))
    return count_flops(program.loss, *arguments), program.loss(*arguments)


def halve(eqn, operands):
    (value,) = operands
    return value._replace(base=apply(eqn, value.base), part=apply(eqn, value.part))


def check_value():
    """The loss is right; gives what it costs."""
    cost, value = cost_and_value()
    np.testing.assert_allclose(value, loss(W.at[:, 3].set(W[:, 0]), X), rtol=1e-6)
    return cost


@pytest.fixture(autouse=True)
def rules_as_before():
    with temporary_rules():
        yield


def test_with_a_rule_the_loss_is_right_and_cheaper():
    without = check_value()
    rule_for("halve")(halve)
    assert check_value() < 0.7 * without


def test_a_rule_is_taken_back():
    without = check_value()
    rule_for("halve")(halve)
    withdraw_rule("halve")
    assert check_value() == without
    with pytest.raises(UserError, match="halve has no rule"):
        withdraw_rule("halve")


def test_rules_of_a_context_are_gone_after_it():
    without = check_value()
    with pytest.raises(ZeroDivisionError), temporary_rules():
        rule_for("halve")(halve)
        withdraw_rule("dot_general")
        raise ZeroDivisionError
    assert check_value() == without
    withdraw_rule("dot_general")  # it is there


def test_a_rule_is_not_replaced_silently():
    rule_for("halve")(halve)
    cheap = check_value()
    with pytest.raises(UserError, match=r"halve has a rule already, halve of .*test_rules.py:\d+"):
        rule_for("my_own", "halve")(lambda eqn, operands: None)
    with pytest.raises(UserError, match="my_own has no rule"):
        withdraw_rule("my_own")
    assert check_value() == cheap

    rule_for("halve", replace=True)(lambda eqn, operands: None)
    dear = check_value()
    assert cheap < 0.7 * dear
    withdraw_rule("halve")
    assert check_value() == cheap


def test_a_rule_of_the_library_is_replaced_and_back_again():
    before = check_value()
    rule_for("dot_general", replace=True)(lambda eqn, operands: None)
    assert check_value() > before
    withdraw_rule("dot_general")
    assert check_value() == before


def test_only_a_rule_that_says_so_is_asked_about_dense_operands():
    asked = []

    def own(eqn, operands):
        asked.append([type(v) for v in operands])

    def dense_first(w, x):
        return halve_p.bind(jnp.fft.fft(x @ w).real).sum()

    rule_for("halve")(own)
    column_program(dense_first, W, X, 0)
    assert asked == []
    rule_for("halve", dense=True, replace=True)(own)
    column_program(dense_first, W, X, 0)
    assert asked == [[Dense]]


@pytest.mark.parametrize(
    "names", [(), (halve_p,), (halve,), (["halve"],), ("jit",), ("halve", "scan")]
)
def test_names_under_which_no_rule_would_be_asked_are_refused(names):
    with pytest.raises(UserError):
        rule_for(*names)(halve)


def line_of(text):
    with open(__file__) as file:
        return next(i for i, line in enumerate(file, 1) if text in line)


FAULTY = {
    "raises": (lambda eqn, operands: operands[1], "IndexError"),
    "gives an array": (lambda eqn, operands: apply(eqn, operands[0].base), "is one of Same, "),
    "gives too many": (lambda eqn, operands: [operands[0]] * 2, "2 values of 1 results"),
    "another shape": (
        lambda eqn, operands: Dense(operands[0].part),
        r"float32\[5, 1\], where it should be float32\[5, 8\]",
    ),
    "another type": (lambda eqn, operands: Same(operands[0].base > 0), "bool"),
    "another box": (
        lambda eqn, operands: operands[0]._replace(part=operands[0].base),
        r"inside the box the part is float32\[5, 8\]",
    ),
    "another view": (lambda eqn, operands: operands[0]._replace(groups=(1, 1, 1)), "3 axes"),
}


def inside_a_jit(w, x):
    return jax.jit(loss)(w, x)


def inside_a_scan(w, x):
    return lax.scan(lambda total, row: (total + loss(w, row[None]), None), 0.0, x)[0]


@pytest.mark.parametrize("fault", FAULTY)
@pytest.mark.parametrize("around", [loss, inside_a_jit, inside_a_scan])
def test_a_failing_rule_is_told_with_its_primitive_and_the_line_of_the_loss(fault, around):
    rule, message = FAULTY[fault]
    if around is inside_a_scan:
        message = message.replace("[5", "[1")
    rule_for("halve")(rule)
    with pytest.raises(UserError, match=message) as caught:
        column_program(around, W, X, 0)
    place = f"{__file__}:{line_of('# the halving')} (loss): "
    assert place in str(caught.value)
    assert "the rule for halve, <lambda> of " in str(caught.value)


@pytest.mark.parametrize(
    ("rules", "primitive", "kind"),
    [(DIRECTION_RULES, "dot_general", "directions"), (SUM_RULES, "conv_general_dilated", "sums")],
)
def test_a_failing_rule_of_directions_or_sums_is_told_likewise(rules, primitive, kind):
    def convolved(w, x):
        image = jnp.sin(jnp.fft.fft(x @ w).real)[None, None]  # the product
        return lax.conv(image, jnp.ones((1, 1, 2, 2)), (1, 1), "SAME").sum()  # the convolution

    with rules.restored():
        rules.register(primitive, replace=True)(lambda eqn, operands: operands[5])
        with pytest.raises(UserError, match=f"the rule of {kind} for {primitive}") as caught:
            column_program(convolved, W, X, 0)
    where = line_of("# the product" if kind == "directions" else "# the convolution")
    assert f"{__file__}:{where} (convolved): IndexError" in str(caught.value)
