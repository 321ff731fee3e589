"""Linear probe of a trained image encoder: how well its features predict the next working pose of the tool.

The loss mixes perception and control; a probe measures perception alone (Alain and Bengio, arXiv 1610.01644). Its
target is the tool's pose at the next gripper event or last frame of the demonstration (`Demonstrations.goal_state`), so
it needs neither privileged state nor annotation, and works on any data set with a robot and a camera.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ikp.data import Demonstrations
from ikp.kinematics import forward_kinematics
from ikp.kinematics.rotations import rotation_6d_to_matrix
from ikp.policies import Policy
from ikp.policies.observation import camera_part
from ikp.policies.policy import batch_to
from ikp.training.validation import evenly_spaced, frames_at_once, pose_distance, quantiles

FRAMES = 4096
"""Largest number of frames that the probe is trained on, and tested on."""
RIDGE = 1e-3
"""Penalty of the ridge regression, as a share of the mean square of its inputs."""
CHUNK = 256


@torch.no_grad()
def perception_probe(
    policy: Policy,
    demonstrations: Demonstrations,
    training: Int[Tensor, " train"],
    held_out: Int[Tensor, " test"],
) -> dict[str, float]:
    """Error of a linear prediction of the tool's next working pose from image features, on held-out frames.

    Args:
        policy: policy in evaluation mode.
        demonstrations: demonstrations in memory.
        training: frames for the linear regression, of which at most `FRAMES` are used, evenly spaced.
        held_out: frames for the test, of which at most `FRAMES` are used.

    Returns:
        `probe_mm_median`, `probe_mm_p90`, `probe_deg_median` and `probe_deg_p90` (of the worse tip if there are two),
        and the same with the prefix `blind` for a prediction from the gripper's state alone; empty without a robot or
        a camera.
    """
    if policy.robot is None or not policy.spec.camera_names:
        return {}
    train, test = (evenly_spaced(frames, FRAMES) for frames in (training, held_out))
    phases = [_phases(demonstrations, frames) for frames in (train, test)]
    seen = _standardised(*(_features(policy, demonstrations, frames) for frames in (train, test)))
    target, truth = (_goal_poses(policy, demonstrations, frames) for frames in (train, test))
    errors: dict[str, float] = {}
    for name, features in (("probe", seen), ("blind", [each[:, :0] for each in seen])):
        x, x_test = (_by_phase(*pair) for pair in zip(features, phases, strict=True))
        found = _poses(x_test @ _ridge(x, _flat(target)), truth.shape[1])
        distance, angle = pose_distance(found, truth)
        errors |= quantiles(f"{name}_mm", distance * 1e3) | quantiles(f"{name}_deg", angle.rad2deg())
    return errors


def _features(
    policy: Policy, demonstrations: Demonstrations, frames: Tensor
) -> Float[Tensor, "frame features"]:
    device = policy.scale.mean.device
    found = []
    for chunk in frames.split(min(CHUNK, frames_at_once(policy))):
        batch = batch_to(demonstrations.batch(chunk, **policy.batch_options), device)
        parts = policy.encoder.parts(batch)
        found.append(
            torch.cat([parts[camera_part(camera)] for camera in policy.spec.camera_names], -1).double().cpu()
        )
    return torch.cat(found)


def _standardised(train: Tensor, test: Tensor) -> list[Tensor]:
    """Both tensors standardised by mean and standard deviation of the first; a constant feature becomes 0."""
    mean, deviation = train.mean(0), train.std(0)
    return [(each - mean) / deviation.clamp(min=1e-9) for each in (train, test)]


def _goal_poses(
    policy: Policy, demonstrations: Demonstrations, frames: Tensor
) -> Float[Tensor, "frame tips 4 4"]:
    assert policy.robot is not None
    joints = demonstrations.goal_state[frames][:, list(policy.spec.joint_dims)].double().cpu()
    return forward_kinematics(policy.robot, joints)[:, list(policy.robot.tip_indices)]


def _phases(demonstrations: Demonstrations, frames: Tensor) -> Float[Tensor, "frame phases"]:
    """One-hot encoding of the combination of gripper states in each frame; each phase has a different goal."""
    closed = demonstrations.gripper_closed.cpu()
    code = (closed.long() * 2 ** torch.arange(closed.shape[1])).sum(-1)
    kinds = torch.unique(code)
    return (code[frames][:, None] == kinds).double()


def _by_phase(features: Tensor, phases: Tensor) -> Float[Tensor, "frame inputs"]:
    """The features and a constant, in separate columns for each phase."""
    inputs = torch.cat([features.new_ones(len(features), 1), features], -1)
    return (phases[:, :, None] * inputs[:, None]).flatten(1)


def _ridge(
    x: Float[Tensor, "frame inputs"], y: Float[Tensor, "frame outputs"]
) -> Float[Tensor, "inputs outputs"]:
    gram = x.t() @ x
    penalty = RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    return torch.linalg.solve(gram + penalty, x.t() @ y)


def _flat(poses: Float[Tensor, "frame tips 4 4"]) -> Float[Tensor, "frame outputs"]:
    """Positions and the first two columns of the rotations."""
    return poses[:, :, :3, [0, 1, 3]].flatten(1)


def _poses(flat: Float[Tensor, "frame outputs"], tips: int) -> Float[Tensor, "frame tips 4 4"]:
    columns = flat.reshape(-1, tips, 3, 3)
    poses = torch.eye(4, dtype=flat.dtype).repeat(len(flat), tips, 1, 1)
    poses[..., :3, :3] = rotation_6d_to_matrix(columns[..., :2].transpose(-1, -2).flatten(-2))
    poses[..., :3, 3] = columns[..., 2]
    return poses
