"""Shares, scores and errors of an evaluation."""

import numpy as np
import pytest

from ikp.rollouts.intervals import bootstrap_interval, wilson_interval
from ikp.rollouts.summary import summarize, summary_table


def evaluation(errors):
    """Episodes of (success, position error [m], yaw error [deg])."""
    return {
        "episodes": [
            {"success": success, "info": {"position_error": position, "yaw_error": yaw}}
            for success, position, yaw in errors
        ]
    }


def test_shares_count_successful_episodes_within_each_tolerance():
    summary = summarize(
        evaluation([(True, 0.001, 1.0), (True, 0.003, 3.0), (True, 0.009, 1.0), (False, 0.0005, 0.1)])
    )
    assert summary["success"]["count"] == 3
    assert [share["count"] for share in summary["within"].values()] == [3, 2, 1]
    assert summary["success"]["interval_95"] == list(wilson_interval(3, 4))
    assert summary["errors"]["position_mm"]["q50"] == pytest.approx(2.0)


def test_a_task_without_errors_still_has_a_success_rate():
    summary = summarize({"episodes": [{"success": True, "info": {}}, {"success": False, "info": {}}]})
    assert summary["success"]["share"] == 0.5
    assert "within" not in summary
    assert "success" in summary_table(summary)


def test_the_table_is_aligned_text():
    table = summary_table(summarize(evaluation([(True, 0.001, 1.0)] * 8 + [(False, 0.2, 40.0)] * 2)))
    lines = table.splitlines()
    assert "80 % (49 to 94 %)" in lines[1]
    assert lines[-1].startswith("yaw [deg]")
    assert "within 4 mm and 4 deg" in table


def test_graded_episodes_have_a_mean_score_with_an_interval():
    scores = [1.0] * 8 + [0.5, 0.7]
    episodes = [
        {"success": score >= 0.9, "info": {"score": score, "balance": 0.5 * score}} for score in scores
    ]
    summary = summarize({"episodes": episodes})
    assert summary["scores"]["score"]["mean"] == pytest.approx(0.92)
    low, high = summary["scores"]["score"]["interval_95"]
    assert low == pytest.approx(0.8, abs=1e-9)  # a quantile of ten scores' means falls on a multiple of 0.01
    assert 0.92 < high <= 1.0
    assert summary["scores"]["balance"]["mean"] == pytest.approx(0.46)
    assert any(
        line.startswith("mean score") and "92.0 % (" in line for line in summary_table(summary).splitlines()
    )


def test_bootstrap_intervals_are_those_of_a_normal_mean():
    values = np.random.default_rng(1).normal(0.6, 0.1, (1, 400))
    low, high = bootstrap_interval(values)
    assert low == pytest.approx(np.mean(values) - 1.96 * np.std(values) / 20, abs=1e-3)
    assert high == pytest.approx(np.mean(values) + 1.96 * np.std(values) / 20, abs=1e-3)
    assert bootstrap_interval(values) == (low, high)
    with pytest.raises(ValueError, match="at least one"):
        bootstrap_interval(np.zeros((1, 0)))


def test_of_failures_the_share_that_ends_standing_still_is_told():
    def episode(success: bool, standing: bool) -> dict:
        return {"success": success, "info": {}, "standing": standing}

    ends = [episode(True, True), episode(False, True), episode(False, False), episode(False, True)]
    summary = summarize({"episodes": ends})
    assert summary["standing"]["count"] == 2
    assert summary["standing"]["share"] == pytest.approx(2 / 3)
    assert "standing still" in summary_table(summary)
    assert "standing" not in summarize({"episodes": ends[:1]}), "nothing failed"
