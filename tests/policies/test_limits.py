"""Measured joints beyond their limits: the joint that is named, and from where on they are refused."""

from __future__ import annotations

import math
import warnings

import pytest
import torch

from ikp.kinematics.links import Joint, Link
from ikp.kinematics.robot import Robot
from ikp.policies.limits import JointLimits

AXIS = (0.0, 0.0, 1.0)


def mixed_arm() -> Robot:
    """A hinge of -1 to 1 rad, a wheel without limits and a slide of 0 to 40 mm."""
    return Robot(
        "mixed",
        (
            Link("base", -1),
            Link("upper", 0, joint=Joint("hinge", "revolute", AXIS, -1.0, 1.0)),
            Link("lower", 1, joint=Joint("wheel", "continuous", AXIS, -math.inf, math.inf)),
            Link("hand", 2, joint=Joint("slide", "prismatic", AXIS, 0.0, 0.04)),
        ),
    )


def test_targets_keep_a_margin_where_a_controller_demands_one():
    limits = JointLimits(mixed_arm())
    limits.margin = 0.01
    targets = torch.tensor([[-2.0, 9.0, 0.05], [0.995, -9.0, 0.02]])
    with pytest.warns(UserWarning, match="targets are clamped"):
        kept = limits.clamped(targets)
    torch.testing.assert_close(kept, torch.tensor([[-0.99, 9.0, 0.03], [0.99, -9.0, 0.02]]))
    limits.check_measured(torch.tensor([[0.995, 0.0, 0.0]]))  # the arm itself may be nearer


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[1.5, 0.0, 0.02]], "'hinge' is 1.5, its limits are -1 to 1"),
        ([[0.0, 0.0, 0.02], [-1.5, 0.0, 0.02]], "'hinge' is -1.5"),
        ([[1.5, 0.0, 0.14]], "'slide' is 0.14, its limits are 0 to 0.04"),
    ],
)
def test_the_joint_farthest_beyond_its_limits_is_named_whatever_its_type(rows, message):
    with pytest.warns(UserWarning, match=f"{message}.*check its zero"):
        JointLimits(mixed_arm()).check_measured(torch.tensor(rows))


@pytest.mark.parametrize(
    ("row", "name"), [([4.1, 0.0, 0.02], "hinge"), ([0.0, 0.0, 0.35], "slide"), ([1.5, 0.0, 0.35], "slide")]
)
def test_joints_in_a_wrong_unit_are_refused(row, name):
    with pytest.raises(ValueError, match=f"'{name}' is .*Are they degrees"):
        JointLimits(mixed_arm()).check_measured(torch.tensor([row]))


def test_joints_within_the_slack_pass_in_silence():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        JointLimits(mixed_arm()).check_measured(torch.tensor([[1.1, 50.0, 0.05]]))
