"""ViperX 300 6DOF (vx300s) by Trossen Robotics, and two of them as in ALOHA.

The arm is that of `interbotix_xsarm_descriptions/urdf/vx300s.urdf.xacro` in
github.com/Interbotix/interbotix_ros_manipulators (BSD-3-Clause). Where the two stand, and their names, is from
`gym_aloha/assets` in github.com/huggingface/gym-aloha (Apache-2.0).
"""

from __future__ import annotations

import math

from torch import Tensor

from ikp.kinematics.builtin._chain import AXES, Frame, chain, side_by_side, transform
from ikp.kinematics.links import Joint, Vector
from ikp.kinematics.robot import Robot

_TURN = math.pi - 1e-5
# link, joint, position in the link before [m], axis, limits [rad]
_JOINTS: tuple[tuple[str, str, Vector, str, float, float], ...] = (
    ("shoulder_link", "waist", (0.0, 0.0, 0.079), "z", -_TURN, _TURN),
    ("upper_arm_link", "shoulder", (0.0, 0.0, 0.04805), "y", math.radians(-106), math.radians(72)),
    ("upper_forearm_link", "elbow", (0.05955, 0.0, 0.3), "y", math.radians(-101), math.radians(92)),
    ("lower_forearm_link", "forearm_roll", (0.2, 0.0, 0.0), "x", -_TURN, _TURN),
    ("wrist_link", "wrist_angle", (0.1, 0.0, 0.0), "y", math.radians(-107), math.radians(128)),
    ("gripper_link", "wrist_rotate", (0.069744, 0.0, 0.0), "x", -_TURN, _TURN),
)
# to ee_arm_link, fingers_link and ee_gripper_link
_GRASP = 0.042825 + 0.025875 + 0.0385
_STRAIGHT: Vector = (0.0, 0.0, 0.0)


def vx300s() -> Robot:
    """ViperX 300 6DOF; its fingers are left out.

    Links: base_link, shoulder_link, upper_arm_link, upper_forearm_link, lower_forearm_link, wrist_link, gripper_link,
    ee_gripper_link (the tip, between the fingers). Joints: waist, shoulder, elbow, forearm_roll, wrist_angle,
    wrist_rotate.
    """
    frames: list[Frame] = []
    parent = "base_link"
    for link, joint, xyz, axis, lower, upper in _JOINTS:
        moving = Joint(joint, "revolute", AXES[axis], lower, upper, math.pi)
        frames.append((link, parent, xyz, _STRAIGHT, moving))
        parent = link
    frames.append(("ee_gripper_link", parent, (_GRASP, 0.0, 0.0), _STRAIGHT, None))
    return Robot("vx300s", chain("base_link", frames), ("ee_gripper_link",))


def aloha(T_world_left: Tensor | None = None, T_world_right: Tensor | None = None) -> Robot:
    """The two ViperX of ALOHA as one tree.

    The root is `world`, links and joints have the prefixes `vx300s_left/` and `vx300s_right/`, the tips are the two
    ee_gripper_link.

    Args:
        T_world_left: (4, 4) pose of the left base; by default at (-0.469, 0.5, 0) m, facing +x.
        T_world_right: (4, 4) pose of the right base; by default at (0.469, 0.5, 0) m, facing -x.
    """
    left, right = transform((-0.469, 0.5, 0.0), _STRAIGHT), transform((0.469, 0.5, 0.0), (0.0, 0.0, 3.1416))
    bases = {
        "vx300s_left/": left if T_world_left is None else T_world_left,
        "vx300s_right/": right if T_world_right is None else T_world_right,
    }
    return side_by_side("aloha", vx300s(), bases)
