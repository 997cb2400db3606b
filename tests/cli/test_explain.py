"""``rso explain``: what a run will cost."""

import json

import pytest


def test_json_adds_up(points, rso):
    settings = ("--hidden", "5", "--batch-size", "20", "--why", "--json")
    found = rso("explain", "--dataset", points, *settings)
    assert found.status == 0
    told = json.loads(found.out)
    assert told["weights"] == sum(array["weights"] for array in told["arrays"]) == 91
    for what in ("flops", "bytes"):
        swept = sum(array[f"sweep_{what}"] for array in told["arrays"])
        assert told[f"cycle_{what}"] == swept < told[f"cycle_{what}_by_full_forwards"]
        for array in told["arrays"]:
            assert (
                0 < array[f"candidate_{what}"] < array[f"forward_{what}"] == told[f"forward_{what}"]
            )
    products = 2 * 20 * (12 * 5 + 5 * 3)
    assert products < told["forward_flops"] < 2 * products
    # At least its images and its kernels are read.
    assert told["forward_bytes"] > 4 * (20 * 12 + 12 * 5 + 5 * 3)
    swept = sum(array["seconds"] for array in told["arrays"])
    assert 0 < swept <= told["cycle_seconds"]
    assert any(array["measured"] for array in told["arrays"]) and 0 < told["measured_share"] <= 1
    (note,) = next(a["dense"] for a in told["arrays"] if a["path"] == "hidden1/kernel")
    assert note["primitive"] == "dot_general" and note["shape"] == [20, 3]


def test_a_table_of_all_arrays_and_of_operation_and_line_that_make_one_dear(points, rso, tmp_path):
    found = rso("explain", "--dataset", points, "--hidden", "5", "--why")
    assert found.status == 0
    for name in (
        "hidden1/kernel",
        "output/scale",
        "a cycle: 91 visits",
        "times the bytes",
        "here a cycle takes about",
        "compiling takes",
    ):
        assert name in found.out
    (line,) = [x for x in found.out.splitlines() if x.startswith("hidden1/kernel  dot_general")]
    assert "adds up over the column's channel" in line
    assert line.rpartition(":")[0].endswith("layers.py")
    assert not any(tmp_path.iterdir())


def test_blocks_cost_their_probes_and_joint_steps(points, rso):
    of_points = ("explain", "--dataset", points, "--hidden", "5", "--json")
    parts = json.loads(
        rso(*of_points, "--batch-size", "7", "--block", "4", "--joint-step", "accepted").out
    )
    # Two probes of a weight, then the incumbent and three joint steps of a block. The kernels' 5
    # columns of 12 weights are blocks of 4, their 3 of 5 weights blocks of 3, as are the numbers.
    in_fours, in_threes = 5 * 3, 3 * 2 + 2 * (2 + 1)
    assert parts["image_evaluations"] == 7 * (in_fours * (2 * 4 + 4) + in_threes * (2 * 3 + 4))


def test_bad_settings_are_those_of_train(points, rso):
    found = rso("explain", "--dataset", points, "--batch-size", "99")
    assert found.status == 2 and "--batch-size is 99" in found.err and found.out == ""


SLOPES = ("--optimizer", "slopes", "--hidden", "5", "--batch-size", "20")


def test_slopes_are_counted_by_array(points, rso):
    found = rso("explain", "--dataset", points, *SLOPES, "--json")
    assert found.status == 0, found.err
    told = json.loads(found.out)
    arrays = {array["path"]: array for array in told["arrays"]}
    hidden, output = arrays["hidden1/kernel"], arrays["output/kernel"]
    scale = arrays["output/scale"]
    # Two batch norms follow the first layer: of its weights alone the slopes are right. One follows
    # the last, whose nodes are moved apart and twice in common; a scale has nothing but its weight.
    assert (hidden["moves"], hidden["columns"], hidden["height"]) == ("weights", 5, 12)
    assert (hidden["positions"], hidden["evaluations"]) == (1, 12 * 5)
    assert (output["moves"], output["positions"], output["evaluations"]) == ("nodes", 1, 3 * 3)
    assert (scale["moves"], scale["height"], scale["evaluations"]) == ("weights", 1, 3)
    assert told["weights"] == 91 and told["evaluations_by_weights"] == 92
    assert told["evaluations"] == 1 + 12 * 5 + 3 * 3 + (5 + 3) * 2
    assert told["steps"] == 3 and told["image_evaluations"] == 60 * told["evaluations"]
    for what in ("flops", "bytes"):
        for array in arrays.values():
            assert 0 < array[f"candidate_{what}"] <= told[f"forward_{what}"]
    assert abs(sum(array["share"] for array in arrays.values()) - 1) < 1e-6
    assert 0 < 3 * told["step_seconds"] < told["cycle_seconds"] and told["cycles"] == 50


def test_a_table_of_what_is_probed(points, rso, tmp_path):
    found = rso("explain", "--dataset", points, *SLOPES, "--cycles", "2")
    assert found.status == 0, found.err
    for name, counted in (
        ("hidden1/kernel", ["5", "12", "1", "weights", "60"]),
        ("output/kernel", ["3", "5", "1", "nodes", "9"]),
    ):
        (line,) = [x for x in found.out.splitlines() if x.startswith(name)]
        assert line.split()[1:6] == counted
    for said in (
        "a step: 86 evaluations of 20 examples, where weights alone would take 92; 3 steps are one",
        "here a step takes about",
        "2 epochs",
        "compiling takes",
    ):
        assert said in found.out
    assert not any(tmp_path.iterdir())


def test_arrays_that_take_turns_are_counted_together(points, rso):
    spectral = ("--optimizer", "slopes", "--preset", "spectral", "--hidden", "5")
    found = rso("explain", "--dataset", points, *spectral, "--json")
    assert found.status == 0, found.err
    told = json.loads(found.out)
    assert (told["turns"], told["evaluations"]) == (6, 91 + 6)
    # All 60 examples are one mini-batch, for one array.
    assert told["steps"] == 1 and told["image_evaluations"] == 60 * 97 // 6


@pytest.mark.parametrize("optimizer", ["rso", "slopes"])
def test_of_several_losses_each_arrays_own_is_told(optimizer, points, rso):
    network = ("--hidden", "5", "--heads", "1", "--norm", "none", "--batch-size", "20")
    found = rso("explain", "--dataset", points, "--optimizer", optimizer, *network)
    assert found.status == 0, found.err
    lines = [line.split() for line in found.out.splitlines()]
    own = {line[0]: line[-1] for line in lines if line and "/" in line[0]}
    assert own == {
        "hidden1/bias": "hidden1",
        "hidden1/kernel": "hidden1",
        "hidden1_head/kernel": "hidden1",
        "output/bias": "output",
        "output/kernel": "output",
    }
