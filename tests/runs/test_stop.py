"""Signals ask a training to save and end; they are handled as before afterwards."""

from __future__ import annotations

import signal
import sys
import time

import pytest

from lomaq.runs import stop

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_interrupts_at_once_where_nothing_is_trained(name: str) -> None:
    number = signal.Signals[name]
    before = signal.getsignal(number)
    with stop.stopped_by_signals():
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
        assert stop.exit_status() == 128 + number
    assert signal.getsignal(number) is before


def test_a_training_ends_after_its_iteration_and_a_second_signal_interrupts_it() -> None:
    with stop.stopped_by_signals(), stop.listening():
        assert not stop.asked()
        signal.raise_signal(signal.SIGTERM)
        assert stop.asked()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    assert not stop.asked()


def test_an_iteration_that_takes_too_long_is_interrupted(monkeypatch) -> None:
    monkeypatch.setattr(stop, "PATIENCE", 0.1)
    with stop.stopped_by_signals(), stop.listening():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            time.sleep(30)


def test_saving_may_take_its_time(monkeypatch) -> None:
    monkeypatch.setattr(stop, "PATIENCE", 0.05)
    with stop.stopped_by_signals(), stop.listening():
        signal.raise_signal(signal.SIGINT)
        stop.heed()
        time.sleep(0.3)


def test_what_is_ignored_stays_ignored_as_under_nohup() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop.stopped_by_signals():
            signal.raise_signal(signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_processes_are_started_without_the_signals_that_are_for_their_leader() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    with stop.unsignalled():
        assert set(stop.SIGNALS) <= signal.pthread_sigmask(signal.SIG_BLOCK, [])
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before
