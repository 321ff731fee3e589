"""Your own robot and your own recordings: write a data set, train on it, and act on single frames."""

from pathlib import Path

import torch

import ikp
from ikp.data import DatasetWriter

EPISODES, FRAMES = 60, 15
STEPS = 300
OUT = Path("outputs/examples/03")
URDF = """<robot name="arm">
<link name="base"/><link name="body"/><link name="upper"/><link name="fore"/><link name="hand"/>
<joint name="turn" type="revolute"><parent link="base"/><child link="body"/>
  <origin xyz="0 0 0.2"/><axis xyz="0 0 1"/><limit lower="-2" upper="2" velocity="2" effort="9"/></joint>
<joint name="lift" type="revolute"><parent link="body"/><child link="upper"/>
  <axis xyz="0 1 0"/><limit lower="-2" upper="2" velocity="2" effort="9"/></joint>
<joint name="bend" type="revolute"><parent link="upper"/><child link="fore"/>
  <origin xyz="0 0 0.3"/><axis xyz="0 1 0"/><limit lower="0" upper="2.5" velocity="2" effort="9"/></joint>
<joint name="tool" type="fixed"><parent link="fore"/><child link="hand"/><origin xyz="0 0 0.3"/></joint></robot>"""

OUT.mkdir(parents=True, exist_ok=True)
(OUT / "arm.urdf").write_text(URDF)
robot = ikp.load_robot(OUT / "arm.urdf")


def tip_position(q: torch.Tensor) -> torch.Tensor:
    """Position of the hand in the base frame [m]."""
    return ikp.forward_kinematics(robot, q)[robot.tip_indices[0], :3, 3]


# One frame holds the measured joints [rad] and where a detector saw the goal [m]; the action is the next joint target.
spec = ikp.DataSpec(
    action_names=robot.joint_names,
    state_names=robot.joint_names,
    environment_state_names=("goal.x", "goal.y", "goal.z"),
    joint_dims=(0, 1, 2),
    fps=10,
)
generator = torch.Generator().manual_seed(0)
with DatasetWriter(OUT / "data", spec, robot_type="arm", task="reach the goal") as writer:
    while writer.episodes < EPISODES:
        q, q_goal = 0.2 + torch.rand(2, 3, generator=generator)
        for _ in range(FRAMES):
            target = q + 0.4 * (q_goal - q)
            writer.add_frame({"state": q, "environment_state": tip_position(q_goal)}, target)
            q = target
        writer.save_episode(success=True)

demonstrations = ikp.load_dataset(OUT / "data")
policy = ikp.make_policy(robot, demonstrations.spec, ikp.recipe("quick").policy_for("ikp"))
ikp.train(
    policy, demonstrations, ikp.TrainConfig(steps=STEPS, learning_rate=4e-3), out=OUT / "run", resume=True
)

# On the robot: one frame in, one action out. `reset` forgets the frames of the episode before.
policy = ikp.load_policy(OUT / "run")
policy.reset()
q, goal = torch.full((3,), 0.4), tip_position(torch.tensor([0.9, 0.8, 1.0]))
for _ in range(FRAMES):
    q = policy.select_action({"observation.state": q, "observation.environment_state": goal})
print(f"the hand stops {1e3 * (tip_position(q) - goal).norm():.0f} mm from the goal")
