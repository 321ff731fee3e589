"""robosuite's Lift: a Panda picks a cube up, from few demonstrations of a scripted expert.

benchmarks/peers/robosuite.sh                                        an environment of its own, once
.venv-robosuite/bin/python benchmarks/lift.py --method ikp           writes results/closed_loop/lift-*.json

The simulation, its success (the cube's centre is 4 cm over the table) and its distribution of starts are robosuite's
(Zhu et al., 2020); actions are absolute joint targets at 10 Hz with an on/off gripper, followed by its controller
JOINT_POSITION. The kinematics are the built-in Panda's, checked against the simulation. From object poses, no images.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

import closed_loop
import ikp
from ikp.data import Demonstrations
from ikp.kinematics import Robot, inverse_kinematics, with_tool
from ikp.policies import Policy
from ikp.spec import DataSpec

RATE, STEPS = 10, 50
STIFFNESS = 300.0
DEMONSTRATIONS, EPISODES, FIRST_UNSEEN = 15, 60, 1_000_000
CUBE_RANGE, JOINT_NOISE = 0.03, 0.02  # starts: the cube's x and y [m] and the joints [rad], as in robosuite
GRIP = 0.097  # from the hand to the point between the fingertips in robosuite's model [m]
HOVER, GAIN, MAX_STEP, MAX_TURN = 0.06, 0.5, 0.04, 0.3  # the expert [m, share of the way, m, rad]
ALIGNED, LIFTED, CLOSED_GAP = 0.008, 0.10, 0.05  # [m]
DISTURBANCE = 0.01  # noise on the executed joints while demonstrations are recorded [rad]
METHODS = {name: ikp.recipe("standard").policy_for(name) for name in ("explicit", "implicit-joint", "ikp")}
JOINTS = tuple(f"joint_{i}.pos" for i in range(1, 8))
SPEC = DataSpec(
    action_names=(*JOINTS, "gripper"),
    state_names=(*JOINTS, "gripper"),
    environment_state_names=("cube.x", "cube.y", "cube.z", "cube.cos_4_yaw", "cube.sin_4_yaw"),
    fps=RATE,
    joint_dims=tuple(range(7)),
    discrete_dims=(7,),
)


def panda() -> Robot:
    """The built-in Panda with robosuite's point between the fingertips."""
    T_hand_grip = torch.eye(4, dtype=torch.float64)
    T_hand_grip[2, 3] = GRIP
    arm = ikp.load_robot("panda", tips=["panda_hand"])
    return with_tool(arm, "panda_hand", T_hand_grip, name="grip")


