"""Universal Robots UR5e, from the DH parameters that the maker publishes."""

from __future__ import annotations

import math

from ikp.kinematics.builtin._dh import quarter_pose
from ikp.kinematics.links import Joint, Link
from ikp.kinematics.robot import Robot

# Universal Robots, "DH parameters for calculations of kinematics and dynamics", UR5e, standard DH:
# (a in m, d in m, alpha in quarter turns)
_DH = (
    (0.0, 0.1625, 1),
    (-0.425, 0.0, 0),
    (-0.3922, 0.0, 0),
    (0.0, 0.1333, 1),
    (0.0, 0.0997, -1),
    (0.0, 0.0996, 0),
)
_LINKS = ("shoulder", "upper_arm", "forearm", "wrist_1", "wrist_2", "wrist_3")
_JOINTS = ("shoulder_pan", "shoulder_lift", "elbow", "wrist_1", "wrist_2", "wrist_3")


def ur5e() -> Robot:
    """Universal Robots UR5e in its own base frame (ROS `base_link` is that frame turned by pi about z).

    Links: base, shoulder, upper_arm, forearm, wrist_1, wrist_2, wrist_3, flange (the tip). Every joint turns
    about the z axis of its link.
    """
    links = [Link("base", -1)]
    a, alpha = 0.0, 0
    for link, joint, (next_a, d, next_alpha) in zip(_LINKS, _JOINTS, _DH, strict=True):
        # standard DH, with the translation d before the joint's rotation, so that the joint turns about the link's z
        T_parent_joint = quarter_pose(alpha, translation=(a, 0.0, 0.0), along_axis=d)
        moving = Joint(f"{joint}_joint", "revolute", (0.0, 0.0, 1.0), -2 * math.pi, 2 * math.pi, math.pi)
        links.append(Link(link, len(links) - 1, T_parent_joint, moving))
        a, alpha = next_a, next_alpha
    links.append(Link("flange", len(links) - 1, quarter_pose(alpha, translation=(a, 0.0, 0.0))))
    return Robot("ur5e", tuple(links), ("flange",))
