"""A source that brings nothing new is noticed, and a reader that was held up is not taken for that."""

import math

from ikp.robots.silence import Silence


def test_a_source_is_silent_once_the_limit_is_over():
    silence = Silence(0.062)
    assert not any(silence.look(0.004 * k, 0.004 * k) for k in range(10))
    looks = [silence.look(0.036 + 0.004 * k, 0.036) for k in range(1, 20)]
    assert looks.index(True) == 15  # 64 ms after the last new value
    assert math.isclose(silence.longest, 0.04 * 1.9)
    assert not silence.look(0.2, 0.2)
    assert silence.seconds == 0.0


def test_a_reader_that_was_held_up_looks_twice():
    silence = Silence(0.06)
    silence.look(1.0, 1.0)
    assert not silence.look(1.5, 1.0)  # what came meanwhile has not been taken yet
    assert not silence.look(1.504, 1.5)
    assert not silence.look(2.0, 1.5)
    assert silence.look(2.5, 1.5)


def test_a_time_that_is_no_number_counts_as_silent():
    assert Silence(0.06).look(1.0, math.nan)


def test_values_that_a_buffer_brings_too_late_are_no_news():
    silence = Silence(0.08)
    looks = [silence.look(0.01 * k, 0.01 * k - 0.3) for k in range(12)]
    assert looks.index(True) in (9, 10)
    slow = Silence(0.08)
    assert not any(slow.look(0.01 * k, 0.01 * k - 0.1) for k in range(100))


def test_a_clock_that_is_ahead_hides_no_silence():
    silence = Silence(0.06)
    silence.look(1.0, 90.0)
    assert [silence.look(1.0 + 0.01 * k, 90.0) for k in range(1, 10)].index(True) in (5, 6)