class Lift:
    """robosuite's environment with joint targets, and its scripted expert.

    Raises:
        RuntimeError: the simulated arm is not the built-in Panda.
    """

    def __init__(self) -> None:
        logging.disable(logging.WARNING)  # robosuite tells of optional packages
        import robosuite

        config = robosuite.load_composite_controller_config(controller="BASIC", robot="Panda")
        config["body_parts"]["right"] |= {"type": "JOINT_POSITION", "input_type": "absolute", "kp": STIFFNESS}
        self.env = robosuite.make(
            "Lift", robots="Panda", controller_configs=config, control_freq=RATE, has_renderer=False,
            has_offscreen_renderer=False, use_camera_obs=False, hard_reset=False, ignore_done=True,
        )  # fmt: skip
        self.robot = panda()
        self.reset(0)
        model = self.env.sim.model
        base = model.body_name2id("robot0_base")
        self.T_world_base = _pose(self.env.sim.data.body_xpos[base], self.env.sim.data.body_xmat[base])
        T_base_grip = ikp.forward_kinematics(self.robot, torch.from_numpy(self.q))[self.robot.tip_indices[0]]
        apart = float(np.linalg.norm(T_base_grip[:3, 3].numpy() - self.grip[:3, 3]))
        if apart > 1e-3:
            raise RuntimeError(f"the simulated tip is {1e3 * apart:.1f} mm from the built-in Panda's")
        self.T_tip_grip = np.linalg.inv(T_base_grip.numpy()) @ self.grip

    def reset(self, seed: int) -> None:
        """Draw the start of an episode from a seed, as robosuite draws it."""
        self.env.reset()
        rng = np.random.default_rng(seed)
        sim, arm = self.env.sim, self.env.robots[0]
        sim.data.qpos[arm._ref_joint_pos_indexes] = arm.init_qpos + rng.normal(0, JOINT_NOISE, 7)
        x, y = rng.uniform(-CUBE_RANGE, CUBE_RANGE, 2)
        yaw = rng.uniform(0, 2 * np.pi)
        z = self.env.table_offset[2] + 0.03
        quaternion = (np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2))
        sim.data.set_joint_qpos(self.env.cube.joints[0], np.array((x, y, z, *quaternion)))
        sim.forward()

    @property
    def q(self) -> np.ndarray:
        """Measured joints (7,) [rad]."""
        return self.env.sim.data.qpos[self.env.robots[0]._ref_joint_pos_indexes].copy()

    @property
    def gap(self) -> float:
        """Distance of the fingers [m]; 0.08 when open."""
        left, right = (self.env.sim.data.get_joint_qpos(f"gripper0_right_finger_joint{i}") for i in (1, 2))
        return float(left - right)

    @property
    def grip(self) -> np.ndarray:
        """Pose (4, 4) of the point between the fingertips in the base frame."""
        data, site = self.env.sim.data, self.env.sim.model.site_name2id("gripper0_right_grip_site")
        return self._in_base(_pose(data.site_xpos[site], data.site_xmat[site]))

    @property
    def cube(self) -> np.ndarray:
        """Pose (4, 4) of the cube in the base frame."""
        data, body = self.env.sim.data, self.env.cube_body_id
        return self._in_base(_pose(data.body_xpos[body], data.body_xmat[body]))

    def _in_base(self, T_world: np.ndarray) -> np.ndarray:
        base = getattr(self, "T_world_base", None)
        if base is None:  # while it is being found
            body = self.env.sim.model.body_name2id("robot0_base")
            base = _pose(self.env.sim.data.body_xpos[body], self.env.sim.data.body_xmat[body])
        return np.linalg.inv(base) @ T_world

    def observation(self) -> dict[str, np.ndarray]:
        """State (8,) and environment state (5,) float32."""
        T = self.cube
        yaw = 4 * np.arctan2(T[1, 0], T[0, 0])  # a cube looks the same after a quarter turn
        cube = np.array((*T[:3, 3], np.cos(yaw), np.sin(yaw)), np.float32)
        return {"state": np.append(self.q, 2 - self.gap / 0.04).astype(np.float32), "environment_state": cube}

    def step(self, action: np.ndarray) -> bool:
        """Execute an action (8,) for 0.1 s; whether the cube is lifted now."""
        self.env.step(np.append(action[:7], 1.0 if action[7] > 0.5 else -1.0))
        return bool(self.env._check_success())

    def expert(self) -> np.ndarray:
        """The expert's action (8,) for the present state: over the cube, down, close, up."""
        grip, cube = self.grip, self.cube
        error = cube[:3, 3] - grip[:3, 3]
        sideways, near = float(np.linalg.norm(error[:2])), float(np.linalg.norm(error)) < 1.5 * ALIGNED
        # the nearest quarter turn of the cube
        turn = np.arctan2(cube[1, 0], cube[0, 0]) - np.arctan2(grip[1, 0], grip[0, 0])
        turn = (turn + np.pi / 4) % (np.pi / 2) - np.pi / 4
        held = near and self.gap < CLOSED_GAP and self._touches()
        if held:
            step, turn = np.array((0.0, 0.0, LIFTED)), 0.0
        elif near:
            step = error
        else:
            height = HOVER * min(sideways / (2 * ALIGNED), 1.0) if sideways > ALIGNED / 2 else 0.0
            step = error + np.array((0.0, 0.0, height))
        step = step * min(GAIN, MAX_STEP / max(float(np.linalg.norm(step)), 1e-9))
        return np.append(
            self._joints(grip, step, float(np.clip(GAIN * turn, -MAX_TURN, MAX_TURN))), float(near)
        )

    def _touches(self) -> bool:
        return bool(self.env._check_grasp(self.env.robots[0].gripper, self.env.cube))

    def _joints(self, grip: np.ndarray, step: np.ndarray, turn: float) -> np.ndarray:
        """Joints (7,) that move the grip by a step (3,) [m] and a turn about z [rad], with the tool straight down."""
        yaw = np.arctan2(grip[1, 0], grip[0, 0]) + turn
        T = np.eye(4)
        T[:3, :3] = ((np.cos(yaw), np.sin(yaw), 0), (np.sin(yaw), -np.cos(yaw), 0), (0, 0, -1))
        T[:3, 3] = grip[:3, 3] + step
        target = torch.from_numpy(T @ np.linalg.inv(self.T_tip_grip))[None, None]
        return inverse_kinematics(self.robot, target, torch.from_numpy(self.q)[None]).q[0].numpy()


