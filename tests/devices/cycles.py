"""Run as a program on eight CPU devices: one cycle of several methods on meshes of them.

``python cycles.py GROUP FILE`` writes to FILE, an .npz, what a cycle of every method of the group
gave on one device without a mesh and on each of its meshes: ``METHOD/MESH/NAME``, the mesh as
``2x4`` (data x candidate) or ``none``. With ``COORDINATOR PROCESSES PROCESS`` after it, in so many
processes, which have the eight devices together.
"""

import dataclasses
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax

DEVICES = 8
GROUPS = {
    "visits": {
        **{"authors_code": ["8x1", "4x2"], "pairs": ["2x4"], "fresh": ["4x2"]},
        **{"others": ["4x2"], "full": ["4x2"], "in turn": ["4x1"]},
    },
    "blocks": {
        **{"perceptron": ["4x2"], "convolution": ["2x3"]},
        **{"part": ["2x4"], "column": ["4x2"], "leaf": ["2x2"]},
        **{"taken": ["2x1"], "taken by blocks": ["2x2"], "losses": ["4x2"]},
    },
    "descent": {
        **{"sgd": ["4x2"], "open-es": ["2x4", "2x3"], "spsa": ["2x4"]},
        **{"evaluation": ["2x2", "8x1"], "slopes": ["4x2"], "slopes in turn": ["4x2"]},
        **{"own task": ["4x2"], "slopes of losses": ["2x2"]},
    },
    "float32": {"authors_code": ["8x1"]},
}
IN_PROCESSES = {"processes": {"authors_code": ["4x2"], "sgd": ["8x1"], "own task": ["4x2"]}}


def by_search(loss_fn, params, batches, **settings):
    from rso_jax import rso, step
    from rso_jax.mesh import place

    def run(mesh):
        search = rso(loss_fn, mesh=mesh, **settings)
        stacked = place(mesh, batches, None, "data")
        state, info = step(search, KEY, search.init(KEY, params), stacked)
        found = {f"params{jax.tree_util.keystr(p)}": a for p, a in leaves_of(state.params)}
        for path, sweep in info.stages.items():
            found |= {f"choices/{path}": sweep.choices, f"losses/{path}": sweep.losses}
        return found | {"evaluations": info.image_evaluations}

    return run


def by_keyed_search(**settings):
    """Dropout, class weights, a temperature, a frozen leaf and typed keys, on a mesh or not."""
    from problems import clusters, mlp_params

    from rso_jax import rso, step
    from rso_jax.mesh import place

    layer = mlp_params(KEY, dtype=jnp.float64)["last"]
    params = {"kernel": layer["kernel"], "frozen": layer["bias"], "key": jax.random.key(1)}
    examples = clusters(KEY, minibatches=2, size=12, inputs=5, dtype=jnp.float64)
    examples["own"] = jax.random.split(KEY, (2, 12))
    shared = {"weights": jnp.array([1.0, 2.0, 0.5]), "temperature": 1.5}

    def loss_fn(params, batch, key):
        noise = jax.vmap(jax.random.normal)(batch["own"]) + jax.random.normal(params["key"])
        kept = jax.random.bernoulli(key, 0.8, batch["x"].shape)
        logits = (
            jnp.where(kept, batch["x"], 0) @ params["kernel"]
            + params["frozen"]
            + noise[:, None] / 9
        )
        scores = jax.nn.log_softmax(logits * batch["weights"] / batch["temperature"])
        picked = jnp.take_along_axis(scores, batch["y"][:, None], axis=1)
        return -picked.mean(), {"right": jnp.mean(logits.argmax(1) == batch["y"])}

    def run(mesh):
        search = rso(
            loss_fn,
            mesh=mesh,
            searched={"kernel": True, "frozen": False, "key": False},
            shared=lambda path: path in shared,
            has_aux=True,
            keyed=True,
            **settings,
        )
        stacked = place(mesh, examples, None, "data") | place(mesh, shared)
        state, info = step(search, KEY, search.init(KEY, params), stacked)
        found = {"params": state.params["kernel"], "aux": info.aux["right"]}
        found |= {"choices": info.stages["kernel"].choices, "losses": info.stages["kernel"].losses}
        return found | {"evaluations": info.image_evaluations}

    return run


def by_method(make, params, batches):
    from rso_jax.mesh import place

    def run(mesh):
        method = make(mesh=mesh)
        state, stacked = method.init(KEY, params), place(mesh, batches, None, "data")
        (stage,) = method.stages(KEY, state, stacked)
        state, info = method.advance(KEY, state, stage, stacked, 0, stage.visits)
        found = {f"params{jax.tree_util.keystr(p)}": a for p, a in leaves_of(method.params(state))}
        return found | {"losses": info.loss, "evaluations": info.image_evaluations}

    return run


