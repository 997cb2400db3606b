"""Evolution strategies by evosax, as methods beside the searches.

A generation perturbs all weights at random, many times, scores every member of the population on
one mini-batch that all share, and moves the mean. A cycle is an epoch: one generation on each
mini-batch of the stack.
"""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array, lax
from jax.sharding import Mesh

from rso_jax.arguments import check_callable
from rso_jax.baselines.losses import sum_losses
from rso_jax.candidates import candidate_axis_of, evaluate_candidates, finite_or_inf
from rso_jax.descent.epochs import Cost, method_of_epochs
from rso_jax.descent.leniency import leniency
from rso_jax.descent.weights import weights_of, with_weights
from rso_jax.errors import UserError
from rso_jax.mesh import check_candidates, constrain, place
from rso_jax.method import Method
from rso_jax.stacks import count_examples

if TYPE_CHECKING:
    from evosax.algorithms.distribution_based.base import DistributionBasedAlgorithm

PyTree = Any
LossFn = Callable[[PyTree, PyTree], Any]

Strategy = Callable[[PyTree], tuple["DistributionBasedAlgorithm", PyTree]]
"""An algorithm of evosax and its settings, for parameters of these shapes."""


class EvolutionState(NamedTuple):
    """Mean of the population, and the algorithm's own state."""

    params: PyTree
    algorithm: PyTree


def open_es(*, population: int, sigma: float, learning_rate: float, steps: int) -> Strategy:
    """OpenAI-ES (Salimans et al. 2017): antithetic, ranked, Adam with a cosine schedule to 0.

    Args:
        population: members of a generation, even.
        sigma: standard deviation of the perturbations.
        learning_rate: of the first generation.
        steps: generations of the whole run.

    Raises:
        UserError: a number that cannot work.
    """
    optimizer = _optimizer(population, sigma, learning_rate, steps)

    def make(params: PyTree) -> tuple["DistributionBasedAlgorithm", PyTree]:
        from evosax.algorithms import Open_ES

        schedule = optax.constant_schedule(sigma)
        algorithm = Open_ES(population, params, optimizer=optimizer, std_schedule=schedule)
        return algorithm, algorithm.default_params

    return make


def pgpe(*, population: int, sigma: float, learning_rate: float, steps: int) -> Strategy:
    """PGPE (Sehnke et al. 2010): as ``open_es``, but each weight's deviation is learned.

    Args:
        population: members of a generation, even.
        sigma: standard deviation of the first perturbations.
        learning_rate: of the first generation.
        steps: generations of the whole run.

    Raises:
        UserError: a number that cannot work.
    """
    optimizer = _optimizer(population, sigma, learning_rate, steps)

    def make(params: PyTree) -> tuple["DistributionBasedAlgorithm", PyTree]:
        from evosax.algorithms import PGPE

        algorithm = PGPE(population, params, optimizer=optimizer)
        return algorithm, algorithm.default_params.replace(std_init=sigma)

    return make


def snes(*, population: int, sigma: float, steps: int, learning_rate: float = 1.0) -> Strategy:
    """SNES (Wierstra et al. 2014): natural gradients of mean and deviation of each weight.

    Members are not antithetic; by rank, the better half of them counts.

    Args:
        population: members of a generation.
        sigma: standard deviation of the first perturbations.
        steps: generations of the whole run.
        learning_rate: of the mean in the first generation, where 1 is the published step; it falls
            to 0 as a cosine.

    Raises:
        UserError: a number that cannot work.
    """
    _check(population, sigma, learning_rate)
    optimizer = optax.sgd(optax.cosine_decay_schedule(learning_rate, max(steps, 1)))

    def make(params: PyTree) -> tuple["DistributionBasedAlgorithm", PyTree]:
        from evosax.algorithms import SNES

        algorithm = SNES(population, params, optimizer=optimizer)
        return algorithm, algorithm.default_params.replace(std_init=sigma)

    return make


def _optimizer(
    population: int, sigma: float, learning_rate: float, steps: int
) -> optax.GradientTransformation:
    _check(population, sigma, learning_rate)
    if population % 2:
        raise UserError(f"the population is {population}; it must be even, and at least 2")
    return optax.adam(optax.cosine_decay_schedule(learning_rate, max(steps, 1)))


def _check(population: int, sigma: float, learning_rate: float) -> None:
    if population < 2:
        raise UserError(f"the population is {population}; it must be at least 2")
    for name, value in (("sigma", sigma), ("learning_rate", learning_rate)):
        if not value > 0:
            raise UserError(f"{name} is {value}; it must be above 0")


