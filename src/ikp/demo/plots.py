"""Pictures of a training, its evaluations and one decision, in one style; each function returns a Matplotlib figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from ikp.demo.decision import Decision
from ikp.files import replaced_atomically
from ikp.rollouts.summary import TOLERANCES, tolerance_name

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
ENERGY_COLORS = "viridis"  # low energy, the good end, is dark
CHOSEN, EXPERT, MEASURED = "#d7301f", "#22262b", "#8b929a"
POINTER = 0.05
"""Length [m] of the strokes that show a link's direction where its far end lies on the joint's axis."""
RESOLUTION = 150
"""Dots per inch of the files."""


styled = mpl.rc_context(STYLE)
"""Decorator: the function draws in the common style."""


def figure(
    width: float, height: float, rows: int = 1, columns: int = 1, **options: Any
) -> tuple[Figure, np.ndarray]:
    """A figure with its axes in an array (rows, columns), without a window or global state."""
    made = Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(h_pad=0.07, w_pad=0.07))
    return made, made.subplots(rows, columns, squeeze=False, **options)


def save_figure(made: Figure, path: Path | str) -> Path:
    """Write a PNG, complete or not at all; its folder is made."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced_atomically(path) as fresh:
        made.savefig(fresh, format="png", dpi=RESOLUTION)
    return path


