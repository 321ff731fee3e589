"""Loss curves of short trainings against stored ones: a refactor leaves them equal, or its commit says why not.

`IKP_GOLDEN=write pytest tests/golden` stores the curves again; the diff of losses.json shows every loss that moved.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from ikp.data import Demonstrations
from ikp.kinematics import Camera, forward_kinematics, iiwa14_dual, project, ur5e
from ikp.nets import EncoderConfig
from ikp.policies import DataSpec, Policy, PolicyConfig, make_policy, method_config
from ikp.policies.config import Ablations, ImagePlaneConfig
from ikp.training.config import TrainConfig
from ikp.training.optimizer import make_optimizers, schedule
from ikp.training.scene_motion import SceneMotion
from ikp.training.trainer import batch_indices

STORED = Path(__file__).parent / "losses.json"
STEPS, BATCH, SIDE = 50, 16, 32
START_TOLERANCE = 1e-4
"""The first two losses, before rounding has grown, tell a changed term from another order of additions."""
TOLERANCE = 1e-2
"""On one machine the curves are equal to the last stored digit; a processor without AVX-512 differs by up to 0.4 %."""
LOW_TOLERANCE = 5e-2
"""The same in bfloat16, whose products processors round in different orders."""
HOMES = {
    "ur5e": [-0.3, -1.4, 2.0, -2.2, -1.57, -1.8],
    "iiwa14_dual": [0.0, 0.55, 0.0, -1.74, 0.0, 0.54, 0.1] * 2,
}


def demonstrations(robot_name: str, *, pixels: bool, episodes: int = 8, length: int = 12) -> Demonstrations:
    """Joint motions towards a goal that is shown as the environment state or as the brightest part of an image."""
    generator = torch.Generator().manual_seed(0)
    home = torch.tensor(HOMES[robot_name])
    joints = tuple(f"joint_{i}" for i in range(len(home)))
    goal = torch.rand(episodes, 1, 2, generator=generator)
    start = 0.2 * torch.randn(episodes, 1, len(home), generator=generator)
    q = home + start * torch.linspace(1, 0, length)[:, None]
    holding = (torch.arange(length) > length // 2).float().expand(episodes, -1)[..., None]
    step = -0.2 * (q - home)
    step[..., :2] += 0.1 * (goal - 0.5)
    frames = episodes * length
    environment_state = goal.expand(-1, length, -1).reshape(frames, 2)
    spec = DataSpec(
        action_names=(*joints, "gripper"),
        state_names=(*joints, "holding"),
        environment_state_names=() if pixels else ("goal.x", "goal.y"),
        image_shapes={"front": (SIDE, SIDE, 3)} if pixels else {},
        joint_dims=tuple(range(len(home))),
        discrete_dims=(len(home),),
        cameras={
            "front": Camera.look_at((-0.9, 0.0, 1.1), (-0.5, 0.0, 0.1), fovy=45, width=SIDE, height=SIDE)
        }
        if pixels
        else {},
    )
    return Demonstrations(
        spec=spec,
        state=torch.cat([q, holding], -1).reshape(frames, -1),
        action=torch.cat([q + step, holding], -1).reshape(frames, -1),
        environment_state=environment_state[:, : 0 if pixels else 2],
        images={"front": _images(environment_state, generator)} if pixels else {},
        episode_index=torch.arange(episodes).repeat_interleave(length),
        frame_index=torch.arange(length).repeat(episodes),
        success=torch.ones(episodes, dtype=torch.bool),
    )


def _images(goal: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    pixel = torch.arange(SIDE) / SIDE
    near = (goal[:, 0, None, None] - pixel[:, None]) ** 2 + (goal[:, 1, None, None] - pixel) ** 2
    noise = torch.randint(0, 40, (len(goal), SIDE, SIDE, 3), generator=generator)
    return ((-60 * near).exp()[..., None] * 200 + noise).to(torch.uint8)


def small(method: str, **changes: Any) -> PolicyConfig:
    encoder = EncoderConfig(channels=8)
    base = PolicyConfig(width=32, blocks=1, negatives=8, bfloat16=False, encoder=encoder)
    return replace(method_config(method, base), **changes)


CASES: dict[str, tuple[str, bool, PolicyConfig, bool]] = {
    # robot, pixels, policy, moved scenes
    "explicit-state": ("ur5e", False, small("explicit"), False),
    "explicit-fk-state": ("ur5e", False, small("explicit-fk"), False),
    "implicit-cartesian-state": ("ur5e", False, small("implicit-cartesian"), False),
    "implicit-joint-state": ("ur5e", False, small("implicit-joint"), False),
    "ikp-state": ("ur5e", False, small("ikp"), False),
    "ikp-state-moved-scenes": ("ur5e", False, small("ikp"), True),
    "ikp-state-two-arms": ("iiwa14_dual", False, small("ikp"), False),
    "ikp-state-tip": ("iiwa14_dual", False, small("ikp", ablation=Ablations(links="tip")), False),
    "ikp-state-all-residuals": (
        "ur5e",
        False,
        small("ikp", residual=("offset", "dense", "link"), targets="absolute", proposal="uniform", history=2),
        False,
    ),
    "explicit-pixels": ("ur5e", True, small("explicit"), False),
    "ikp-pixels": ("ur5e", True, small("ikp"), False),
    "ikp-pixels-bfloat16": ("ur5e", True, small("ikp", bfloat16=True), False),
    "image-plane": ("ur5e", True, small("ikp", image_plane=ImagePlaneConfig()), False),
    "image-plane-moved-scenes": ("ur5e", True, small("ikp", image_plane=ImagePlaneConfig()), True),
    "explicit-image-plane": ("ur5e", True, small("explicit", image_plane=ImagePlaneConfig()), False),
}


def train_losses(policy: Policy, data: Demonstrations, *, moved: bool) -> list[float]:
    """The loss of every step of a short training, with the trainer's own optimisers, schedule and batches."""
    config = TrainConfig(steps=STEPS, batch_size=BATCH, threads=1)
    has_goal = policy.plane is not None
    policy.fit_scales(data.state, data.action, data.environment_state, data.goal_state if has_goal else None)
    motion = SceneMotion(policy.robot, policy.spec, height=0.1) if moved else None
    optimizers, losses = make_optimizers(policy, config), []
    policy.train()
    for step in range(STEPS):
        torch.manual_seed(step)
        frames = batch_indices(torch.arange(len(data)), BATCH, step, 0)
        batch = data.batch(frames, policy.config.history, goals=has_goal)
        if motion is not None:
            batch = motion(batch)
        loss, _ = policy.loss(batch)
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
            for group in optimizer.param_groups:
                group["lr"] = group["base_lr"] * schedule(step / STEPS)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), 5.0)
        for optimizer in optimizers:
            optimizer.step()
        losses.append(float(loss.detach()))
    return losses


