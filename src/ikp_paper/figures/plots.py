"""Plots of experts' motions, learning curves and success, drawn from stored records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ikp.demo.plots import COLORS, figure, styled, success_curve
from ikp_paper.figures.linearity import PIECES, linearity
from ikp_paper.statistics import CellRecords
from ikp_paper.variants import VARIANTS

LEGEND_COLUMNS = 3
PALETTE = ("#1668a8", "#d9730d", "#3f8f5f", "#8d6cab", "#e0a526", "#b0578d", "#6b6f76")
CURVES = (("miss", "Large misses on held-out frames", "share of frames [%]", 100.0),
          ("joint_deg_median", "Median joint error on held-out frames", "largest joint [deg]", 1.0),
          ("loss", "Training loss", "loss, in units of the method", 1.0))  # fmt: skip
"""Key in a record's curve, title, axis label and factor."""


@styled
def expert_figure(title: str, recorded: Mapping[str, Any]) -> Figure:
    """An expert's motion in joint and Cartesian space: one episode in full colour, further ones behind it.

    The titles give its distance from a polyline of a few pieces in each space (`ikp_paper.figures.linearity`).
    """
    made, axes = figure(10.5, 4.3, 1, 2)
    made.suptitle(title, x=0.01, ha="left", fontsize=12)
    joint_ax, tip_ax = axes[0]
    for i, episode in enumerate(recorded["episodes"]):
        strong = i == 0
        _joints(joint_ax, recorded, episode, "-", strong)
        _tips(tip_ax, recorded, episode, "position_true", "-", strong)
    _finish(joint_ax, tip_ax)
    left = linearity(recorded)
    joint_ax.set_title(f"Joints: {100 * left['joints']:.0f} % off {PIECES} straight pieces")
    tip_ax.set_title(f"Tip: {100 * left['tip']:.0f} % off {PIECES} straight pieces")
    return made


@styled
def offset_figure(title: str, recorded: Mapping[str, Any]) -> Figure:
    """Effect of constant joint offsets: parallel curves in joint space, a changing error in Cartesian space."""
    made, axes = figure(10.5, 8.2, 2, 2)
    made.suptitle(title, x=0.01, ha="left", fontsize=12)
    (joint_ax, joint_error_ax), (tip_ax, tip_error_ax) = axes
    first, offset = recorded["episodes"][0], np.array(recorded["q_offset"])
    _joints(joint_ax, recorded, first, "--", strong=True, labels=False)
    _joints(joint_ax, recorded, first, "-", strong=True, offset=offset)
    _tips(tip_ax, recorded, first, "position_seen", "--", strong=True, labels=False)
    _tips(tip_ax, recorded, first, "position_true", "-", strong=True)
    _finish(joint_ax, tip_ax)
    joint_ax.set_title("Joints: measured (dashed) and true")
    tip_ax.set_title("Tip: from measured joints (dashed) and true")
    for j, value in enumerate(np.degrees(offset)):
        joint_error_ax.axhline(value, color=PALETTE[j % len(PALETTE)])
    joint_error_ax.set(title="Joints: true minus measured", xlabel="time [s]", ylabel="[deg]")
    joint_error_ax.set_xlim(joint_ax.get_xlim())
    for i, episode in enumerate(recorded["episodes"]):
        error = 1e3 * (np.array(episode["position_true"]) - np.array(episode["position_seen"]))
        for t in range(error.shape[1]):
            for axis in range(3):
                color = PALETTE[(3 * t + axis) % len(PALETTE)]
                tip_error_ax.plot(episode["time"], error[:, t, axis], color=color, alpha=1 if i == 0 else 0.3)
    tip_error_ax.set(title="Tip: true minus measured, all episodes", xlabel="time [s]", ylabel="[mm]")
    return made


def _joints(
    ax: Axes, recorded: Mapping[str, Any], episode: Mapping[str, Any], style: str, strong: bool, *,
    offset: np.ndarray | float = 0.0, labels: bool = True,
) -> None:  # fmt: skip
    degrees = np.degrees(np.array(episode["q_measured"]) + offset)
    for j, name in enumerate(recorded["joint_names"]):
        label = name.removesuffix("_joint").replace("_", " ") if strong and labels else None
        color = PALETTE[j % len(PALETTE)]
        ax.plot(episode["time"], degrees[:, j], style, color=color, alpha=1 if strong else 0.25, label=label)


