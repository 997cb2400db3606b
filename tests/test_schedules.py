"""Settings that change from cycle to cycle."""

from rso_jax.schedules import in_parts


def test_one_value_after_the_other_each_for_as_many_cycles():
    size = in_parts((10, 20, 30), cycles=6)
    assert [size(cycle) for cycle in range(8)] == [10, 10, 20, 20, 30, 30, 30, 30]
    assert [in_parts((1, 2), cycles=5)(cycle) for cycle in range(5)] == [1, 1, 1, 2, 2]
