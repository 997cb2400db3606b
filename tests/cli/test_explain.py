"""``rso explain``: what a run will cost."""

import json


def test_json_adds_up(points, rso):
    found = rso("explain", "--dataset", points, "--hidden", "5", "--batch-size", "20", "--json")
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


def test_a_table_of_all_arrays(points, rso, tmp_path):
    found = rso("explain", "--dataset", points, "--hidden", "5")
    for name in (
        "hidden1/kernel",
        "output/scale",
        "a cycle: 91 visits",
        "times the bytes",
        "here a cycle takes about",
        "compiling takes",
    ):
        assert name in found.out
    assert not any(tmp_path.iterdir())


def test_why_a_candidate_is_dear_names_operation_and_line(points, rso):
    of_points = ("explain", "--dataset", points, "--hidden", "5", "--why")
    found = rso(*of_points)
    assert found.status == 0
    (line,) = [x for x in found.out.splitlines() if x.startswith("hidden1/kernel  dot_general")]
    assert "adds up over the column's channel" in line
    assert line.rpartition(":")[0].endswith("layers.py")
    arrays = json.loads(rso(*of_points, "--json").out)["arrays"]
    (note,) = next(a["dense"] for a in arrays if a["path"] == "hidden1/kernel")
    assert note["primitive"] == "dot_general" and note["shape"] == [60, 3]


def test_blocks_cost_their_probes_and_joint_steps(points, rso):
    of_points = ("explain", "--dataset", points, "--hidden", "5", "--json")
    whole = json.loads(rso(*of_points, "--preset", "spectral").out)
    assert whole["image_evaluations"] == 60 * (91 + 2 * 6)
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
