"""Pictures of a training and its evaluations, in one style; each function returns a Matplotlib figure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from ikp.files import replaced_atomically
from ikp.rollouts.summary import TOLERANCES, tolerance_name
from ikp_paper.variants import VARIANTS

COLORS = {
    "ikp-image": "#b8253a",
    "ikp": "#1668a8",
    "implicit-joint": "#d9730d",
    "explicit": "#6b6f76",
    "explicit-fk": "#8d6cab",
    "implicit-cartesian": "#3f8f5f",
    "raw": "#b0578d",
}
TRUE_COLOR, LEARNED_COLOR, SOLVED_COLOR = "#22262b", "#1668a8", "#e0a526"
STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e5e7ea",
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
}
RESOLUTION = 150
"""Dots per inch of the files."""


styled = mpl.rc_context(STYLE)
"""Decorator: the function draws in the common style."""


def figure(
    width: float, height: float, rows: int = 1, columns: int = 1, **options: Any
) -> tuple[Figure, np.ndarray]:
    """A figure with its axes in an array (rows, columns); no window, no global state."""
    made = Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(h_pad=0.07, w_pad=0.07))
    return made, made.subplots(rows, columns, squeeze=False, **options)


def save_figure(made: Figure, path: Path | str) -> Path:
    """Write a PNG, complete or not at all; its folder is made."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced_atomically(path) as fresh:
        made.savefig(fresh, format="png", dpi=RESOLUTION)
    return path


def read_metrics(path: Path | str) -> list[dict[str, Any]]:
    """The lines of a run's metrics.jsonl in order; what a killed run wrote beyond its last state is left out."""
    lines: dict[tuple, dict[str, Any]] = {}
    newest = 0
    for text in Path(path).read_text().splitlines():
        try:
            line = json.loads(text)
        except ValueError:  # cut off by the kill
            continue
        if line["step"] < newest:  # resumed from an earlier state
            lines = {key: kept for key, kept in lines.items() if kept["step"] < line["step"]}
        newest = line["step"]
        lines[newest, *sorted(line)] = line
    return list(lines.values())


@styled
def learning_curves(metrics: Sequence[Mapping[str, Any]]) -> Figure:
    """Loss, errors of the chosen actions, and the shares of large misses and of joints that stay, over minutes."""
    made, axes = figure(10.5, 6.4, 2, 2)
    _loss(axes[0, 0], metrics)
    _errors(axes[0, 1], metrics, "joint_deg", "Joint error of the chosen action", "largest joint [deg]")
    _errors(axes[1, 0], metrics, "tip_mm", "Tool-tip error of the chosen action", "distance [mm]")
    ax = axes[1, 1]
    for name, color, label in (
        ("training", "#9aa1a9", "training"),
        ("held_out", COLORS["ikp"], "held-out"),
    ):
        for key, style, words in (("miss", "-", "misses"), ("stay", "--", "staying")):
            minutes, values = _series(metrics, name, key)
            ax.plot(
                minutes, 100 * values, style, color=color, label=f"{label}, {words}", marker="o", markersize=3
            )
    ax.set(title="Large misses (10 mm or 5 deg), staying joints", ylabel="share [%]", ylim=(0, None))
    ax.legend()
    for ax in axes[1]:
        ax.set_xlabel("training time [min]")
    return made


