"""Pictures of one decision: the energy along every joint beside the sweep of its link, and what the policy saw."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from ikp.demo.decision import Decision
from ikp.demo.plots import figure, styled

ENERGY_COLORS = "viridis"  # low energy, the good end, is dark
CHOSEN, EXPERT, MEASURED = "#d7301f", "#22262b", "#8b929a"
POINTER = 0.05
"""Length [m] of the strokes that show where a link points whose far end lies on the joint's axis."""


@styled
def energy_figure(decision: Decision) -> Figure:
    """Two panels per joint: E_j over the joint's range, and the path of its link's far end coloured by E_j."""
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
    ax.axvline(0, color=MEASURED, linewidth=1, label="where the joint is")
    ax.axvline(expert, color=EXPERT, linewidth=1.2, linestyle="--", label="what the expert would do")
    ax.plot(
        [chosen],
        [np.interp(chosen, degrees, energy)],
        "o",
        color=CHOSEN,
        markersize=7,
        label="chosen: least energy",
        zorder=5,
    )
    ax.set(xlim=(degrees[0], degrees[-1]), ylim=(-0.06 * energy.max(), 1.06 * energy.max()))
    ax.set(xlabel="turn from where it is [deg]", ylabel="energy above least")
    ax.locator_params(axis="x", nbins=6)
    ax.set_title(f"{j + 1}  {_title(decision, j)}")


def _sweep(ax: Axes, decision: Decision, j: int) -> None:
    """Seen along the joint's axis, where the path is a true circle, with the link at some of the candidates."""
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
    """The axis of the far end's frame that turns most visibly: the one most across the joint's axis."""
    across = 1 - np.abs(decision.axes[j] @ decision.far_end_chosen[j][:, :3])
    return np.eye(3)[int(np.argmax(across))]


def _view(axis: np.ndarray) -> tuple[np.ndarray, np.ndarray, str]:
    """Right and up (3,) of the picture plane across a joint's axis, and the view in words."""
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
    """What the policy saw, and in a larger picture where the tool is, where it goes and where the expert would."""
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
    larger.plot([], [], color=CHOSEN, linewidth=4, label="where the policy moves the tool in 0.1 s")
    larger.plot([], [], color=EXPERT, linewidth=1.6, label="where the expert would")
    larger.set_title("The same moment, larger")
    made.legend(loc="outside lower right", ncols=2)
    rows, columns = decision.picture.shape[:2]
    larger.set(xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5))
    for ax in (seen, larger):
        ax.set_axis_off()
    return made


@styled
def film_figure(decision: Decision) -> Figure:
    """Observations along the rollout, as the policy saw them."""
    count = len(decision.film)
    made, axes = figure(12, 12 / count + 0.2, 1, count)
    for ax, image in zip(axes[0], decision.film, strict=True):
        ax.imshow(image, interpolation="nearest")
        ax.set_axis_off()
    return made
