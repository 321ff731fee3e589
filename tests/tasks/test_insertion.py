"""`ikp/Insertion-v0`: Gymnasium's contract, determinism, suction, success, miscalibration, faulty input."""

from __future__ import annotations

import gymnasium
import mujoco
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

from ikp.kinematics import forward_kinematics, project
from ikp.tasks import InsertionEnv, InsertionExpert
from ikp.tasks.insertion.environment import MIN_DISTANCE, PLACEMENT_RANGE, PLACEMENT_YAW
from ikp.tasks.insertion.scene import BLOCK_HEIGHT, WORKSPACE_CENTER, block_boxes, fixture_walls
from ikp.tasks.scene import camera_matrices
from ikp.tasks.suction import SUCTION_GAP


@pytest.fixture(scope="module")
def state_env() -> InsertionEnv:
    return InsertionEnv(observation="state")


def hold_still(env: InsertionEnv, vacuum: float = 0.0) -> np.ndarray:
    return np.append(env.miscalibration.measured(env.true_state().q_true), vacuum)


def rollout(env: gymnasium.Env, seed: int, steps: int = 60) -> list[dict]:
    """Observations of an expert's episode."""
    observations = [env.reset(seed=seed)[0]]
    expert = InsertionExpert(env)
    for _ in range(steps):
        observation, _, terminated, truncated, _ = env.step(expert.action())
        observations.append(observation)
        if terminated or truncated:
            break
    return observations


def move_tip(env: InsertionEnv, goal: np.ndarray, vacuum: float, steps: int = 12) -> dict:
    """Moves the tool straight to `goal`, keeping its yaw; returns the last info."""
    info: dict = {}
    start = env.true_state()
    q = start.q_true
    for step in range(1, steps + 1):
        target = start.tip + (goal - start.tip) * step / steps
        q = env.solve_tip(target, start.tip_yaw, q)
        *_, info = env.step(np.append(env.miscalibration.measured(q), vacuum))
    return info


class DottedEnv(InsertionEnv):
    """With a magenta dot that can be put anywhere."""

    scene = "insertion-dotted"

    def _build_spec(self) -> mujoco.MjSpec:
        spec = super()._build_spec()
        dot = spec.worldbody.add_body(name="dot", mocap=True)
        dot.add_geom(size=[0.006, 0, 0], rgba=(1.0, 0.0, 1.0, 1.0), contype=0, conaffinity=0)
        return spec


@pytest.mark.parametrize("image_size", [96, 240])
def test_camera_model_predicts_where_a_dot_is_rendered(image_size):
    env = DottedEnv(image_size=image_size)
    env.reset(seed=0)
    camera = env.camera("front")
    assert (camera.width, camera.height) == (image_size, image_size)
    for p_world in np.array([(0.5, 0.0, 0.25), (0.42, -0.1, 0.2), (0.58, 0.12, 0.15), (0.6, -0.12, 0.3)]):
        env.data.mocap_pos[1] = p_world
        mujoco.mj_forward(env.model, env.data)
        red, green, blue = np.moveaxis(env._observe()["image"].astype(float), -1, 0)
        rows, columns = np.nonzero((red - green > 60) & (blue - green > 60))
        seen = (columns.mean() + 0.5, rows.mean() + 0.5)
        p_base = np.linalg.inv(env.T_world_base) @ (*p_world, 1.0)
        predicted = project(camera.intrinsics(), camera.pose(), torch.tensor(p_base[:3]))
        np.testing.assert_allclose(predicted, seen, atol=0.7)
    with pytest.raises(ValueError, match="name must be one of 'front', 'overview'"):
        env.camera("back")


@pytest.mark.parametrize("observation", ["state", "pixels"])
@pytest.mark.filterwarnings("ignore:.*symmetric and normalized space.*")
def test_gymnasium_contract(observation):
    env = gymnasium.make("ikp/Insertion-v0", observation=observation, render_mode="rgb_array")
    check_env(env.unwrapped)
    assert env.spec.max_episode_steps == 80


@pytest.mark.parametrize("observation", ["state", "pixels"])
def test_same_seed_same_episode(observation):
    first, second = (rollout(InsertionEnv(observation=observation, offset_seed=2), seed=5) for _ in range(2))
    assert len(first) == len(second)
    for a, b in zip(first, second, strict=True):
        assert all(np.array_equal(a[key], b[key]) for key in a)


def test_an_episode_does_not_depend_on_the_one_before(state_env):
    first = rollout(state_env, seed=3)
    rollout(state_env, seed=4, steps=15)
    again = rollout(state_env, seed=3)
    assert all(np.array_equal(a["state"], b["state"]) for a, b in zip(first, again, strict=True))