def _loss(ax: Axes, metrics: Sequence[Mapping[str, Any]]) -> None:
    minutes, loss = _series(metrics, "train", "loss")
    ax.plot(minutes, loss, color="#c4c9cf", linewidth=0.8, label="one batch")
    if len(loss) > 20:
        window = max(5, len(loss) // 25)
        smooth = np.convolve(loss, np.ones(window) / window, mode="valid")
        ax.plot(minutes[window - 1 :], smooth, color=COLORS["ikp"], label=f"mean of {window}")
        ax.legend()
        ax.set_ylim(min(0, smooth.min()), np.quantile(loss, 0.99) * 1.05)
    ax.set(title="Training loss", ylabel="loss [nat]")


def _errors(ax: Axes, metrics: Sequence[Mapping[str, Any]], key: str, title: str, unit: str) -> None:
    for name, color, label in (("training", "#9aa1a9", "training"), ("held_out", COLORS["ikp"], "held-out")):
        for quantile, style in (("median", "-"), ("p90", "--")):
            minutes, values = _series(metrics, name, f"{key}_{quantile}")
            words = "median" if quantile == "median" else "90 %"
            ax.plot(
                minutes, values, style, color=color, label=f"{label}, {words}", marker="o", markersize=2.5
            )
    ax.set(title=title, ylabel=unit, yscale="log")
    _plain_log(ax.yaxis)
    ax.legend(fontsize=8.5)


def _plain_log(axis: Axis) -> None:
    """Ticks of a logarithmic axis at 1, 2, 5, 10, ... written as plain numbers."""
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _series(metrics: Sequence[Mapping[str, Any]], part: str, key: str) -> tuple[np.ndarray, np.ndarray]:
    found = [(line["seconds"] / 60, line[part][key]) for line in metrics if key in line.get(part, {})]
    minutes, values = np.array(found, dtype=float).reshape(-1, 2).T
    return minutes, values


@styled
def success_curve(curves: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure:
    """Success over training time.

    Args:
        curves: per row of `VARIANTS` its points, each with `minutes` and `summary` (see `summarize`).
    """
    shown: list[tuple[float, float] | None] = list(TOLERANCES[:2]) if _has_tolerances(curves) else [None]
    made, axes = figure(5.2 * len(shown) + 0.6, 3.9, 1, len(shown), sharey=True)
    for ax, tolerance in zip(axes[0], shown, strict=True):
        for shift, (method, points) in enumerate(curves.items()):
            shares = [_share(point["summary"], tolerance) for point in points]
            minutes = np.array([point["minutes"] for point in points])
            values = np.array([share["share"] for share in shares])
            low, high = np.array([share["interval_95"] for share in shares]).T
            error = 100 * np.maximum(np.stack([values - low, high - values]), 0)
            nudge = (
                0.004 * minutes.max() * (shift - (len(curves) - 1) / 2)
            )  # so that intervals do not overlap
            ax.errorbar(
                minutes + nudge, 100 * values, yerr=error, color=COLORS[method], capsize=2.5, marker="o",
                markersize=5, elinewidth=1, label=VARIANTS[method].title,
            )  # fmt: skip
        ax.set(xlabel="training time [min]", ylim=(-2, 102), xlim=(0, None))
        title = "Success" if tolerance is None else f"Within {tolerance[0]:g} mm and {tolerance[1]:g} deg"
        ax.set_title(title)
    axes[0, 0].set_ylabel("unseen episodes [%]")
    axes[0, 0].legend(loc="best", fontsize=9)
    return made


def _has_tolerances(curves: Mapping[str, Sequence[Mapping[str, Any]]]) -> bool:
    return all("within" in point["summary"] for points in curves.values() for point in points)


def _share(summary: Mapping[str, Any], tolerance: tuple[float, float] | None) -> Mapping[str, Any]:
    return summary["success"] if tolerance is None else summary["within"][tolerance_name(tolerance)]


@styled
def final_errors(episodes: Sequence[Mapping[str, Any]]) -> Figure:
    """Where the episodes end: position and yaw error, with the tolerances as boxes, and the distribution."""
    position = np.array([episode["info"]["position_error"] for episode in episodes]) * 1e3
    yaw = np.array([episode["info"]["yaw_error"] for episode in episodes])
    success = np.array([bool(episode["success"]) for episode in episodes])
    made, axes = figure(10.5, 3.9, 1, 2)
    scatter, distribution = axes[0]
    for hit, color, label in ((True, "#1a9850", "success"), (False, "#d73027", "failed")):
        chosen = success == hit
        scatter.plot(position[chosen], yaw[chosen], "o", color=color, markersize=4.5, alpha=0.75, label=label)
    for most_mm, most_deg in TOLERANCES:
        scatter.plot(
            [0.01, most_mm, most_mm],
            [most_deg, most_deg, 0.001],
            color="#444b54",
            linewidth=0.9,
            linestyle=":",
        )
    scatter.set(xscale="log", yscale="log", title="Final error of every episode")
    scatter.set(xlabel="position [mm]", ylabel="yaw [deg]")
    scatter.set_xlim(max(0.05, min(position.min() / 1.5, 1)), max(position.max() * 1.5, 20))
    scatter.set_ylim(max(0.02, min(yaw.min() / 1.5, 1)), max(yaw.max() * 1.5, 30))
    scatter.legend(loc="best")
    ranked = np.sort(position)
    distribution.step(
        ranked, 100 * np.arange(1, len(ranked) + 1) / len(ranked), where="post", color=COLORS["ikp"]
    )
    distribution.set(
        xscale="log",
        title="Episodes that end this close",
        xlabel="position [mm]",
        ylabel="share [%]",
        ylim=(0, 101),
    )
    distribution.set_xlim(scatter.get_xlim())
    for most_mm, _ in TOLERANCES:
        distribution.axvline(most_mm, color="#444b54", linewidth=0.9, linestyle=":")
        distribution.annotate(
            f"{most_mm:g} mm", (most_mm, 98), rotation=90, fontsize=8.5, color="#444b54", ha="right", va="top"
        )
    for axis in (scatter.xaxis, scatter.yaxis, distribution.xaxis):
        _plain_log(axis)
    return made


@styled
def offset_bars(offsets: Mapping[str, Any]) -> Figure:
    """True joint offsets, the learned ones and those by least squares, and what of each could be identified."""
    made, axes = figure(10.5, 3.9, 1, 2)
    bars, remaining = axes[0]
    names = [name.removesuffix("_joint").replace("_", "\n") for name in offsets["joints"]]
    place = np.arange(len(names))
    shown = [("true", TRUE_COLOR, "true"), ("learned", LEARNED_COLOR, "learned by the policy")]
    shown += [("from_constraints", SOLVED_COLOR, "least squares (vertical tool)")]
    shown = [item for item in shown if offsets.get(item[0]) is not None]
    for i, (key, color, label) in enumerate(shown):
        bars.bar(place + 0.27 * (i - (len(shown) - 1) / 2), offsets[key], 0.25, color=color, label=label)
    bars.axhline(0, color="#444b54", linewidth=0.8)
    bars.set_xticks(place, names, fontsize=8.5)
    bars.set(title="Joint offsets", ylabel="offset [deg]")
    bars.legend(fontsize=8.5)
    for i, (scenario, values) in enumerate(offsets["remaining_mm"].items()):
        shade = ("#1668a8", "#5b9bd0", "#e0a526", "#c2410c")[i % 4]
        remaining.bar(place + 0.2 * (i - 1.5), np.maximum(values, 0), 0.19, color=shade, label=scenario)
    remaining.set_xticks(place, names, fontsize=8.5)
    remaining.set(title="What one degree leaves unexplained", ylabel="at the tool tip [mm per deg]")
    remaining.legend(title="base and tool placement", title_fontsize=8.5, fontsize=8.5)
    remaining.grid(axis="x", visible=False)
    bars.grid(axis="x", visible=False)
    return made
