"""Views of a policy's decision at a recorded step: the image, the arm, and the energy of each joint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ikp.data import Demonstrations, load_dataset
from ikp.files import replaced_atomically
from ikp.policies import ImplicitPolicy, Policy
from ikp.policies.landscape import energies_and_poses
from ikp.robots.extras import load
from ikp.rollouts.video import write_grid

POINTS = 120
DPI = 100
KINDS = (".png", ".mp4", ".rrd")


@dataclass(frozen=True)
class Decision:
    """A decision at a recorded step.

    Attributes:
        images: of the step, by camera, (height, width, 3) uint8.
        arrays: see `ikp.policies.landscape.energies_and_poses`.
        recorded: the recorded action's joints (dof,) [rad].
        names: of the joints.
        title: which step it is.
    """

    images: dict[str, np.ndarray]
    arrays: dict[str, np.ndarray]
    recorded: np.ndarray
    names: tuple[str, ...]
    title: str


def load_episode(policy: Policy, root: Path | str, episode: int) -> Demonstrations:
    """A recorded episode in the policy's units.

    Raises:
        DatasetError: there is no such episode, or it does not fit the policy.
        ValueError: the policy has no energies over link poses, or several way-points.
    """
    if not isinstance(policy, ImplicitPolicy) or policy.poses is None:
        raise ValueError(
            "energies over poses are shown for implicit policies with link poses, such as the method ikp"
        )
    if policy.config.timing.way_points > 1:
        raise ValueError(
            f"the policy decides {policy.config.timing.way_points} way-points at once: energies are shown of policies "
            "with one way-point"
        )
    return load_dataset(
        root, episodes=[episode], robot=policy.robot, joint_map=policy.spec.joint_map, progress=False
    )


def decide(policy: Policy, data: Demonstrations, step: int, episode: int = 0) -> Decision:
    """The policy's decision at a step of an episode, whose index is for the title.

    Raises:
        ValueError: there is no such step.
    """
    if not 0 <= step < len(data):
        raise ValueError(f"step is {step}: the episode has the steps 0 to {len(data) - 1}")
    assert isinstance(policy, ImplicitPolicy)
    batch = data.batch(torch.tensor([step]), **policy.batch_options)
    arrays = energies_and_poses(policy, {key: batch[key] for key in batch if key != "action"}, POINTS)
    joints = list(policy.spec.joint_dims)
    return Decision(
        images={name: image[0, -1].numpy() for name, image in batch["images"].items()},
        arrays=arrays,
        recorded=batch["action"][0, joints].numpy(),
        names=tuple(policy.spec.action_names[i].removesuffix(".pos") for i in joints),
        title=f"episode {episode}, step {step} (the last is {len(data) - 1})",
    )


LINES = {
    "chosen": {"color": "tab:green", "linewidth": 4.0, "alpha": 0.6},
    "measured": {"color": "tab:blue", "linewidth": 1.5, "linestyle": ":"},
    "recorded": {"color": "tab:orange", "linewidth": 1.5, "linestyle": "--"},
}
"""Lines of the curves, widest first, so that all are seen where they lie on each other."""


def draw(decision: Decision, size: tuple[float, float] = (12.8, 7.2)) -> np.ndarray:
    """A picture (height, width, 3) uint8 of a decision."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    layout: Any = figure.get_layout_engine()
    layout.set(rect=(0.035, 0.065, 0.93, 0.87))  # a film has a border
    parts: Any = figure.subfigures(1, 3, width_ratios=[1, 1.5, 1.3])
    left, middle, right = parts
    figure.suptitle(decision.title, y=0.93)
    for axes, (name, image) in zip(
        np.atleast_1d(left.subplots(max(len(decision.images), 1), 1)), decision.images.items(), strict=False
    ):
        axes.imshow(image)
        axes.set_title(f"camera {name!r}", fontsize=10)
        axes.axis("off")
    _draw_arm(middle, decision)
    _draw_curves(right, decision)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _draw_curves(figure: Any, decision: Decision) -> None:
    """The energy of each joint along its candidates, and where it is, should go and went."""
    arrays = decision.arrays
    curves = np.atleast_1d(figure.subplots(len(decision.names), 1))
    values = {
        "chosen": arrays["q_chosen"],
        "measured": arrays["q_measured"],
        "recorded": decision.recorded,
    }
    for joint, axes in enumerate(curves):
        for label, style in LINES.items():
            axes.axvline(np.degrees(values[label][joint]), label=label, **style)
        axes.plot(np.degrees(arrays["targets"][joint]), arrays["energies"][joint], color="0.2", linewidth=1)
        name = decision.names[joint].removesuffix("_joint").replace("_", " ")
        axes.set_title(name, fontsize=8, loc="left", pad=2)
        axes.margins(x=0)
        axes.tick_params(labelsize=6)
    handles, labels = curves[0].get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=8, ncols=3, loc="outside upper center", frameon=False)
    figure.supylabel("energy of a target: low is good", fontsize=8)
    curves[-1].set_xlabel("joint target [deg]", fontsize=8)


