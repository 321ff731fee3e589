"""Way-points: straight lines from the last commanded position, late ones left out, rest after the last."""

import numpy as np
import pytest

from ikp.robots.trajectory import Trajectory

START = np.zeros(2)


def test_a_path_is_a_line_from_the_commanded_position_and_ends_at_rest():
    path = Trajectory(0.0, START)
    assert path.schedule(np.array([1.0, 2.0]), np.array([[1.0, 0.0], [1.0, 2.0]]), 0.0, START) == 0
    for time, q, speed in ((0.5, [0.5, 0], [1, 0]), (1.25, [1, 0.5], [0, 2]), (3.0, [1, 2], [0, 0])):
        np.testing.assert_allclose(path.at(time)[0], q)
        np.testing.assert_allclose(path.at(time)[1], speed)


def test_new_waypoints_replace_those_after_them_and_start_where_the_arm_was_sent():
    path = Trajectory(0.0, START)
    path.schedule(np.array([1.0, 2.0]), np.array([[1.0, 0.0], [2.0, 0.0]]), 0.0, START)
    sent = np.array([0.4, 0.1])  # not on the path: the limits held the arm back
    path.schedule(np.array([1.5]), np.array([[1.0, 1.0]]), 0.5, sent)
    np.testing.assert_allclose(path.at(0.5)[0], sent)
    np.testing.assert_allclose(path.at(1.0)[0], [1.0, 0.0])
    np.testing.assert_allclose(path.at(9.0)[0], [1.0, 1.0])


def test_late_waypoints_are_counted_and_change_nothing():
    path = Trajectory(0.0, START)
    path.schedule(np.array([1.0]), np.array([[1.0, 0.0]]), 0.0, START)
    assert path.schedule(np.array([0.2, 0.4]), np.array([[9.0, 9.0]] * 2), 0.5, np.array([0.5, 0.0])) == 2
    np.testing.assert_allclose(path.at(0.75)[0], [0.75, 0.0])
    assert path.schedule(np.array([0.4, 0.7]), np.array([[9.0, 9], [0, 0]]), 0.5, np.array([0.5, 0.0])) == 1
    assert path.end == pytest.approx(0.7)
    assert (path.waiting(0.5), path.waiting(0.8)) == (1, 0)
