"""The first signal asks, the second acts as it always did."""

import os
import signal

import pytest

from rso_jax.training import StopRequest, stop_on_signals


def test_nothing_asked():
    with stop_on_signals() as stop:
        assert stop.reason() is None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_and_says_so(number, capfd):
    before = signal.getsignal(number)
    with stop_on_signals() as stop:
        os.kill(os.getpid(), number)
        assert stop.signal == number and stop.reason() == f"stopped by {number.name}"
    assert signal.getsignal(number) is before
    assert "stopping soon; again to stop at once" in capfd.readouterr().err


def test_the_second_ctrl_c_interrupts():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # shells ignore it behind &
    try:
        with stop_on_signals():
            os.kill(os.getpid(), signal.SIGINT)
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_time_limit_that_has_passed():
    with stop_on_signals(max_minutes=1e-9) as stop:
        assert stop.reason() == "stopped after 1e-09 min"
    with stop_on_signals(max_minutes=60) as stop:
        assert stop.reason() is None


def test_a_stop_asked_for():
    stop = StopRequest()
    assert stop.reason() is None
    stop.ask()
    assert stop.reason() == "stopped on request"
    stop.ask("stopped by the user's button")
    assert stop.reason() == "stopped by the user's button"
