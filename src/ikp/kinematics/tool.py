"""Fixed tool frames."""

from __future__ import annotations

from torch import Tensor

from ikp.kinematics.links import Link
from ikp.kinematics.robot import Robot


def with_tool(robot: Robot, tip: str, T_tip_tool: Tensor, name: str = "tool") -> Robot:
    """Attach a fixed tool frame to a link; it replaces the link among the tips, or is added to them.

    Args:
        robot: the robot without the tool.
        tip: the link that carries the tool.
        T_tip_tool: (4, 4) pose of the tool frame in the link's frame.
        name: name of the new link.

    Raises:
        ValueError: `tip` is unknown, `name` is taken or the transform is not rigid.
    """
    links = (*robot.links, Link(name, robot.link_index(tip), T_tip_tool))
    tips = tuple(name if existing == tip else existing for existing in robot.tip_names)
    return Robot(robot.name, links, tips if name in tips else (*tips, name))