def test_starts_differ_and_keep_their_ranges(state_env):
    starts = []
    for seed in range(100):
        observation, info = state_env.reset(seed=seed)
        state = state_env.true_state()
        starts.append(np.concatenate((observation["state"][:6], observation["environment_state"])))
        for xy, yaw in ((state.block[:2], state.block_yaw), (state.seat[:2], state.seat_yaw)):
            assert np.all(np.abs(xy - WORKSPACE_CENTER) <= PLACEMENT_RANGE)
            assert abs(yaw) <= PLACEMENT_YAW
        assert np.hypot(*(state.block - state.seat)[:2]) >= MIN_DISTANCE
        assert 0.12 <= state.tip[2] <= 0.20
        assert not info["success"]
    starts = np.stack(starts)
    assert len(np.unique(starts.round(6), axis=0)) == len(starts)
    varying = np.delete(
        starts, [4, 8], axis=1
    )  # the tool is vertical: wrist 2 is fixed; the block lies on z = 0
    assert varying.std(axis=0).min() > 0.01


def test_no_observation_is_constant(state_env):
    observations = [o for seed in range(3) for o in rollout(state_env, seed)]
    environment_state = np.stack([o["environment_state"] for o in observations])
    state = np.stack([o["state"] for o in observations])
    assert environment_state.std(axis=0).min() > 1e-3
    assert state.std(axis=0).min() > 1e-3
    assert environment_state.shape[1] == len(InsertionEnv.environment_state_names)
    assert state.shape[1] == len(InsertionEnv.state_names)


def test_model_and_kinematics_agree(state_env):
    """The simulated tool tip is where `ikp.kinematics` puts the robot's tip."""
    rng = np.random.default_rng(0)
    for q in rng.uniform(-np.pi, np.pi, (20, 6)):
        T_base_tip = forward_kinematics(state_env.robot, torch.tensor(q))[state_env.robot.tip_indices[0]]
        T_world_tip = state_env.T_world_base @ T_base_tip.numpy()
        position, rotation = state_env.solver.pose(q)
        np.testing.assert_allclose(position, T_world_tip[:3, 3], atol=1e-9)
        np.testing.assert_allclose(rotation, T_world_tip[:3, :3], atol=1e-9)


def test_arm_reaches_its_target_within_a_step(state_env):
    """q_measured after a step is the target of that step, to under a millimetre at the tip."""
    errors = []
    for seed in range(3):
        state_env.reset(seed=seed)
        expert = InsertionExpert(state_env)
        for _ in range(7):  # the free motion towards the block
            action = expert.action()
            observation = state_env.step(action)[0]
            reached, commanded = (state_env.tip_pose(q)[0] for q in (observation["state"][:6], action[:6]))
            errors.append(np.linalg.norm(reached - commanded))
    assert max(errors) < 1e-3


def test_joint_speed_is_limited(state_env):
    observation, _ = state_env.reset(seed=0)
    before = observation["state"][:6]
    after = state_env.step(np.append(before + 2.0, 0.0))[0]["state"][:6]
    limit = state_env.robot.velocity.numpy() * state_env.control_dt
    assert np.all(after - before <= limit + 0.02)


def test_offsets_shift_readings_and_commands_alike():
    env, calibrated = (InsertionEnv(observation="state", offset_seed=seed) for seed in (11, None))
    q_offset = env.miscalibration.q_offset
    measured, expected = (e.reset(seed=4)[0]["state"][:6] for e in (env, calibrated))
    np.testing.assert_allclose(measured + q_offset, expected, atol=1e-6)
    # The expert knows the offsets: both arms move through the same true joints.
    for e in (env, calibrated):
        rollout(e, seed=4)
    true, true_calibrated = env.true_state(), calibrated.true_state()
    np.testing.assert_allclose(true.q_true, true_calibrated.q_true, atol=1e-4)
    np.testing.assert_allclose(true.block, true_calibrated.block, atol=1e-3)


def test_block_is_held_only_with_vacuum_and_contact(state_env):
    env = state_env
    env.reset(seed=1)
    block = env.true_state().block
    top = block + np.array((0.0, 0.0, BLOCK_HEIGHT))
    above = top + np.array((0.0, 0.0, 0.05))
    assert not move_tip(env, above, vacuum=1.0)["holding"]  # vacuum, but no contact
    assert not move_tip(env, top, vacuum=0.0)["holding"]  # contact, but no vacuum
    observation, *_, info = env.step(hold_still(env, vacuum=1.0))
    assert info["holding"]
    assert observation["state"][6] == 1.0
    assert move_tip(env, above, vacuum=1.0)["holding"]
    assert abs(env.true_state().block[2] - 0.05) < 0.004
    env.step(hold_still(env))
    for _ in range(5):
        observation, _, terminated, _, info = env.step(hold_still(env))
    assert not info["holding"]
    assert not terminated  # dropped elsewhere: a policy may try again
    assert observation["state"][6] == 0.0
    assert env.true_state().block[2] < 0.003