@pytest.mark.parametrize("case", CASES)
def test_losses_are_the_stored_ones(case):
    robot_name, pixels, config, moved = CASES[case]
    robot = {"ur5e": ur5e, "iiwa14_dual": iiwa14_dual}[robot_name]()
    data = demonstrations(robot_name, pixels=pixels)
    torch.manual_seed(0)
    losses = train_losses(make_policy(robot, data.spec, config), data, moved=moved)
    stored = json.loads(STORED.read_text()) if STORED.exists() else {}
    if os.environ.get("IKP_GOLDEN") == "write":
        stored[case] = [float(f"{value:.6g}") for value in losses]
        STORED.write_text(json.dumps(stored, indent=0) + "\n")
        return
    start, rest = (LOW_TOLERANCE,) * 2 if config.bfloat16 else (START_TOLERANCE, TOLERANCE)
    found, expected = torch.tensor(losses), torch.tensor(stored[case])
    torch.testing.assert_close(found[:2], expected[:2], rtol=start, atol=start)
    torch.testing.assert_close(found, expected, rtol=rest, atol=rest)


def test_the_camera_sees_the_tip():
    """The image plane's cases mean something: the tip's place at home is inside the image."""
    data = demonstrations("ur5e", pixels=True)
    robot = ur5e()
    tip = forward_kinematics(robot, torch.tensor(HOMES["ur5e"]))[robot.tip_indices[0], :3, 3]
    camera = data.spec.cameras["front"]
    pixel = project(camera.intrinsics().float(), camera.pose().float(), tip)
    assert ((pixel > 0) & (pixel < SIDE)).all()