def by_loop(make, loss_fn, params, batches):
    """A task of one's own with arrays of the host; those that lie elsewhere are refused."""
    from rso_jax import UserError
    from rso_jax.tasks import Task
    from rso_jax.training import train

    host = jax.tree.map(np.asarray, batches)
    first = jax.tree.map(lambda a: a[0], host)
    loss = jax.jit(loss_fn)

    def run(mesh):
        task = Task(
            init=lambda key: params,
            batches=lambda rng, cycle: host,
            batch_size=lambda cycle: 24,
            score=lambda params, kept: {"loss": loss(params, first)},
        )
        found = train(make(mesh=mesh), task, cycles=2)
        if mesh is not None:
            elsewhere = dataclasses.replace(task, batches=lambda rng, cycle: batches)
            try:
                train(make(mesh=mesh), elsewhere, cycles=2)
            except UserError as error:
                assert "make both for the same mesh" in str(error), error
            else:
                raise AssertionError("mini-batches on another device were taken")
        named = {f"params{jax.tree_util.keystr(p)}": a for p, a in leaves_of(found.params)}
        losses = [line["loss"] for line in found.metrics]
        return named | {"losses": losses, "evaluations": found.progress.image_evaluations}

    return run


def slopes_losses(params, batch):
    """Of every example, smooth."""
    return jnp.sum(jnp.tanh(batch["x"] @ params["kernel"] + params.get("bias", 0.0)) ** 2, axis=1)


def local_losses(kernels, batch):
    """Of every example, that of a head and that at the end, with a batch norm between them."""
    hidden = jnp.tanh(batch["x"] @ kernels["first"])
    near = jnp.sum((hidden @ kernels["head"] - batch["x"][:, :1]) ** 2, axis=1)
    hidden = (hidden - hidden.mean(0)) / jnp.sqrt(hidden.var(0) + 1e-5)
    return near, jnp.sum(jnp.tanh(hidden @ kernels["last"]) ** 2, axis=1)


def mean_local_losses(kernels, batch):
    return tuple(jnp.mean(losses) for losses in local_losses(kernels, batch))


def evaluated(mesh):
    """Batch statistics and score of a network, on examples that no mesh here divides evenly."""
    from rso_jax.mesh import place
    from rso_jax.networks import create
    from rso_jax.tasks import calibrate, score

    network = create("mlp", (5,), 3, (4,))
    images = np.random.default_rng(0).normal(size=(1204, 5))
    params = network.init(KEY, jnp.asarray(images[:1], jnp.float32))
    params = place(mesh, jax.tree.map(lambda a: np.asarray(a, np.float64), params))
    statistics = calibrate(network, params, images, mesh)
    found = {f"params{jax.tree_util.keystr(p)}": a for p, a in leaves_of(statistics)}
    scored = score(network, params, statistics, images, images[:, :3].argmax(1), mesh)
    return found | {"evaluations": round(1204 * scored.accuracy), "losses": scored.loss}


def leaves_of(tree):
    return jax.tree_util.tree_leaves_with_path(tree)


