"""How far a motion is from straight pieces."""

from __future__ import annotations

import numpy as np
import pytest

from ikp_paper.figures.linearity import linearity, polyline_error

TIME = np.linspace(0.0, 3.0, 31)
BENT = np.stack([np.interp(TIME, [0, 1, 2, 3], [0, 1, -1, 0]), np.interp(TIME, [0, 1, 3], [2, 0, 1])], -1)


def test_a_polyline_is_its_own_best_approximation():
    assert polyline_error(TIME, BENT, 3) < 1e-12
    assert polyline_error(TIME, BENT, 2) > 0.1


def test_a_smooth_motion_is_approached_with_more_pieces_and_the_unit_does_not_matter():
    wave = np.sin(2 * TIME)[:, None]
    errors = [polyline_error(TIME, wave, pieces) for pieces in (1, 2, 4, 8, 30)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-12
    assert polyline_error(TIME, 1e3 * wave + 5, 4) == pytest.approx(errors[2])


def test_the_best_knots_are_those_of_an_exhaustive_search():
    rng = np.random.default_rng(0)
    time, values = np.arange(8.0), rng.normal(size=(8, 2))
    spread = np.square(values - values.mean(0)).sum()
    found = []
    for i in range(1, 6):
        for j in range(i + 1, 7):
            knots = [0, i, j, 7]
            line = np.stack([np.interp(time, knots, values[knots, k]) for k in range(2)], -1)
            found.append(np.sqrt(np.square(values - line).sum() / spread))
    assert polyline_error(time, values, 3) == pytest.approx(min(found))


def test_standing_still_leaves_nothing_and_bad_input_is_refused():
    assert polyline_error(TIME, np.ones((31, 2))) == 0.0
    with pytest.raises(ValueError, match="2 points and 1 piece"):
        polyline_error(TIME[:1], BENT[:1])
    with pytest.raises(ValueError, match="2 points and 1 piece"):
        polyline_error(TIME, BENT, 0)


def test_both_spaces_of_a_record_are_compared():
    tip = np.stack([np.sin(3 * TIME), np.cos(3 * TIME), 0 * TIME], -1)[:, None]
    episode = {"time": TIME.tolist(), "q_measured": BENT.tolist(), "position_true": tip.tolist()}
    left = linearity({"episodes": [episode, episode]})
    assert left["joints"] < 1e-9 < left["tip"]
