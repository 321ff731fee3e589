"""Draw energies of two or more policies on the same frame of an unseen episode, and the goal in the image plane.

python tools/compare_energies.py RUN RUN ... [--seed 1000001] [--step 2] [--out FILE.png]

The scripted expert moves the arm to the frame; its own next step is drawn beside the policies' energies. Each energy is
shown, without the regression that decisions pool it with, as a probability density over the joint's targets, given the
policy's own choice of the joints before.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from matplotlib.figure import Figure

from ikp.demo.plots import COLORS, EXPERT, figure, save_figure, styled
from ikp.policies import ImplicitPolicy, load_policy
from ikp.policies.actions import JointTargets
from ikp.policies.frames import observation_from_frames
from ikp.rollouts.evaluate import FIRST_SEED
from ikp.runs import policy_provenance
from ikp.tasks import check_stored_id, task_entry
from ikp_paper.variants import VARIANTS

POINTS = 400
SHOWN = 1e-3
"""Share of the largest density below which a joint's range is cut off."""


def frame(task: dict[str, Any], seed: int, step: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Observation after `step` actions of the expert, and its next action."""
    entry = task_entry(check_stored_id(task["env_id"], "the policy"))
    env = gymnasium.make(entry.env_id, disable_env_checker=True, **task["env_kwargs"])
    observation, _ = env.reset(seed=seed)
    expert = entry.expert_class()(env, np.random.default_rng(0), 0.0)
    for _ in range(step):
        observation = env.step(expert.action())[0]
    action = expert.action()
    env.close()
    return observation, action


@torch.no_grad()
def densities(policy: ImplicitPolicy, observation: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Turn of every joint from where it is [deg], and its probability density [1/deg], both (joints, n)."""
    batch = observation_from_frames([[observation] * policy.config.history], policy.spec)
    values, _, chosen = policy.decision_slices(batch, POINTS)
    energies = policy.conditional_energies(policy.encode(batch), chosen)(values)
    joints, dof = policy.measured_joints(batch), len(policy.spec.joint_dims)
    if policy.config.targets == "absolute":
        values = values - joints[..., None]
    degrees = torch.rad2deg(values[0, :dof])
    width = (degrees[:, 1] - degrees[:, 0])[:, None]
    return degrees.numpy(), (torch.softmax(-energies[0, :dof], -1) / width).numpy()


@torch.no_grad()
def goal_seen(policy: ImplicitPolicy, observation: dict[str, np.ndarray]) -> np.ndarray | None:
    """Probability over the cells of the feature map that the motion leads there; None without an image plane."""
    batch = observation_from_frames([[observation] * policy.config.history], policy.spec)
    goal = policy.encode(batch).goal
    if goal is None:
        return None
    return torch.softmax(goal.logits.flatten(), 0).reshape(goal.logits.shape[1:]).numpy()


@styled
def compared(
    policies: dict[str, ImplicitPolicy], observation: dict[str, np.ndarray], action: np.ndarray
) -> Figure:
    """The image with the goal as it is seen, and a panel for each joint."""
    some = next(iter(policies.values()))
    joints = list(some.spec.joint_dims)
    columns = 1 + (len(joints) + 1) // 2
    made, axes = figure(3.1 * columns, 5.4, 2, columns)
    image = observation["image" if "image" in observation else some.spec.camera_names[0]]
    for ax in axes[:, 0]:
        ax.imshow(image, interpolation="nearest")
        ax.set_axis_off()
    axes[0, 0].set_title("What the policies see")
    axes[1, 0].set_title("Where the goal is seen")
    height, width = image.shape[:2]
    for policy in policies.values():
        seen = goal_seen(policy, observation)
        if seen is not None:
            extent = (-0.5, width - 0.5, height - 0.5, -0.5)
            opacity = (seen / seen.max()) ** 0.5
            axes[1, 0].imshow(seen, cmap="summer", alpha=opacity, extent=extent, interpolation="nearest")
    panels = axes[:, 1:].flat
    drawn: list[list[tuple[np.ndarray, np.ndarray]]] = [[] for _ in joints]
    for color, (name, policy) in zip(COLORS.values(), policies.items(), strict=False):
        for j, (degrees, density) in enumerate(zip(*densities(policy, observation), strict=True)):
            panels[j].plot(degrees, density, color=color, label=VARIANTS[name].title)
            drawn[j].append((degrees, density))
            panels[j].fill_between(degrees, density, color=color, alpha=0.15, linewidth=0)
    for j, i in enumerate(joints):
        turn = np.degrees(action[i] - observation["state"][i])
        panels[j].axvline(turn, color=EXPERT, linewidth=1.2, linestyle="--", label="what the expert would do")
        title = some.spec.action_names[i].removesuffix(".pos").removesuffix("_joint").replace("_", " ")
        panels[j].set(title=f"{j + 1}  {title}", xlabel="turn [deg]", ylim=(0, None), yticks=[])
        likely = np.concatenate([x[y > SHOWN * y.max()] for x, y in drawn[j]] + [[turn, 0.0]])
        panels[j].set_xlim(likely.min() - 0.5, likely.max() + 0.5)
    for ax in list(panels)[len(joints) :]:
        ax.set_axis_off()
    made.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(policies) + 1)
    return made


def main() -> None:
    """Load the policies, find the frame, write the picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--seed", type=int, default=FIRST_SEED)
    parser.add_argument("--step", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("docs/images/compared_energies.png"))
    given = parser.parse_args()
    policies = {}
    for run in given.runs:
        policy = load_policy(run)
        if not isinstance(policy, ImplicitPolicy) or not isinstance(policy.actions, JointTargets):
            parser.error(f"{run} is not an implicit policy over joints: choose runs of implicit-joint or ikp")
        name = policy_provenance(run)["method"] + ("-image" if policy.config.image_plane else "")
        if name in policies:
            parser.error(f"{run} is a second run of {name}: give one of each, their lines go by that name")
        policies[name] = policy
    observation, action = frame(policy_provenance(given.runs[0])["task"], given.seed, given.step)
    print(f"wrote {save_figure(compared(policies, observation, action), given.out)}")


if __name__ == "__main__":
    main()