def _tips(
    ax: Axes, recorded: Mapping[str, Any], episode: Mapping[str, Any], key: str, style: str, strong: bool, *,
    labels: bool = True,
) -> None:  # fmt: skip
    positions = np.array(episode[key])
    several = len(recorded["tip_names"]) > 1
    for t, tip in enumerate(recorded["tip_names"]):
        for axis, name in enumerate("xyz"):
            label = (f"{tip} {name}" if several else name) if strong and labels else None
            color = PALETTE[(3 * t + axis) % len(PALETTE)]
            alpha = 1 if strong else 0.25
            ax.plot(episode["time"], positions[:, t, axis], style, color=color, alpha=alpha, label=label)


def _finish(joint_ax: Axes, tip_ax: Axes) -> None:
    joint_ax.set(title="Joints", xlabel="time [s]", ylabel="position [deg]")
    tip_ax.set(title="Tip", xlabel="time [s]", ylabel="position in the base frame [m]")
    for ax in (joint_ax, tip_ax):
        ax.legend(fontsize=7.5, ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.16))


@styled
def training_figure(title: str, finished: Sequence[CellRecords]) -> Figure:
    """Learning curves of a column's methods over training time; the first seed's line is thick.

    Args:
        title: of the figure.
        finished: cells that have a curve (`has_curve`).
    """
    legend_rows = -(-len(finished) // LEGEND_COLUMNS)
    made, axes = figure(13.5, 3.8 + 0.22 * legend_rows, 1, len(CURVES))
    made.suptitle(title, x=0.01, ha="left", fontsize=12)
    for ax, (key, words, unit, factor) in zip(axes[0], CURVES, strict=True):
        for item in finished:
            for i, record in enumerate(item.records.values()):
                curve = record["curve"]
                if key in curve:
                    ax.plot(
                        np.array(curve["seconds"]) / 60, factor * np.array(curve[key]),
                        color=_color(item.cell.variant), alpha=1 if i == 0 else 0.35,
                        linewidth=1.8 if i == 0 else 0.9, label=VARIANTS[item.cell.variant].title if i == 0 else None,
                    )  # fmt: skip
        ax.set(title=words, xlabel="training time [min]", ylabel=unit)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    made.legend(handles, labels, loc="outside lower center", ncols=LEGEND_COLUMNS, fontsize=8)
    return made


def has_curve(finished: CellRecords) -> bool:
    """Whether a training of the cell was validated more than once; short ones are validated only at the end."""
    return any(len(record["curve"].get("step", ())) > 1 for record in finished.records.values())


@styled
def demonstrations_figure(finished: Mapping[str, Sequence[CellRecords]]) -> Figure:
    """The metric over the number of demonstrations: a dot per seed, a line through the means.

    Args:
        finished: cells with finished runs, by variant.
    """
    made, axes = figure(6.5, 4.2)
    ax = axes[0, 0]
    for variant, cells in finished.items():
        points = sorted(
            (record["settings"]["demonstrations"], 100 * record["score"]["mean"])
            for cell in cells
            for record in cell.records.values()
        )
        counts = sorted({count for count, _ in points})
        means = [np.mean([score for count, score in points if count == wanted]) for wanted in counts]
        ax.plot(counts, means, color=_color(variant), label=VARIANTS[variant].title)
        ax.plot(*zip(*points, strict=True), "o", color=_color(variant), markersize=4)
    ax.set(title="Success over demonstrations", xlabel="demonstrations", ylabel="unseen episodes [%]")
    ax.set(xscale="log", ylim=(-2, 102))
    ax.legend(fontsize=9)
    return made


def time_figure(finished: Mapping[str, Sequence[CellRecords]]) -> Figure:
    """Success over training minutes, for the episodes of all seeds together; every point has its own trainings.

    Args:
        finished: cells with finished runs, by variant.
    """
    curves = {
        variant: [
            {"minutes": cell.mean_training("seconds") / 60, "summary": cell.together()} for cell in cells
        ]
        for variant, cells in finished.items()
    }
    return success_curve(curves, {variant: VARIANTS[variant].title for variant in finished})


def _color(variant: str) -> str:
    return COLORS.get(variant) or PALETTE[list(VARIANTS).index(variant) % len(PALETTE)]