def test_no_grasp_beside_the_block(state_env):
    """The notch of the L lies inside its bounding box, but there is nothing to hold."""
    env = state_env
    env.reset(seed=2)
    state = env.true_state()
    c, s = np.cos(state.block_yaw), np.sin(state.block_yaw)
    corner = np.array((0.025, 0.030))
    inside = np.array((c * corner[0] - s * corner[1], s * corner[0] + c * corner[1], BLOCK_HEIGHT))
    move_tip(env, state.block + inside + np.array((0, 0, 0.05)), vacuum=1.0)
    assert not move_tip(env, state.block + inside + np.array((0, 0, SUCTION_GAP / 2)), vacuum=1.0)["holding"]


def test_block_placed_beside_the_fixture_is_no_success(state_env):
    env = state_env
    env.reset(seed=0)
    expert = InsertionExpert(env)
    while not env.true_state().holding:
        env.step(expert.action())
    for _ in range(4):
        *_, terminated, _, info = env.step(hold_still(env))
    assert not terminated
    assert not info["success"]


def test_everything_to_see_is_in_the_image():
    """Block and fixture at any placement, and the fixture's corners where the image shows blue."""
    env = InsertionEnv()
    K, T_world_camera = camera_matrices(env.model, "front", 96, 96)
    walls = np.array([pos[:2] for pos, _, _ in fixture_walls()]) * 1.15
    boxes = [c + h * (i, j) for c, h in block_boxes() for i in (-1, 1) for j in (-1, 1)]
    outline = np.concatenate((walls, boxes))
    pixels = []
    for x, y, yaw in np.array(np.meshgrid((-1, 1), (-1, 1), (-1, -0.5, 0, 0.5, 1))).reshape(3, -1).T:
        c, s = np.cos(yaw * PLACEMENT_YAW), np.sin(yaw * PLACEMENT_YAW)
        xy = outline @ np.array(((c, s), (-s, c))) + WORKSPACE_CENTER + PLACEMENT_RANGE * np.array((x, y))
        for z in (0.0, BLOCK_HEIGHT):
            p_camera = (np.c_[xy, np.full(len(xy), z)] - T_world_camera[:3, 3]) @ T_world_camera[:3, :3]
            pixels.append((p_camera @ K.T)[:, :2] / p_camera[:, 2:])
    pixels = np.concatenate(pixels)
    assert pixels.min() > 0
    assert pixels.max() < 96
    width_of_a_pixel = np.linalg.norm(T_world_camera[:3, 3] - (*WORKSPACE_CENTER, 0.0)) / K[0, 0]
    assert width_of_a_pixel < 0.004


def test_camera_matrices_match_the_image():
    env = InsertionEnv()
    K, T_world_camera = camera_matrices(env.model, "front", 96, 96)
    for seed in range(4):
        image = env.reset(seed=seed)[0]["image"].astype(int)
        red = (image[..., 0] > 100) & (image[..., 1] < 60) & (image[..., 2] < 60)
        assert red.sum() > 150
        state = env.true_state()
        corners = np.array([c + h * (i, j) for c, h in block_boxes() for i in (-1, 1) for j in (-1, 1)])
        c, s = np.cos(state.block_yaw), np.sin(state.block_yaw)
        xy = corners @ np.array(((c, s), (-s, c))) + state.block[:2]
        points = np.concatenate([np.c_[xy, np.full(len(xy), z)] for z in (0.0, BLOCK_HEIGHT)])
        p_camera = (points - T_world_camera[:3, 3]) @ T_world_camera[:3, :3]
        u, v = ((p_camera @ K.T)[:, :2] / p_camera[:, 2:]).T
        rows, columns = np.nonzero(red)
        assert abs(columns.min() - u.min()) < 2
        assert abs(columns.max() + 1 - u.max()) < 2
        assert abs(rows.max() + 1 - v.max()) < 2


def test_render_sizes_and_cameras():
    env = InsertionEnv(observation="state", render_mode="rgb_array", render_size=(60, 80))
    env.reset(seed=0)
    front = env.render()
    env.render_camera = "overview"
    overview = env.render()
    assert front.shape == overview.shape == (60, 80, 3)
    assert front.std() > 10
    assert not np.array_equal(front, overview)
    assert InsertionEnv(observation="state").render() is None


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (np.zeros(6), r"shape \(7,\); got \(6,\)"),
        (np.full(7, np.nan), "must be finite"),
        (np.append(np.zeros(6), np.inf), "must be finite"),
    ],
)
def test_faulty_actions(state_env, action, message):
    state_env.reset(seed=0)
    with pytest.raises(ValueError, match=message):
        state_env.step(action)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"observation": "rgb"}, "observation must be one of 'pixels', 'state'; got 'rgb'"),
        ({"render_mode": "human"}, "render_mode"),
        ({"render_camera": "top"}, "render_camera"),
        ({"image_size": 0}, "at least one pixel"),
        ({"offset_seed": -1}, "offset_seed"),
    ],
)
def test_faulty_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        InsertionEnv(**arguments)


def test_reset_takes_no_options(state_env):
    with pytest.raises(ValueError, match="takes no options"):
        state_env.reset(options={"easy": True})