def evolution_method(
    loss_fn: LossFn,
    strategy: Strategy,
    *,
    mesh: Mesh | None = None,
    donate: bool = False,
) -> Method:
    """An evolution strategy as a method: one stage, one visit for each mini-batch.

    Leaves that are not real floating point (integers, keys, complex numbers) are the same for all
    members. Its ``init`` refuses those that are no arrays.

    Args:
        loss_fn: ``loss_fn(params, batch)``, a scalar; where it is not finite it counts as infinite.
            Of several losses, in a tuple or a mapping, the sum.
        strategy: how to perturb and to move; see ``open_es``.
        mesh: devices that share population and mini-batch; one if not given.
        donate: let a step reuse the memory of the state it is given, which is then gone.

    Raises:
        UserError: a loss or a strategy that is no function; from the functions of the method,
            arguments that are something else.
    """
    check_callable("loss_fn", loss_fn)
    check_callable("strategy", strategy)
    run_generations = jax.jit(
        partial(_run_generations, sum_losses(loss_fn), strategy, mesh),
        donate_argnames="state" if donate else (),
    )

    def begin(key: Array, params: PyTree) -> EvolutionState:
        algorithm, settings, weights = _made_for(strategy, params)
        with leniency():
            inner = _wide(algorithm.init(key, weights, settings), weights)
        return EvolutionState(params, inner)

    def run(
        key: Array, state: EvolutionState, batches: PyTree, start: int, stop: int
    ) -> tuple[EvolutionState, Array]:
        bounds = place(mesh, (np.int32(start), np.int32(stop)))
        return run_generations(key=key, state=state, batches=batches, bounds=bounds)

    def members(params: PyTree) -> int:
        size: int = _made_for(strategy, params)[0].population_size
        return size

    return method_of_epochs(
        "generations",
        EvolutionState,
        begin=begin,
        run=run,
        cost=lambda state, batch, visits: Cost(
            0, members(state.params) * count_examples(batch)
        ).times(visits),
        check=lambda params: check_candidates(mesh, members(params)),
        mesh=mesh,
        donate=donate,
    )


def _made_for(
    strategy: Strategy, params: PyTree
) -> tuple["DistributionBasedAlgorithm", PyTree, PyTree]:
    """The algorithm, its settings, and the weights in the one type that it works in."""
    weights = weights_of(params)
    weights = _wide(weights, weights)
    with leniency():
        return *strategy(weights), weights


def _run_generations(
    loss_fn: Callable[[PyTree, PyTree], Array],
    strategy: Strategy,
    mesh: Mesh | None,
    key: Array,
    state: EvolutionState,
    batches: PyTree,
    bounds: tuple[Array, Array],
) -> tuple[EvolutionState, Array]:
    """Generations from the first bound to the one before the second, and the last one's loss."""
    algorithm, settings, weights = _made_for(strategy, state.params)
    first = jax.tree.map(lambda a: a[0], batches)
    in_turn = candidate_axis_of(loss_fn, state.params, first, mesh) == "map"
    loss_dtype = jax.eval_shape(loss_fn, state.params, first).dtype

    def generation(i: Array, carry: tuple[EvolutionState, Array]) -> tuple[EvolutionState, Array]:
        (params, inner), _ = carry
        batch = jax.tree.map(lambda a: a[i], batches)
        ask_key, tell_key = jax.random.split(jax.random.fold_in(key, i))
        with leniency():
            population, inner = algorithm.ask(ask_key, inner, settings)
        losses = evaluate_candidates(
            lambda member: loss_fn(with_weights(params, member), batch),
            (_in_types_of(weights_of(params), population),),
            1 if in_turn else algorithm.population_size,
            mesh,
        )
        fitness = _wide(finite_or_inf(losses), weights)
        with leniency():
            inner, _ = algorithm.tell(tell_key, population, fitness, inner, settings)
        inner = _wide(inner, weights)
        mean = _in_types_of(weights_of(params), algorithm.get_mean(inner))
        return EvolutionState(with_weights(params, mean), inner), jnp.mean(losses)

    first_carry = state, jnp.zeros((), loss_dtype)
    return constrain(mesh, lax.fori_loop(*bounds, generation, first_carry))


def _wide(tree: PyTree, weights: PyTree) -> PyTree:
    """In the type that the algorithm works in: float32, or float64 where a weight is.

    In 64-bit mode evosax would start in float64; in bfloat16 small steps would be lost.
    """
    double = any(a.dtype == jnp.float64 for a in jax.tree.leaves(weights))
    dtype = jnp.float64 if double else jnp.float32
    floating = lambda a: jnp.issubdtype(jnp.result_type(a), jnp.floating)  # noqa: E731
    return jax.tree.map(lambda a: jnp.asarray(a, dtype if floating(a) else None), tree)


def _in_types_of(weights: PyTree, tree: PyTree) -> PyTree:
    return jax.tree.map(lambda like, a: a.astype(like.dtype), weights, tree)
