"""The image plane: candidates against brute force, walks, hindsight, ablations, learning where the goal is."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from ikp.kinematics import Camera, Robot, forward_kinematics, iiwa14_dual, project
from ikp.nets import EncoderConfig
from ikp.policies import (
    ImagePlaneConfig,
    Policy,
    PolicyConfig,
    load_policy,
    make_policy,
    save_policy,
)
from ikp.policies.image_plane import ERROR_SCALE, OBSERVED_FEATURES
from ikp.policies.link_features import LINK_FEATURES, LINK_GAIN

from .conftest import assert_walk_equals_all_at_once, small_batch, small_config, small_spec

CAMERA = Camera.look_at((-1.5, 0.0, 1.5), (-0.5, 0.0, 0.1), fovy=25.0, width=64, height=64)
"""It sees where the arms of `small_batch` work."""


def imaged(
    robot: Robot, space: str = "joint+cartesian", *, size: int = 12, **changes: object
) -> tuple[Policy, dict]:
    """A small policy with an image plane, its scales from a batch, and the batch."""
    torch.manual_seed(0)
    spec = replace(small_spec(pixels=True), cameras={"front": CAMERA})
    config = small_config(**{"action_space": space, "image_plane": ImagePlaneConfig(), **changes})
    policy = make_policy(robot, spec, config)
    batch = small_batch(spec, size, history=config.history)
    batch["goal_state"] = batch["state"][:, -1].roll(1, 0)
    policy.fit_scales(batch["state"][:, -1], batch["action"], goal_state=batch["goal_state"])
    return policy, batch


@pytest.mark.parametrize("residual", [(), ("offset", "drift", "dense", "link")])
def test_a_walk_equals_all_dimensions_at_once(robot, residual):
    policy, batch = imaged(robot, residual=residual)
    assert_walk_equals_all_at_once(policy, batch)


def test_tip_features_are_those_of_forward_kinematics(robot):
    """Candidate by candidate: prefix before the joint, measured joints after it, the tip's way from the goal."""
    policy, batch = imaged(robot)
    plane, poses = policy.plane, policy.poses
    with torch.no_grad():
        poses.residual.offset.value.add_(0.02 * torch.randn(6))
        context, joints = policy.encode(batch), policy.measured_joints(batch)
        targets = joints + 0.1 * torch.randn_like(joints)
        terms = policy.conditioning(context).link_inputs.terms(targets)
        turn = torch.linspace(-0.3, 0.3, 5)
        basis = torch.stack([turn.cos() - 1, turn.sin()], -1)
        found = terms.base[:, :, None] + torch.einsum("nk,bjkf->bjnf", basis, terms.slopes)
        place, heading = context.goal.position, context.goal.heading
        for j in range(6):
            q = torch.cat([targets[:, :j], joints[:, j:]], 1)[:, None].repeat(1, len(turn), 1)
            q[..., j] += turn
            T = forward_kinematics(robot, poses.residual(q.flatten(0, 1)))[:, robot.tip_indices[0]]
            T = T.reshape(*q.shape[:2], 4, 4)
            way = (
                T[..., :3, 3] - torch.cat([place, plane.height.expand(len(place), 1)], -1)[:, None]
            ) / ERROR_SCALE
            axis = T[..., :2, :3] @ plane.axis
            angle = (
                torch.atan2(axis[..., 1], axis[..., 0]) - torch.atan2(heading[:, 1], heading[:, 0])[:, None]
            )
            length = axis.norm(dim=-1)
            turned = torch.stack([length * angle.cos() - 1, length * angle.sin()], -1)
            expected = LINK_GAIN * torch.cat([way, turned], -1)
            torch.testing.assert_close(found[:, j, :, LINK_FEATURES:], expected, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("kind", ["implicit", "explicit"])
@pytest.mark.parametrize("space", ["joint", "joint+cartesian"])
@pytest.mark.parametrize("refine", [False, True])
def test_every_parameter_that_can_matter_has_a_gradient(robot, kind, space, refine):
    policy, batch = imaged(robot, space, kind=kind, image_plane=ImagePlaneConfig(refine_camera=refine))
    loss, parts = policy.loss(batch)
    loss.backward()
    assert "goal_pixel" in parts
    expected = policy.encoder.size + 54 * policy.config.observes_poses + OBSERVED_FEATURES
    assert policy.context_size == expected
    for name, parameter in policy.named_parameters():
        assert parameter.grad is not None, f"{name} has no gradient"
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, f"{name} has a zero gradient"
    assert torch.isfinite(policy.act(batch)).all()


def test_the_policys_loss_leaves_a_taught_goal_alone(robot):
    policy, batch = imaged(robot)
    context = policy.encode(batch)
    (gradient,) = torch.autograd.grad(
        context.features[:, -OBSERVED_FEATURES:].square().sum(),
        policy.plane.heatmap.inner.weight,
        allow_unused=True,
    )
    assert gradient is None


def test_saved_policies_keep_camera_and_scales(robot, tmp_path):
    policy, batch = imaged(robot, image_plane=ImagePlaneConfig(refine_camera=True))
    with torch.no_grad():
        policy.plane.camera_pose.add_(0.01)
    save_policy(policy, tmp_path / "policy")
    loaded = load_policy(tmp_path / "policy")
    assert loaded.spec.cameras == {"front": CAMERA}
    assert loaded.config == policy.config
    assert torch.equal(loaded.act(batch), policy.act(batch))


def test_what_is_missing_is_named(robot):
    spec, config = small_spec(pixels=True), small_config(image_plane=ImagePlaneConfig())
    with pytest.raises(ValueError, match="--camera NAME=camera.json"):
        make_policy(robot, spec, config)
    policy, batch = imaged(robot)
    with pytest.raises(ValueError, match="goals=True"):
        policy.loss({key: value for key, value in batch.items() if key != "goal_state"})
    with pytest.raises(ValueError, match="goal_state"):
        policy.fit_scales(batch["state"][:, -1], batch["action"])
    pooled = EncoderConfig(kind="pool", channels=8)
    with pytest.raises(ValueError, match="'pool' has no feature map: choose 'keypoint'"):
        imaged(robot, encoder=pooled)
    joints = tuple(f"joint_{i}" for i in range(14))
    two = replace(
        spec, action_names=joints, state_names=joints, joint_dims=tuple(range(14)), discrete_dims=()
    )
    with pytest.raises(ValueError, match="follows one tip"):
        make_policy(iiwa14_dual(), replace(two, cameras={"front": CAMERA}), config)


def dots(policy: Policy, batch: dict) -> dict:
    """The batch with images of a bright cross at the label's tool pose, one arm of it longer: place and heading."""
    plane = policy.plane
    tip = plane.tip(policy.poses.far_ends(batch["goal_state"][:, :6])).detach()
    images = torch.full((len(tip), 1, 32, 32, 3), 60, dtype=torch.uint8)
    along = torch.nn.functional.normalize(tip[:, :2, :3] @ plane.axis, dim=-1)
    for k in range(9):
        reach = torch.cat([along * 0.02 * k, torch.zeros(len(tip), 1)], -1)
        point = torch.cat([tip[:, :2, 3], plane.height.expand(len(tip), 1)], -1) + reach
        pixel = project(plane.K, plane.T_base_camera, point).floor().long().clamp(0, 31)
        colour = torch.tensor([255, 0, 0] if k < 2 else [255, 255, 255], dtype=torch.uint8)
        images[torch.arange(len(tip)), 0, pixel[:, 1], pixel[:, 0]] = colour
    return {**batch, "images": {"front": images}}


def test_hindsight_teaches_place_and_heading(robot):
    torch.manual_seed(0)
    encoder = EncoderConfig(channels=16)
    policy, batch = imaged(robot, size=64, encoder=encoder)
    q = torch.tensor([-0.3, -1.4, 2.0, -2.2, -1.57, -1.8]) + 0.15 * torch.randn(64, 6)
    batch["goal_state"] = torch.cat([q, batch["goal_state"][:, 6:]], -1)
    policy.fit_scales(batch["state"][:, -1], batch["action"], goal_state=batch["goal_state"])
    batch = dots(policy, batch)
    tip = policy.plane.tip(policy.poses.far_ends(batch["goal_state"][:, :6])).detach()
    parameters = [*policy.encoder.parameters(), *policy.plane.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=3e-3)
    for _ in range(150):
        goal = policy.encode(batch).goal
        loss = sum(policy.plane.losses(goal, tip).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    goal = policy.encode(batch).goal
    spread = (tip[:, :2, 3] - tip[:, :2, 3].mean(0)).norm(dim=-1).mean()
    assert (goal.position - tip[:, :2, 3]).norm(dim=-1).mean() < 0.2 * spread
    heading = torch.nn.functional.normalize(tip[:, :2, :3] @ policy.plane.axis, dim=-1)
    assert (goal.heading * heading).sum(-1).clamp(-1, 1).acos().median() < math.radians(8)


def test_other_action_spaces_are_untouched(robot):
    """Goals in the batch change no loss of a policy without an image plane."""
    spec = small_spec(pixels=True)
    losses = []
    for goals in (False, True):
        torch.manual_seed(0)
        policy = make_policy(robot, spec, small_config())
        batch = small_batch(spec)
        policy.fit_scales(batch["state"][:, -1], batch["action"])
        if goals:
            batch["goal_state"] = batch["state"][:, -1]
        losses.append(policy.loss(batch)[0])
    assert torch.equal(*losses)
    assert PolicyConfig().image_plane is None