@styled
def learning_curves(metrics: Sequence[Mapping[str, Any]]) -> Figure:
    """Loss, errors of the chosen actions, and shares of large misses and of joints that do not move, over minutes."""
    made, axes = figure(10.5, 6.4, 2, 2)
    _loss(axes[0, 0], metrics)
    _errors(axes[0, 1], metrics, "joint_deg", "Joint error of the chosen action", "largest joint [deg]")
    _errors(axes[1, 0], metrics, "tip_mm", "Tool-tip error of the chosen action", "distance [mm]")
    ax = axes[1, 1]
    for name, color, label in (
        ("training", "#9aa1a9", "training"),
        ("held_out", COLORS["ikp"], "held-out"),
    ):
        for key, style, words in (("miss", "-", "misses"), ("stay", "--", "not moving")):
            minutes, values = _series(metrics, name, key)
            ax.plot(
                minutes, 100 * values, style, color=color, label=f"{label}, {words}", marker="o", markersize=3
            )
    ax.set(title="Misses (10 mm or 5 deg), joints at rest", ylabel="share [%]", ylim=(0, None))
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
def success_curve(curves: Mapping[str, Sequence[Mapping[str, Any]]], titles: Mapping[str, str]) -> Figure:
    """Success over training time.

    Args:
        curves: per method its points, each with `minutes` and `summary` (see `summarize`).
        titles: per method the words of the legend.
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
                markersize=5, elinewidth=1, label=titles[method],
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
    """Final position and yaw errors of the episodes, with the tolerances as boxes, and their distribution."""
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
        title="Episodes within this distance",
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
    """True, learned and least-squares joint offsets, and the part of each that is identifiable."""
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
    remaining.set(
        title="Effect of one degree that nothing else explains", ylabel="at the tool tip [mm per deg]"
    )
    remaining.legend(title="base and tool placement", title_fontsize=8.5, fontsize=8.5)
    remaining.grid(axis="x", visible=False)
    bars.grid(axis="x", visible=False)
    return made


@styled
def energy_figure(decision: Decision) -> Figure:
    """Two panels per joint: the pooled energy over its range, and its link's far end in the same colours."""
    dof = len(decision.joint_names)
    made, axes = figure(13, 2.75 * ((dof + 1) // 2), (dof + 1) // 2, 4)
    for j in range(dof):
        row, column = divmod(j, 2)
        _energy(axes[row, 2 * column], decision, j)
        _sweep(axes[row, 2 * column + 1], decision, j)
    for ax in axes.flat[2 * dof :]:
        ax.set_axis_off()
    handles, labels = axes[0, 0].get_legend_handles_labels()
    made.legend(handles, labels, loc="outside upper center", ncols=3)
    return made


def _energy(ax: Axes, decision: Decision, j: int) -> None:
    measured = decision.q_measured[j]
    degrees, energy = (
        np.degrees(decision.targets[j] - measured),
        decision.energies[j] - decision.energies[j].min(),
    )
    _colored_line(ax, np.stack([degrees, energy], -1), energy, width=2.6)
    chosen, expert = (np.degrees(q[j] - measured) for q in (decision.q_chosen, decision.q_expert))
    ax.axvline(0, color=MEASURED, linewidth=1, label="measured")
    ax.axvline(expert, color=EXPERT, linewidth=1.2, linestyle="--", label="expert")
    ax.plot(
        [chosen],
        [np.interp(chosen, degrees, energy)],
        "o",
        color=CHOSEN,
        markersize=7,
        label="chosen by the policy",
        zorder=5,
    )
    ax.set(xlim=(degrees[0], degrees[-1]), ylim=(-0.06 * energy.max(), 1.06 * energy.max()))
    ax.set(xlabel="change of the joint [deg]", ylabel="energy above minimum,\npooled with the regression")
    ax.locator_params(axis="x", nbins=6)
    ax.set_title(f"{j + 1}  {_title(decision, j)}")


def _sweep(ax: Axes, decision: Decision, j: int) -> None:
    """The far end's path, a circle seen along the joint's axis, with the link at some of the candidates."""
    right, up, view = _view(decision.axes[j])
    center = decision.anchors[j]

    def flat(points: np.ndarray) -> np.ndarray:
        offset = points - center
        return 1e3 * np.stack([offset @ right, offset @ up], -1)

    energy = decision.energies[j] - decision.energies[j].min()
    ends = decision.far_ends[j]
    path = flat(ends[:, :, 3])

    def stroke(end: np.ndarray) -> np.ndarray:
        on_axis = np.linalg.norm(flat(end[:, 3])) < 10
        other = end[:, 3] + POINTER * end[:, :3] @ _pointer(decision, j) if on_axis else center
        return flat(np.stack([end[:, 3], other]))

    strokes = [stroke(end) for end in ends[::6]]
    ax.plot(*flat(decision.links).T, color="#c9ced4", linewidth=5, solid_capstyle="round", zorder=1)
    ax.plot(0, 0, "o", color="#9aa1a9", markersize=8, zorder=2)
    ax.add_collection(
        LineCollection(strokes, array=energy[::6], cmap=ENERGY_COLORS, linewidths=1.4, zorder=3)
    )
    _colored_line(ax, path, energy, width=4)
    chosen = stroke(decision.far_end_chosen[j])
    ax.plot(*chosen.T, color=CHOSEN, linewidth=1.6, zorder=6)
    ax.plot(*chosen[0], "o", color=CHOSEN, markersize=7, zorder=6)
    reach = np.concatenate([path, *strokes, [(0.0, 0.0)]])
    middle, half = (reach.max(0) + reach.min(0)) / 2, max(np.ptp(reach, axis=0).max() * 0.58, 40)
    ax.set(
        xlim=(middle[0] - half, middle[0] + half), ylim=(middle[1] - half, middle[1] + half), aspect="equal"
    )
    ax.set(xlabel="from the joint [mm]", title=f"seen {view}")
    ax.locator_params(nbins=5)


def _pointer(decision: Decision, j: int) -> np.ndarray:
    """The axis of the far end's frame that turns most visibly: the one most perpendicular to the joint's axis."""
    across = 1 - np.abs(decision.axes[j] @ decision.far_end_chosen[j][:, :3])
    return np.eye(3)[int(np.argmax(across))]


def _view(axis: np.ndarray) -> tuple[np.ndarray, np.ndarray, str]:
    """Right and up (3,) of the picture plane perpendicular to a joint's axis, and the view in words."""
    above = abs(axis[2]) > 0.8
    right = np.array((1.0, 0, 0)) - axis[0] * axis if above else np.cross((0, 0, 1.0), axis)
    right /= np.linalg.norm(right)
    up = np.cross(axis, right) * (np.sign(axis[2]) if above else 1.0)
    return right, up, "from above" if above else "from the side"


def _colored_line(ax: Axes, points: np.ndarray, values: np.ndarray, width: float) -> None:
    segments = np.stack([points[:-1], points[1:]], 1)
    means = (values[:-1] + values[1:]) / 2
    ax.add_collection(
        LineCollection(
            list(segments), array=means, cmap=ENERGY_COLORS, linewidths=width, zorder=4, capstyle="round"
        )
    )


def _title(decision: Decision, j: int) -> str:
    return str(decision.joint_names[j]).removesuffix("_joint").replace("_", " ")


@styled
def scene_figure(decision: Decision) -> Figure:
    """The policy's image, and a larger one with the motion that the policy chose and that of the expert."""
    made, axes = figure(9.2, 4.7, 1, 2)
    seen, larger = axes[0]
    seen.imshow(decision.observation, interpolation="nearest")
    height, width = decision.observation.shape[:2]
    seen.set_title(f"What the policy sees: {width} x {height} pixels")
    larger.imshow(decision.picture)
    for goal, color, width in ((decision.pixels_chosen, CHOSEN, 4), (decision.pixels_expert, EXPERT, 1.6)):
        arrow = {"arrowstyle": "-|>", "color": color, "linewidth": width, "shrinkA": 0, "shrinkB": 0}
        larger.annotate("", goal, decision.pixels_now, arrowprops=arrow, annotation_clip=True)
    larger.plot(*decision.pixels_now, "o", color="white", markeredgecolor=EXPERT, markersize=7)
    larger.plot([], [], color=CHOSEN, linewidth=4, label="motion that the policy chose (0.1 s)")
    larger.plot([], [], color=EXPERT, linewidth=1.6, label="motion of the expert")
    larger.set_title("The same camera, larger")
    made.legend(loc="outside lower right", ncols=2)
    rows, columns = decision.picture.shape[:2]
    larger.set(xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5))
    for ax in (seen, larger):
        ax.set_axis_off()
    return made


@styled
def film_figure(decision: Decision) -> Figure:
    """The policy's images along the rollout."""
    count = len(decision.film)
    made, axes = figure(12, 12 / count + 0.2, 1, count)
    for ax, image in zip(axes[0], decision.film, strict=True):
        ax.imshow(image, interpolation="nearest")
        ax.set_axis_off()
    return made
