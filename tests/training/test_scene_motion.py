"""Turned scenes are what the simulator shows when arm and objects are turned, and are refused where they are not."""

from __future__ import annotations

from dataclasses import replace

import gymnasium
import mujoco
import numpy as np
import pytest
import torch

import ikp.tasks  # noqa: F401  (registers the environments)
from ikp.kinematics import forward_kinematics, iiwa14, iiwa14_dual, load_robot, ur5e
from ikp.policies import DataSpec
from ikp.training.scene_motion import (
    PlanarPoses,
    SceneMotion,
    base_joint,
    move_images,
    planar_motions,
    working_height,
)
from ikp.training.trainer import train

from .test_trainer import losses
from .tiny import CONFIG, tiny_demonstrations, tiny_policy

ANGLE, SHIFT = 0.1, (0.01, -0.02)
MOTION = planar_motions(
    torch.tensor([ANGLE], dtype=torch.float64), torch.tensor([SHIFT], dtype=torch.float64)
)


@pytest.fixture(scope="module")
def env():
    made = gymnasium.make("ikp/Insertion-v0", observation="pixels", disable_env_checker=True)
    yield made.unwrapped
    made.close()


def motion_of(env, **changes):
    """Scene motions of the insertion task."""
    pixels = DataSpec(
        env.action_names, env.state_names, (), {"front": (96, 96, 3)},
        joint_dims=env.joint_dims, discrete_dims=env.discrete_dims, cameras={"front": env.camera("front")},
    )  # fmt: skip
    return SceneMotion(env.robot, pixels, **{"degrees": 8.0, "metres": 0.03, "height": 0.0, **changes})


def moved(env, position, quaternion):
    """A pose in the world after `MOTION`."""
    T = np.eye(4)
    T[:3, 3] = position
    mujoco.mju_quat2Mat(flat := np.zeros(9), quaternion)
    T[:3, :3] = flat.reshape(3, 3)
    base = env.T_world_base
    T = base @ MOTION[0].numpy() @ np.linalg.inv(base) @ T
    mujoco.mju_mat2Quat(fresh := np.zeros(4), T[:3, :3].flatten())
    return T[:3, 3], fresh


def place_arm_and_objects(env, q):
    """Put the simulation at joints q, and block and fixture where `MOTION` moves them."""
    env.data.qpos[:6] = q
    block, mocap = env.data.qpos[6:13], (env.data.mocap_pos[0], env.data.mocap_quat[0])
    for position, quaternion in ((block[:3], block[3:]), mocap):
        position[:], quaternion[:] = moved(env, position, quaternion)
    mujoco.mj_forward(env.model, env.data)


@pytest.mark.parametrize("seed", range(3))
def test_a_moved_image_is_what_the_camera_would_see(env, seed):
    observation, _ = env.reset(seed=seed)
    before = observation["image"].copy()
    q = torch.from_numpy(env.data.qpos[:6].copy())[None, None]
    q, reached = motion_of(env).move_joints(q, torch.tensor([ANGLE]).double(), torch.tensor([SHIFT]).double())
    assert reached.all()
    place_arm_and_objects(env, q[0, 0].numpy())
    after = env._observe()["image"].copy()

    frames = torch.from_numpy(before)[None, None]
    height = float(0.03 - env.T_world_base[2, 3])
    made = move_images(frames, MOTION, env.camera("front"), height)[0, 0].numpy()
    inside = np.zeros(made.shape[:2], bool)
    inside[16:-16, 16:-16] = True  # what came in from beyond the edge is not known
    colourful = after.max(-1).astype(int) - after.min(-1) > 60  # block and fixture, not the grey arm
    error = np.abs(made.astype(float) - after).mean(-1)
    unmoved = np.abs(before.astype(float) - after).mean(-1)
    assert colourful[inside].sum() > 30
    assert np.median(error[inside & colourful]) < 0.35 * np.median(unmoved[inside & colourful])


@pytest.fixture(scope="module")
def state_env():
    made = gymnasium.make("ikp/Insertion-v0", observation="state", disable_env_checker=True)
    yield made.unwrapped
    made.close()


@pytest.mark.parametrize("seed", range(3))
def test_moved_object_poses_are_what_the_simulator_tells(state_env, seed):
    env = state_env
    before, _ = env.reset(seed=seed)
    place_arm_and_objects(env, env.data.qpos[:6].copy())
    env._seat, env._seat_yaw = env.data.mocap_pos[0].copy(), env._seat_yaw + ANGLE
    after = env._observe()["environment_state"]
    poses = PlanarPoses.named(env.environment_state_names)
    assert (len(poses.points), len(poses.directions)) == (2, 2)
    state = torch.from_numpy(before["environment_state"])[None, None]
    found = poses.moved(state, MOTION)[0, 0].numpy()
    np.testing.assert_allclose(found, after, atol=1e-6)
    assert np.abs(found - before["environment_state"]).max() > 0.01


