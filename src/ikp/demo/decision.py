"""One decision of a trained policy: the pooled energy along every joint, and the poses of the candidates."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from ikp.demo.stages import LEDGER
from ikp.files import replaced_atomically
from ikp.policies import ImplicitPolicy
from ikp.policies.frames import observation_from_frames
from ikp.policies.landscape import energies_and_poses
from ikp.rollouts.evaluate import FIRST_SEED
from ikp.runs import Task
from ikp.spec import Observation
from ikp.tasks.registry import task_entry

POINTS = 200
ATTEMPTS = 5
PICTURE_SIZE = (480, 480)


@dataclass(frozen=True)
class Decision:
    """Arrays of one decision; joints in rad, positions in the robot's base frame in m, pixels as (column, row).

    Attributes:
        joint_names: (dof,).
        seed, step: which rollout, and which of its steps.
        observation: (height, width, 3) the image that the policy saw.
        picture: (height, width, 3) larger image of the same camera.
        film: (frames, height, width, 3) observations along the rollout.
        q_measured, q_chosen, q_expert: (dof,) measured joints, the policy's target, the scripted expert's target.
        targets: (dof, n) candidate targets over the range of each joint.
        energies: (dof, n) their energies, pooled with the regression.
        far_ends: (dof, n, 3, 4) pose of the far end of each joint's link at the candidates.
        far_end_measured, far_end_chosen: (dof, 3, 4) the same at the measured joint and at the chosen one.
        axes, anchors: (dof, 3) direction and a point of each joint's axis.
        links: (links, 3) origins of all links at the chosen target, base first.
        pixels_now, pixels_chosen, pixels_expert: (2,) the tool's tip in `picture`, by true kinematics.
    """

    joint_names: np.ndarray
    seed: np.ndarray
    step: np.ndarray
    observation: np.ndarray
    picture: np.ndarray
    film: np.ndarray
    q_measured: np.ndarray
    q_chosen: np.ndarray
    q_expert: np.ndarray
    targets: np.ndarray
    energies: np.ndarray
    far_ends: np.ndarray
    far_end_measured: np.ndarray
    far_end_chosen: np.ndarray
    axes: np.ndarray
    anchors: np.ndarray
    links: np.ndarray
    pixels_now: np.ndarray
    pixels_chosen: np.ndarray
    pixels_expert: np.ndarray

    def save(self, path: Path | str) -> None:
        """Write an npz file, complete or not at all."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replaced_atomically(path) as fresh, fresh.open("wb") as file:
            np.savez_compressed(file, **vars(self))

    @staticmethod
    def load(path: Path | str) -> Decision:
        """Read what `save` wrote.

        Raises:
            ValueError: the file is damaged.
        """
        try:
            with np.load(path) as stored:
                return Decision(**{field.name: stored[field.name] for field in fields(Decision)})
        except (ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise ValueError(
                f"{path} is damaged ({error}): delete it and {LEDGER} beside it, and run the demo again"
            ) from error


def record_decision(policy: ImplicitPolicy, task: Task, seed: int = FIRST_SEED) -> Decision:
    """Roll the policy out and record the decision with the largest motion before the grasp.

    The rollout is the first successful one of up to `ATTEMPTS`, or the last one.

    Raises:
        ValueError: the task has no image, or no scripted expert to compare with.
    """
    import gymnasium

    entry = task_entry(task.env_id)
    if not policy.spec.camera_names or entry.expert is None:
        raise ValueError(
            f"{task.env_id} with {task.env_kwargs}: a decision is shown with an image and an expert"
        )
    kwargs = {"render_size": PICTURE_SIZE, **task.env_kwargs, "render_camera": policy.spec.camera_names[0]}
    env = gymnasium.make(task.env_id, render_mode="rgb_array", **kwargs)
    try:
        last = seed + ATTEMPTS - 1
        actions, observations, success = _roll_out(policy, env, seed)
        while not success and seed < last:
            seed += 1
            actions, observations, success = _roll_out(policy, env, seed)
        step = _largest_motion(policy, actions, observations)
        return _take_apart(policy, env, entry.expert_class(), seed, step, actions, observations)
    finally:
        env.close()


def _roll_out(policy: ImplicitPolicy, env: Any, seed: int) -> tuple[list[np.ndarray], list[Mapping], bool]:
    observation, _ = env.reset(seed=seed)
    actions, observations, done = [], [], False
    success = False
    while not done:
        observations.append(observation)
        actions.append(policy.act(_window(policy, observations))[0].numpy())
        observation, _, terminated, truncated, info = env.step(actions[-1])
        done, success = terminated or truncated, bool(info["success"])
    return actions, [*observations, observation], success


def _window(policy: ImplicitPolicy, observations: list[Mapping]) -> Observation:
    history = policy.config.history
    padded = [observations[0]] * history + observations
    return observation_from_frames([padded[-history:]], policy.spec)


def _largest_motion(policy: ImplicitPolicy, actions: list[np.ndarray], observations: list[Mapping]) -> int:
    """The step before the gripper first holds at which the sum of the joints' motions is largest."""
    joints, grippers = list(policy.spec.joint_dims), list(policy.spec.discrete_dims)
    motions = []
    for action, observation in zip(actions, observations, strict=False):
        if grippers and observation["state"][grippers].max() > 0.5:
            break
        motions.append(np.abs(action[joints] - observation["state"][joints]).sum())
    return int(np.argmax(motions)) if motions else 0


def _take_apart(
    policy: ImplicitPolicy,
    env: Any,
    make_expert: Any,
    seed: int,
    step: int,
    actions: list,
    observations: list,
) -> Decision:
    env.reset(seed=seed)
    for action in actions[:step]:
        env.step(action)
    base, joints = env.unwrapped, list(policy.spec.joint_dims)
    observation = _window(policy, observations[: step + 1])
    expert = make_expert(env, np.random.default_rng(0), 0.0).action()
    chosen = actions[step]
    pixels = [
        _pixels(base, base.tip_pose(base.miscalibration.true(q.astype(np.float64)))[0])
        for q in (observations[step]["state"][joints], chosen[joints], expert[joints])
    ]
    shown = np.linspace(0, len(observations) - 1, 8).round().astype(int)
    image = "image" if "image" in observations[0] else policy.spec.camera_names[0]
    return Decision(
        joint_names=np.array([policy.spec.action_names[i].removesuffix(".pos") for i in joints]),
        seed=np.array(seed),
        step=np.array(step),
        observation=observations[step][image],
        picture=env.render(),
        film=np.stack([observations[i][image] for i in shown]),
        q_expert=expert[joints],
        pixels_now=pixels[0],
        pixels_chosen=pixels[1],
        pixels_expert=pixels[2],
        **energies_and_poses(policy, observation, POINTS),
    )


def _pixels(env: Any, point: np.ndarray) -> np.ndarray:
    """Pixel (column, row) of a point in the world [m] in the picture of the environment's render camera."""
    camera, (height, width) = env.data.camera(env.render_camera), env.render_size
    local = camera.xmat.reshape(3, 3).T @ (point - camera.xpos)
    focal = height / 2 / np.tan(np.radians(env.model.camera(env.render_camera).fovy[0]) / 2)
    return np.array((width / 2 + focal * local[0] / -local[2], height / 2 - focal * local[1] / -local[2]))
