"""Commands between way-points."""

import numpy as np
import pytest


def test_way_points_are_reached_when_they_are_due_and_evenly():
    from execution import due_frames, interpolated

    due = due_frames(2, action_rate=2.5, fps=50)
    assert due.tolist() == [20, 40]
    start, way_points = np.array([0.0, 5.0]), np.array([[1.0, 5.0], [3.0, 0.0]])
    commands = interpolated(start, way_points, due)
    assert commands.shape == (40, 2)
    assert commands[19].tolist() == [1.0, 5.0]
    assert commands[39].tolist() == [3.0, 0.0]
    assert np.diff(np.vstack([start, commands])[:21, 0]) == pytest.approx(np.full(20, 0.05))
    assert np.diff(commands[19:, 1]) == pytest.approx(np.full(20, -0.25))


def test_at_the_rate_of_the_robot_way_points_are_the_commands():
    from execution import due_frames, interpolated

    way_points = np.random.default_rng(0).normal(size=(7, 14))
    commands = interpolated(np.zeros(14), way_points, due_frames(7, 50.0, 50.0))
    assert commands == pytest.approx(way_points)


def test_rates_that_divide_no_second_stay_in_time():
    from execution import due_frames

    assert due_frames(6, action_rate=3.0, fps=50).tolist() == [17, 33, 50, 67, 83, 100]


@pytest.mark.parametrize("rate", [0.0, 51.0])
def test_way_points_faster_than_the_robot_are_refused(rate):
    from execution import due_frames

    with pytest.raises(ValueError, match=f"action_rate is {rate:g} .*at most 50"):
        due_frames(1, rate, 50)
