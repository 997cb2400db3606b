"""Variants of the search spend what they may, by the package's loop."""

import importlib
from pathlib import Path

import numpy as np
import pytest

from rso_jax.data import load
from rso_jax.networks import create


@pytest.fixture
def study(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "experiments")
    return importlib.import_module("study")


@pytest.fixture
def at(study):
    """48 images, of which sequential search gets 2 mini-batches of 16 for 3 cycles."""
    data = load("digits")
    data = data._replace(
        x_train=data.x_train[:48],
        y_train=data.y_train[:48],
        x_test=data.x_train[48:80],
        y_test=data.y_train[48:80],
    )
    return study.Setting(data, create("mlp", (8, 8, 1), data.classes, (1,)), 16, 2, 3)


def test_a_batch_that_grows_gets_as_many_evaluations(study, at):
    variant = study.Variant(study.sequential(), batch=(1 / 4, 1.0))
    plan = study.make_plan(variant, at)
    assert [plan.batch_size(cycle) for cycle in range(plan.cycles)] == [4, 4, 16, 16]
    task = study.make_task(at, plan, variant.batches_per_cycle)
    stacks = [task.batches(np.random.default_rng(0), cycle)["label"] for cycle in range(4)]
    assert [labels.shape for labels in stacks] == [(8, 4), (8, 4), (2, 16), (2, 16)]
    candidates = study.count_candidates(variant, at)  # of a cycle; each scores a mini-batch
    assert candidates * (4 + 4 + 16 + 16) <= plan.image_evaluations == candidates * 3 * 16


def test_a_search_that_costs_more_than_it_said_ends_when_all_is_spent(study, at):
    variant = study.Variant(study.sequential(), usual=1 / 4)
    plan = study.make_plan(variant, at)
    lines = study.run_variant(variant, at, plan, seed=0, minutes=10.0)
    assert len(lines) == 3 < plan.cycles
    assert lines[-2]["image_evaluations"] < plan.image_evaluations
    assert lines[-1]["image_evaluations"] == plan.image_evaluations


def test_a_run_whose_time_is_over_leaves_nothing(study, at):
    variant = study.Variant(study.sequential())
    plan = study.make_plan(variant, at)
    assert study.run_variant(variant, at, plan, seed=0, minutes=0.0) is None
