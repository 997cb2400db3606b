"""What a search is made of, by the names of the command line."""

from rso_jax.search import joint, minibatches, order, proposals

ORDERS = {
    "last-to-first": order.last_to_first,
    "first-to-last": order.first_to_last,
    "random": order.random_order,
}
DISTANCES = {
    "normal": proposals.normal_distance,
    "uniform": proposals.uniform_distance,
    "fixed": proposals.fixed_distance,
}
"""Proposals that try a distance both ways."""
OTHER_PROPOSALS = {"sign-flip": proposals.sign_flip, "ternary": proposals.ternary_step}
PROPOSALS = (*DISTANCES, *OTHER_PROPOSALS)
JOINT_STEPS = {
    "accepted": joint.accepted(),
    "parabola": joint.parabola(),
    "together": joint.together,
}
MINIBATCHES = {
    "cycled": minibatches.cycled,
    "fresh": minibatches.fresh,
    "per-column": minibatches.per_column,
    "per-leaf": minibatches.per_leaf,
    "per-cycle": minibatches.per_cycle,
}