def problem(name, dtype):
    """A small loss with batch norm; in float64 rounding decides nothing."""
    from problems import batch_norm, clusters, conv_loss, mlp_params
    from problems import layer_loss as scaled_layer_loss

    from rso_jax import presets
    from rso_jax.baselines import evolution_method, gradient_method, open_es, spsa_method
    from rso_jax.search import acceptance, joint, minibatches, order, proposals
    from rso_jax.search.joint import Block

    settings = presets.authors_code(3)
    if name == "evaluation":
        return evaluated
    if name == "taken":
        return by_keyed_search(weight_decay=1e-3)
    if name == "taken by blocks":
        # No whole step: of a block in which one weight moves it would be that weight's probe again.
        return by_keyed_search(block=Block(4, joint.accepted((0.7, 0.4))))
    if name == "convolution":
        kernel, dense = jax.random.normal(KEY, (3, 3, 2, 2)), jax.random.normal(KEY, (2, 1))
        params = {"conv": {"kernel": kernel}, "dense": {"kernel": dense}}
        images = jax.random.normal(KEY, (2, 24, 5, 5, 2))
        return by_search(conv_loss, params, {"x": images, "y": images.mean((2, 3, 4))}, **settings)
    batches = clusters(KEY, minibatches=2, size=24, inputs=4, dtype=dtype)
    if name == "perceptron":

        def perceptron_loss(kernels, batch):
            fixed = {"scale": 1.0, "bias": 0.0}
            hidden = jax.nn.relu(batch_norm(fixed, batch["x"] @ kernels["first"]))
            return scaled_layer_loss(fixed | {"kernel": kernels["last"]}, batch | {"x": hidden})

        layers = mlp_params(KEY, inputs=4, hidden=3, dtype=dtype)
        kernels = {name: layer["kernel"] for name, layer in layers.items()}
        return by_search(perceptron_loss, kernels, batches, **settings)
    if name in ("losses", "slopes of losses"):
        drawn = jax.random.normal(KEY, (3, 4, 4), dtype)
        kernels = {"first": drawn[0], "head": drawn[1, :, :2], "last": drawn[2, :, :3]}
        if name == "losses":
            return by_search(mean_local_losses, kernels, batches, **settings)
        from rso_jax.slopes import slopes_method

        given = {"x": batches["x"]}
        return by_method(partial(slopes_method, local_losses, optax.sgd(0.1)), kernels, given)
    params = mlp_params(KEY, hidden=4, classes=3, dtype=dtype)["last"]
    scale = params.pop("scale")  # an array less to compile

    def layer_loss(layer, batch):
        return scaled_layer_loss(layer | {"scale": scale}, batch)

    if name not in ("authors_code", "leaf"):
        settings["searched"] = {"kernel": True, "bias": False}  # the bias is swept by these two
    if name == "pairs":
        settings["proposal"] = proposals.antithetic(proposals.normal_distance, pairs=2)
    elif name == "others":
        settings |= {"acceptance": acceptance.metropolis(optax.constant_schedule(0.1))}
        settings |= {"minibatches": minibatches.per_column, "order": order.random_order}
        settings |= {"proposal": proposals.ternary_step, "weight_decay": 0.0}
    elif name == "full":
        settings |= {"evaluation": "full", "minibatches": minibatches.per_cycle}
    elif name == "in turn":
        settings |= {"candidate_axis": "map", "memory_budget": 0}
    elif name == "fresh":
        settings["minibatches"] = minibatches.fresh
    elif name == "part":
        settings["block"] = Block(4, joint.parabola())
    elif name == "column":
        settings["block"] = Block("column", joint.accepted())
    elif name == "leaf":
        settings["block"] = Block("leaf", joint.parabola())
    elif name == "slopes":
        from rso_jax.slopes import slopes_method

        return by_method(
            partial(slopes_method, slopes_losses, optax.sgd(0.1)),
            {"kernel": params["kernel"]},
            {"x": batches["x"]},
        )
    elif name == "slopes in turn":
        from rso_jax.slopes import slopes_method, steps

        return by_method(
            partial(
                *(slopes_method, slopes_losses, steps.muon(0.1)),
                **{"leaves": "in_turn", "average": 0.5, "donate": True},
            ),
            {"kernel": params["kernel"], "bias": jnp.ones(3)},
            {"x": batches["x"]},
        )
    elif name == "own task":
        make = partial(gradient_method, layer_loss, optax.sgd(0.1, momentum=0.9))
        return by_loop(make, layer_loss, params, batches)
    elif name == "sgd":
        sgd = optax.sgd(0.1, momentum=0.9)
        return by_method(partial(gradient_method, layer_loss, sgd), params, batches)
    elif name == "spsa":
        # Three pairs, which the mesh does not divide.
        make = partial(spsa_method, layer_loss, optax.sgd(0.1), eps=0.01, pairs=3)
        return by_method(make, params, batches)
    elif name == "open-es":
        strategy = open_es(population=10, sigma=0.1, learning_rate=0.05, steps=2)
        return by_method(partial(evolution_method, layer_loss, strategy), params, batches)
    return by_search(layer_loss, params, batches, **settings)


def main(group, file, coordinator=None, processes="1", process="0"):
    global KEY
    jax.config.update("jax_num_cpu_devices", DEVICES // int(processes))
    jax.config.update("jax_enable_x64", True)
    if coordinator is not None:
        jax.distributed.initialize(coordinator, int(processes), int(process))
    KEY = jax.random.key(3)
    from rso_jax.mesh import make_mesh

    found = {}
    for name, meshes in (GROUPS | IN_PROCESSES)[group].items():
        run = problem(name, jnp.float32 if group == "float32" else jnp.float64)
        for mesh in ["none", *meshes]:
            sizes = () if mesh == "none" else map(int, mesh.split("x"))
            made = run(make_mesh(*sizes) if mesh != "none" else None)
            found |= {f"{name}/{mesh}/{k}": np.asarray(v) for k, v in made.items()}
    np.savez(file, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