def _pose(position: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    T = np.eye(4)
    T[:3, 3], T[:3, :3] = position, np.asarray(rotation).reshape(3, 3)
    return T


def demonstrations(lift: Lift, count: int) -> Demonstrations:
    """Successful episodes of the expert with disturbed execution; each ends when the cube is lifted."""
    frames: dict[str, list[Any]] = {"state": [], "environment_state": [], "action": []}
    lengths: list[int] = []
    seed = -1
    with tqdm(total=count, desc="demonstrations") as bar:
        while len(lengths) < count:
            seed += 1
            lift.reset(seed)
            rng = np.random.default_rng((seed, 1))
            episode: list[dict[str, np.ndarray]] = []
            lifted = False
            while not lifted and len(episode) < STEPS:
                action = lift.expert()
                episode.append({**lift.observation(), "action": action.astype(np.float32)})
                lifted = lift.step(action + np.append(rng.normal(0, DISTURBANCE, 7), 0.0))
            if lifted:
                for frame in episode:
                    for key, value in frame.items():
                        frames[key].append(value)
                lengths.append(len(episode))
                bar.update()
    arrays = {key: torch.from_numpy(np.stack(values)) for key, values in frames.items()}
    return Demonstrations(
        spec=SPEC,
        **arrays,
        images={},
        episode_index=torch.arange(count).repeat_interleave(torch.tensor(lengths)),
        frame_index=torch.cat([torch.arange(length) for length in lengths]),
        success=torch.ones(count, dtype=torch.bool),
        info=({},) * count,
    )


def rollouts(lift: Lift, policy: Policy, episodes: int) -> closed_loop.Outcome:
    """Whether each episode lifted the cube within 5 s, and its steps."""
    outcome: dict[str, list[float]] = {"success": [], "steps": []}
    for seed in tqdm(range(FIRST_UNSEEN, FIRST_UNSEEN + episodes), desc="episodes"):
        lift.reset(seed)
        policy.reset()
        lifted, steps = False, 0
        while not lifted and steps < STEPS:
            lifted = lift.step(policy.select_action(lift.observation()).numpy())
            steps += 1
        outcome["success"].append(lifted)
        outcome["steps"].append(steps)
    return outcome


def main(arguments: Sequence[str] | None = None) -> None:
    parser = closed_loop.parser(__doc__, METHODS, steps=1000)
    parser.add_argument("--demonstrations", type=int, default=DEMONSTRATIONS)
    parser.add_argument("--episodes", type=int, default=EPISODES)
    chosen = parser.parse_args(arguments)
    lift = Lift()
    closed_loop.run(
        f"lift-{chosen.demonstrations}",
        chosen,
        METHODS[chosen.method],
        lift.robot,
        lambda: demonstrations(lift, chosen.demonstrations),
        lambda policy: rollouts(lift, policy, chosen.episodes),
        {"episodes": chosen.episodes, "disturbance": DISTURBANCE, "rate": RATE},
    )


if __name__ == "__main__":
    main()