def test_no_motion_leaves_the_image_as_it_is(env):
    images = torch.randint(0, 255, (2, 3, 96, 96, 3), dtype=torch.uint8)
    made = move_images(images, torch.eye(4).expand(2, 4, 4), env.camera("front"), 0.0)
    assert (made.int() - images.int()).abs().max() <= 1


def test_every_frame_of_an_example_moves_alike(env):
    images = torch.randint(0, 255, (1, 1, 96, 96, 3), dtype=torch.uint8).expand(2, 2, -1, -1, -1)
    motion = planar_motions(torch.tensor([0.05, -0.05]), torch.zeros(2, 2))
    made = move_images(images, motion, env.camera("front"), 0.0)
    assert torch.equal(made[:, 0], made[:, 1])
    assert not torch.equal(made[0], made[1])


@pytest.mark.parametrize("robot", [ur5e(), iiwa14()], ids=["ur5e", "iiwa14"])
def test_the_first_joint_turns_the_arm(robot):
    joint, sign = base_joint(robot)
    q = torch.randn(5, robot.dof, dtype=torch.float64)
    turned = q.clone()
    turned[:, joint] += sign * ANGLE
    tips = list(robot.tip_indices)
    expected = (
        planar_motions(MOTION.new_tensor([ANGLE]), MOTION.new_zeros(1, 2))
        @ forward_kinematics(robot, q)[:, tips]
    )
    torch.testing.assert_close(forward_kinematics(robot, turned)[:, tips], expected)
    assert base_joint(iiwa14_dual()) is None


def test_a_wrist_that_turns_about_z_in_one_posture_is_no_base(tmp_path):
    model = tmp_path / "upright.xml"
    model.write_text("""<mujoco><worldbody><body name="upper"><joint name="shoulder" axis="0 1 0"/><geom size="0.1"/>
      <body name="hand" pos="0 0 0.5"><joint name="wrist" axis="0 0 1"/><geom size="0.1"/></body>
    </body></worldbody></mujoco>""")
    robot = load_robot(model, tips=["hand"])
    q = torch.zeros(2, 2, dtype=torch.float64)
    q[1, 1] = ANGLE
    straight, turned = forward_kinematics(robot, q)[:, robot.tip_indices[0]]
    only_turn = planar_motions(MOTION.new_tensor([ANGLE]), MOTION.new_zeros(1, 2))[0]
    torch.testing.assert_close(turned, only_turn @ straight)  # in this posture it looks like one
    assert base_joint(robot) is None


def test_tips_follow_the_motion_of_two_arms_too():
    robot = iiwa14_dual()
    names = robot.joint_names
    spec = DataSpec(names, names, (), {}, joint_dims=tuple(range(14)), discrete_dims=())
    move = SceneMotion(robot, spec, degrees=3.0, metres=0.02, height=0.0)
    q = 0.1 * torch.randn(4, 3, 14, dtype=torch.float64) + torch.tensor(
        [0.0, 0.5, 0.0, -1.4, 0.0, 0.9, 0.0] * 2
    )
    angle, shift = MOTION.new_tensor([0.03, -0.04, 0.0, 0.02]), 0.015 * torch.randn(4, 2).double()
    found, reached = move.move_joints(q, angle, shift)
    assert reached.all()
    tips = list(robot.tip_indices)
    expected = planar_motions(angle, shift)[:, None, None] @ forward_kinematics(robot, q)[:, :, tips]
    torch.testing.assert_close(forward_kinematics(robot, found)[:, :, tips], expected, atol=6e-4, rtol=0)
    assert (found - q).abs().max() < 0.4


def insertion_like(env):
    """The tiny demonstrations with a camera and without object poses."""
    data = tiny_demonstrations()
    camera = env.camera("front").resized(16, 16)
    spec = replace(data.spec, environment_state_names=(), cameras={"front": camera})
    return replace(data, spec=spec, environment_state=data.environment_state[:, :0])


