"""Kinematics: robot models, the poses of their links, and pinhole cameras.

- `robot`: the model, a validated tree of the parts in `links`; it converts to JSON values and back.
- `builtin`: arms by name, such as ur5e, panda and so101. `tool`: fixed tool frames.
- `loading`: robots by name, or from URDF (`urdf`) and MJCF (`mjcf`) files.
- `rotations`: matrices, quaternions, rotation vectors, the 6D form, roll-pitch-yaw, rigid transforms.
- `forward`: poses of all links, batched and differentiable. `_plan` prepares a robot, `_columns` computes a batch,
  `_single` one configuration.
- `sequential`: child-frame poses as functions of one joint each (`_arcs`), for policies that choose joint by joint;
  `_numpy_arcs` is the same in NumPy for small batches.
- `jacobian`, `inverse`: the geometric Jacobian; batched inverse kinematics for one or several tips.
- `camera`: a pinhole camera in the base frame: points to pixels, and pixels to a plane.

Poses are ``T_base_link``. Joint positions `q` are in rad or m, in the robot's joint order.
"""

from ikp.kinematics._arcs import JointArcs
from ikp.kinematics.builtin import aloha, iiwa14, iiwa14_dual, panda, so100, so101, ur5e, vx300s
from ikp.kinematics.camera import Camera, back_project, project
from ikp.kinematics.forward import forward_kinematics
from ikp.kinematics.inverse import IKSolution, inverse_kinematics
from ikp.kinematics.jacobian import jacobian
from ikp.kinematics.links import Joint, Link, Mimic
from ikp.kinematics.loading import load_robot
from ikp.kinematics.robot import Robot
from ikp.kinematics.sequential import PrefixPose, far_end_poses, joint_arcs
from ikp.kinematics.tool import with_tool

__all__ = [
    "Camera",
    "IKSolution",
    "Joint",
    "JointArcs",
    "Link",
    "Mimic",
    "PrefixPose",
    "Robot",
    "aloha",
    "back_project",
    "far_end_poses",
    "forward_kinematics",
    "iiwa14",
    "iiwa14_dual",
    "inverse_kinematics",
    "jacobian",
    "joint_arcs",
    "load_robot",
    "panda",
    "project",
    "so100",
    "so101",
    "ur5e",
    "vx300s",
    "with_tool",
]
