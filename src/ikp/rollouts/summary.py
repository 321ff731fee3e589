"""Summary of an evaluation: success rate with its interval, mean scores, and errors of the final poses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ikp.rollouts.intervals import bootstrap_interval, wilson_interval

TOLERANCES = ((10.0, 15.0), (4.0, 4.0), (2.0, 2.0))
"""Tolerances in position [mm] and yaw [deg]: the criterion of insertion and two stricter ones."""
QUANTILES = (0.5, 0.75, 0.9)
SCORES = ("score", "balance")
"""Numbers in [0, 1] by which a task grades its episodes; the summary has their means."""


def tolerance_name(tolerance: tuple[float, float]) -> str:
    """Key of a tolerance in result files, such as `10mm_15deg`."""
    return f"{tolerance[0]:g}mm_{tolerance[1]:g}deg"


def summarize(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """Summarise an evaluation: shares with 95 % Wilson intervals, mean scores, and quantiles of the final errors.

    Args:
        evaluation: the result of `Evaluation.to_json`, or a result file that contains it.

    Returns:
        `success`; if episodes failed, `standing`, the share of these that ended standing still; for a task that grades
        its episodes, `scores` (mean and 95 % bootstrap interval of each of `SCORES`); for a task that reports
        `position_error` [m] and `yaw_error` [deg], `within` (successful episodes within each tolerance) and `errors`
        (quantiles of both over all episodes).
    """
    episodes = evaluation["episodes"]
    success = np.array([bool(episode["success"]) for episode in episodes])
    summary: dict[str, Any] = {"episodes": len(episodes), "success": _share(success)}
    if not success.all() and all("standing" in episode for episode in episodes):
        failed = [episode["standing"] for episode in episodes if not episode["success"]]
        summary["standing"] = _share(np.array(failed, dtype=bool))
    scores = [name for name in SCORES if all(name in episode["info"] for episode in episodes)]
    if scores:
        summary["scores"] = {name: _mean([episode["info"][name] for episode in episodes]) for name in scores}
    if not all({"position_error", "yaw_error"} <= set(episode["info"]) for episode in episodes):
        return summary
    position = np.array([episode["info"]["position_error"] for episode in episodes]) * 1e3
    yaw = np.array([episode["info"]["yaw_error"] for episode in episodes])
    summary["within"] = {
        tolerance_name((most_mm, most_deg)): _share(success & (position <= most_mm) & (yaw <= most_deg))
        for most_mm, most_deg in TOLERANCES
    }
    summary["errors"] = {
        "position_mm": {f"q{round(100 * q)}": float(np.quantile(position, q)) for q in QUANTILES},
        "yaw_deg": {f"q{round(100 * q)}": float(np.quantile(yaw, q)) for q in QUANTILES},
    }
    return summary


def _share(hits: np.ndarray) -> dict[str, Any]:
    return count_of(int(hits.sum()), len(hits))


def count_of(count: int, episodes: int) -> dict[str, Any]:
    """A count with its share and 95 % Wilson interval, in the form that `percent` takes."""
    return {
        "count": count,
        "share": count / episodes,
        "interval_95": list(wilson_interval(count, episodes)),
    }


def _mean(values: Sequence[float]) -> dict[str, Any]:
    return {"mean": float(np.mean(values)), "interval_95": list(bootstrap_interval(np.asarray(values)[None]))}


def percent(share: Mapping[str, Any]) -> str:
    """Format a share as `83 % (75 to 89 %)`, or the mean of a score as `97.3 % (96.1 to 98.2 %)`."""
    low, high = share["interval_95"]
    if "mean" in share:
        return f"{100 * share['mean']:.1f} % ({100 * low:.1f} to {100 * high:.1f} %)"
    return f"{100 * share['share']:.0f} % ({100 * low:.0f} to {100 * high:.0f} %)"


def summary_table(summary: Mapping[str, Any]) -> str:
    """The summary as a small plain-text table."""
    rows = [("", "share (95 % interval)"), ("success", percent(summary["success"]))]
    for name, score in summary.get("scores", {}).items():
        rows.append((f"mean {name}", percent(score)))
    for tolerance in TOLERANCES if "within" in summary else ():
        name = f"within {tolerance[0]:g} mm and {tolerance[1]:g} deg"
        rows.append((name, percent(summary["within"][tolerance_name(tolerance)])))
    if "standing" in summary:
        rows.append(("failures that end standing still", percent(summary["standing"])))
    lines = _aligned(rows)
    if "errors" in summary:
        names = ["final error", *("median" if q == 0.5 else f"{round(100 * q)} %" for q in QUANTILES)]
        keys = [f"q{round(100 * q)}" for q in QUANTILES]
        errors = summary["errors"]
        table = [tuple(names)]
        for name, key in (("position [mm]", "position_mm"), ("yaw [deg]", "yaw_deg")):
            table.append((name, *(f"{errors[key][q]:.1f}" for q in keys)))
        lines += ["", *_aligned(table)]
    return "\n".join(lines)


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
