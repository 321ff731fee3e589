"""Your own camera: a policy that sees in the image where its motion leads (the image plane)."""

import json
from pathlib import Path

import numpy as np
import torch

import ikp
from ikp.data import DatasetWriter
from ikp.kinematics import inverse_kinematics, project

EPISODES, FRAMES = 60, 8
STEPS = 200
OUT = Path("outputs/examples/04")
robot = ikp.load_robot("ur5e")
home = torch.tensor([0.0, -1.4, 2.0, -2.2, -1.57, 0.0], dtype=torch.float64)
T_home = ikp.forward_kinematics(robot, home)[robot.tip_indices[0]]

# A pinhole camera with its pose in the robot's base frame. The file is what `ikp train --camera front=FILE` reads.
camera = ikp.Camera.look_at((-1.1, 0.0, 0.7), (-0.5, -0.1, 0.0), fovy=45, width=96, height=96)
OUT.mkdir(parents=True, exist_ok=True)
(OUT / "front.json").write_text(json.dumps(camera.to_json()))


def photograph(goal: torch.Tensor) -> np.ndarray:
    """In place of a real camera: a grey table with a red dot at the goal (x, y, z) [m]."""
    u, v = project(camera.intrinsics(), camera.pose(), goal).int().tolist()
    image = np.full((96, 96, 3), 90, np.uint8)
    image[v - 3 : v + 4, u - 3 : u + 4] = (220, 40, 40)
    return image


# Demonstrations: the tool moves down to a dot somewhere on the table. The data set stores the camera.
names = robot.joint_names
spec = ikp.DataSpec(
    names, names, image_shapes={"front": (96, 96, 3)}, joint_dims=range(6), cameras={"front": camera}
)
generator = torch.Generator().manual_seed(0)
with DatasetWriter(OUT / "data", spec, robot_type="ur5e", task="touch the dot") as writer:
    while writer.episodes < EPISODES:
        T_goal = T_home.clone()
        T_goal[:2, 3] += 0.3 * torch.rand(2, generator=generator) - 0.15
        T_goal[2, 3] = 0.0
        q, q_goal = home, inverse_kinematics(robot, T_goal[None], home).q
        for _ in range(FRAMES):
            target = q + 0.6 * (q_goal - q)
            writer.add_frame({"state": q, "images": {"front": photograph(T_goal[:3, 3])}}, target)
            q = target
        writer.save_episode(success=True)

chosen = ikp.recipe("demo").with_budget(steps=STEPS)  # `standard` with the image plane
demonstrations = ikp.load_dataset(OUT / "data")
policy = ikp.make_policy(robot, demonstrations.spec, chosen.policy_for("ikp"))
config = ikp.TrainConfig(steps=STEPS, batch_size=32, learning_rate=4e-3, encoder_learning_rate=2e-3)
ikp.train(policy, demonstrations, config, out=OUT / "run", resume=True)

policy = ikp.load_policy(OUT / "run")
goal = torch.tensor([-0.55, -0.05, 0.0], dtype=torch.float64)
q = home
for _ in range(FRAMES):
    q = policy.select_action({"observation.state": q, "observation.images.front": photograph(goal)})
tip = ikp.forward_kinematics(robot, q)[robot.tip_indices[0], :3, 3]
print(f"the tool stops {1e3 * (tip.double() - goal).norm():.0f} mm from the dot")
