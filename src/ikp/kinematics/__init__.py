"""Kinematics: robots, the poses of their links, and learned corrections of both. Needs torch alone.

- `robot`: the model, a validated tree; its parts are in `links`. It round-trips through a JSON-ready
  dictionary.
- `builtin`: ur5e, iiwa14, two iiwa14 as one tree; fixed tool frames.
- `loading`: robots by name or from URDF (`urdf`) and MJCF (`mjcf`) files.
- `rotations`: matrices, quaternions, rotation vectors, 6D, roll-pitch-yaw, rigid transforms.
- `forward`: poses of all links, batched and differentiable; `plan` prepares a robot, `columns` computes a
  batch, `single` one configuration.
- `incremental`: poses of a link's far end over its own joint (`arcs`), for policies that choose joint by
  joint.
- `jacobian`, `inverse`: the geometric Jacobian; batched inverse kinematics for one or several tips.
- `camera`: a pinhole camera in the base frame, pixels to a plane and back.
- `residual`: learned joint offsets, dense joint residuals and link corrections.

Poses are ``T_base_link``, joint positions `q` in rad or m, limits and all inputs in the robot's joint order.
"""

from ikp.kinematics._arcs import JointArcs
from ikp.kinematics.builtin import iiwa14, iiwa14_dual, ur5e, with_tool
from ikp.kinematics.camera import Camera, back_project, project
from ikp.kinematics.forward import forward_kinematics
from ikp.kinematics.inverse import IKSolution, inverse_kinematics
from ikp.kinematics.jacobian import jacobian
from ikp.kinematics.links import Joint, Link, Mimic
from ikp.kinematics.loading import load_robot
from ikp.kinematics.robot import Robot
from ikp.kinematics.sequential import PrefixPose, far_end_poses, joint_arcs

__all__ = [
    "Camera",
    "IKSolution",
    "Joint",
    "JointArcs",
    "Link",
    "Mimic",
    "PrefixPose",
    "Robot",
    "back_project",
    "far_end_poses",
    "forward_kinematics",
    "iiwa14",
    "iiwa14_dual",
    "inverse_kinematics",
    "jacobian",
    "joint_arcs",
    "load_robot",
    "project",
    "ur5e",
    "with_tool",
]
