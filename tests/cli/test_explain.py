"""``rso explain``: what a run will cost."""

import json


def test_json_adds_up(points, rso):
    found = rso("explain", "--dataset", points, "--hidden", "5", "--batch-size", "20", "--json")
    assert found.status == 0
    told = json.loads(found.out)
    assert told["weights"] == sum(array["weights"] for array in told["arrays"]) == 91
    assert told["cycle_flops"] == sum(array["sweep_flops"] for array in told["arrays"])
    assert told["cycle_flops"] < told["cycle_flops_by_full_forwards"]
    assert told["forward_flops"] == 2 * 20 * (12 * 5 + 5 * 3)
    assert told["cycle_seconds"] > 0


def test_a_table_of_all_arrays(points, rso, tmp_path):
    found = rso("explain", "--dataset", points, "--hidden", "5")
    for name in ("hidden1/kernel", "output/scale", "a cycle: 91 visits", "at least"):
        assert name in found.out
    assert not any(tmp_path.iterdir())


def test_bad_settings_are_those_of_train(points, rso):
    found = rso("explain", "--dataset", points, "--batch-size", "99")
    assert found.status == 2 and "--batch-size is 99" in found.err and found.out == ""
