"""How many visits a loop makes in one call to the device."""

from rso_jax.training.time_left import next_call_size


def sizes(opening, each, compiling=3.0, boundary=1, calls=8):
    """Visits of the calls of a stage whose time is as said."""
    made, size = [], 1
    for number in range(calls):
        visits = -(-size // boundary) * boundary
        made.append((visits, opening + visits * each + compiling * (number == 0)))
        size = next_call_size(made)
    return [visits for visits, _ in made]


def test_calls_grow_to_about_a_second():
    assert sizes(0.0, 0.01)[-1] == 100
    assert sizes(0.0, 0.5)[-1] == 2
    assert max(sizes(0.0, 1e-6, calls=4)) <= 8**3, "and at most eightfold at once"


def test_calls_that_open_with_much_work_become_longer():
    assert sizes(3.0, 0.05, boundary=48)[-1] in (96, 144)
    assert sizes(0.5, 0.01)[-1] == 200, "a fifth of the time opens them"


def test_calls_that_cannot_be_short_do_not_grow_for_nothing():
    assert sizes(0.0, 0.1, boundary=48)[-1] == 48


def test_a_clock_that_did_not_move_is_no_error():
    assert sizes(0.0, 0.0, compiling=0.0, calls=3) == [1, 8, 64]