def test_half_of_a_batch_moves_state_action_goal_and_image_together(env):
    data = insertion_like(env)
    batch = data.batch(torch.arange(0, 60, 5), 2, goals=True)
    kept = {key: value.clone() for key, value in batch.items() if key != "images"}
    height = working_height(ur5e(), data)
    turned = SceneMotion(ur5e(), data.spec, degrees=10.0, metres=0.0, height=height)(batch)
    by = turned["action"] - batch["action"]
    assert by[:6, 0].abs().min() > 0
    assert by[:, 0].abs().max() <= np.radians(10.0)
    assert not by[:, 1:].any()
    torch.testing.assert_close(
        turned["state"] - batch["state"], by[:, None].expand(-1, 2, -1), atol=1e-6, rtol=0
    )
    torch.testing.assert_close(turned["goal_state"] - batch["goal_state"], by, atol=1e-6, rtol=0)

    shifted = SceneMotion(ur5e(), data.spec, degrees=0.0, metres=0.03, height=height)(batch)
    tip = ur5e().tip_indices[0]
    before, after = (
        torch.stack(
            [forward_kinematics(ur5e(), each[:, :6])[:, tip] for each in (b["state"][:, -1], b["action"])]
        )
        for b in (batch, shifted)
    )
    way = (after - before)[..., :3, 3]
    torch.testing.assert_close(
        way[0], way[1], atol=1.2e-3, rtol=0
    )  # measured and commanded tip by the same way
    assert way[:, :6, :2].abs().amax() > 0.01
    assert way[:, :6, 2].abs().max() < 1e-3
    for result in (turned, shifted):
        for key in ("state", "action", "goal_state"):
            assert torch.equal(result[key][6:], batch[key][6:])
            assert torch.equal(result[key][..., 6], batch[key][..., 6])  # the gripper
        assert torch.equal(result["images"]["front"][6:], batch["images"]["front"][6:])
        assert not torch.equal(result["images"]["front"][:6], batch["images"]["front"][:6])
    assert all(torch.equal(batch[key], value) for key, value in kept.items())


def test_what_cannot_be_reached_stays_with_its_image(env):
    data = insertion_like(env)
    batch = data.batch(torch.arange(0, 60, 5), 1)
    far = SceneMotion(ur5e(), data.spec, degrees=0.0, metres=0.0, height=0.0)
    far.most_shift = 50.0
    moved = far(batch)
    assert all(torch.equal(moved[key], batch[key]) for key in ("state", "action"))
    assert (moved["images"]["front"].int() - batch["images"]["front"].int()).abs().max() <= 1


def test_what_cannot_be_moved_is_refused():
    spec = tiny_demonstrations().spec
    wish = {"degrees": 5.0, "metres": 0.0, "height": 0.0}
    with pytest.raises(ValueError, match="needs a robot"):
        SceneMotion(None, spec, **wish)
    blind = replace(spec, image_shapes={})
    with pytest.raises(ValueError, match=r"moved_scenes is on.* g0, g1 of the environment_state cannot"):
        SceneMotion(ur5e(), blind, **wish)
    unplaced = replace(spec, environment_state_names=())
    with pytest.raises(ValueError, match="cameras front have no model"):
        SceneMotion(ur5e(), unplaced, **wish)


@pytest.mark.parametrize("name", ["cup.share", "block.yaw", "block.cos_yaw", "block.x"])
def test_values_that_do_not_say_how_they_move_are_refused(name):
    with pytest.raises(ValueError, match=rf"^{name} of the environment_state cannot be moved:"):
        PlanarPoses.named(("fixture.x", "fixture.y", name, "block.z"))


def test_the_arm_follows_its_objects():
    """Half of a batch moves, tips and objects alike: what the tip sees of the block stays as it was."""
    data = tiny_demonstrations()
    names = ("block.x", "block.y")
    spec = replace(data.spec, environment_state_names=names, image_shapes={})
    batch = data.batch(torch.arange(0, 60, 5), 2)
    batch = {key: batch[key] for key in ("state", "action", "environment_state")}
    after = SceneMotion(ur5e(), spec, degrees=8.0, metres=0.02, height=0.0)(batch)
    tip = ur5e().tip_indices[0]

    def seen(each):
        T = forward_kinematics(ur5e(), each["state"][..., :6])[..., tip, :, :]
        way = each["environment_state"] - T[..., :2, 3]
        return (T[..., :2, :2].mT @ way[..., None])[..., 0]

    assert torch.equal(after["environment_state"][6:], batch["environment_state"][6:])
    assert (after["environment_state"][:6] - batch["environment_state"][:6]).abs().amax() > 0.01
    torch.testing.assert_close(seen(after), seen(batch), atol=5e-3, rtol=0)


def test_training_moves_scenes(env, tmp_path):
    data = insertion_like(env)
    found = []
    for moved in (False, True):
        config = replace(CONFIG, steps=3, log_every=1, moved_scenes=moved)
        train(tiny_policy(data), data, config, out=tmp_path / str(moved))
        found.append(tuple(losses(tmp_path / str(moved)).values()))
    assert len(set(found)) == 2