def _draw_arm(figure: Any, decision: Decision) -> None:
    """The arm at the chosen target, and where each link's far end would be at the candidates, coloured by energy."""
    axes, arrays = figure.add_subplot(projection="3d"), decision.arrays
    links, sweep = arrays["links"], None
    axes.plot(*links.T, color="0.55", linewidth=3, marker="o", markersize=4, label="arm at the chosen target")
    for joint, energies in enumerate(arrays["energies"]):
        points = arrays["far_ends"][joint][:, :, 3]
        level = (energies - energies.min()) / (np.ptp(energies) or 1.0)
        sweep = axes.scatter(*points.T, c=level, cmap="viridis", vmin=0, vmax=1, s=9, depthshade=False)
    for name, key, style in (
        ("measured", "far_end_measured", {"facecolors": "none", "edgecolors": "tab:blue", "s": 60}),
        ("chosen", "far_end_chosen", {"color": "tab:green", "s": 25}),
    ):
        ends = arrays[key][:, :, 3]
        axes.scatter(*ends.T, depthshade=False, label=f"far ends of the links, {name}", **style)
    middle, reach = links.mean(axis=0), max(float(np.ptp(links, axis=0).max()) / 2, 0.1)
    for letter, center in zip("xyz", middle, strict=True):
        getattr(axes, f"set_{letter}lim")(center - reach, center + reach)
        getattr(axes, f"set_{letter}label")(f"{letter} [m]", fontsize=7)
    axes.set_box_aspect((1, 1, 1), zoom=0.95)
    axes.tick_params(labelsize=6)
    axes.legend(fontsize=7, loc="upper left")
    figure.colorbar(
        sweep, ax=axes, orientation="horizontal", shrink=0.6, pad=0.05, ticks=[0, 1],
        label="candidates of each link: its lowest (0) to its highest (1) energy",
    )  # fmt: skip


def write_view(policy: Policy, root: Path | str, episode: int, step: int | None, out: Path | str) -> Path:
    """Write a view: png for one step, mp4 for an episode, rrd for Rerun.

    Args:
        policy: an implicit policy with link poses.
        root: folder of a data set.
        episode: its index.
        step: a frame; None for all, in a png the middle one.
        out: the file.

    Raises:
        ValueError: the file has another ending, or policy, episode and step do not fit.
        OSError: the file cannot be written, or Rerun is missing.
    """
    out = Path(out)
    if out.suffix not in KINDS:
        raise ValueError(f"the view {out} must end in {', '.join(KINDS)}")
    if out.suffix == ".rrd":
        load("rerun", f"the view {out}")  # before the work
    data = load_episode(policy, root, episode)
    if out.suffix == ".png":
        picture = draw(decide(policy, data, len(data) // 2 if step is None else step, episode))
        from PIL import Image

        out.parent.mkdir(parents=True, exist_ok=True)
        with replaced_atomically(out) as fresh:
            Image.fromarray(picture).save(fresh, "PNG")
        return out
    steps = range(len(data)) if step is None else [step]
    decisions = (decide(policy, data, each, episode) for each in steps)
    if out.suffix == ".mp4":
        frames = [draw(decision) for decision in decisions]
        return write_grid([frames], out, data.spec.fps, [bool(data.success[0])], max_width=1280)
    return _write_rerun(out, list(decisions), data.spec.fps)


def _write_rerun(out: Path, decisions: list[Decision], fps: float) -> Path:
    rerun = load("rerun", f"the view {out}")
    out.parent.mkdir(parents=True, exist_ok=True)
    rerun.init("ikp view")
    with replaced_atomically(out) as fresh:
        rerun.save(fresh)
        for number, decision in enumerate(decisions):
            rerun.set_time("step", sequence=number)
            rerun.set_time("time", duration=number / fps)
            arrays = decision.arrays
            for name, image in decision.images.items():
                rerun.log(f"camera/{name}", rerun.Image(image))
            rerun.log("arm/chosen", rerun.LineStrips3D([arrays["links"]], radii=0.01))
            for joint, name in enumerate(decision.names):
                energies = arrays["energies"][joint]
                level = (energies - energies.min()) / (np.ptp(energies) or 1.0)
                colors = np.stack([255 * level, 200 * (1 - level), 80 + 0 * level], axis=1).astype(np.uint8)
                rerun.log(
                    f"arm/{name}",
                    rerun.Points3D(arrays["far_ends"][joint][:, :, 3], colors=colors, radii=0.004),
                )
                rerun.log(f"energy/{name}", rerun.Tensor(energies[None], dim_names=("row", "target")))
                rerun.log(f"chosen/{name}", rerun.Scalars(float(arrays["q_chosen"][joint])))
        rerun.disconnect()
    return out
