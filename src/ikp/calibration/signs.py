"""Joints that are read in reverse: their sign is wrong in the joint map, which no offset makes up for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ikp.calibration.arm import ArmModel
from ikp.calibration.measurement import LinkMeasurement, Measurement
from ikp.calibration.solver import Problem, solve
from ikp.joint_map import JOINT, JointMap

_BETTER = 0.01  # share of the sum of squared residuals that is left if the sign was the fault


def reversed_joint(arm: ArmModel, measurements: Sequence[Measurement], joint_map: JointMap) -> str | None:
    """The one joint whose reversal explains the measurements, or None.

    Args:
        arm: the arm's parameters.
        measurements: the measurements that are not explained.
        joint_map: gives the joint positions where a reading is 0, about which a joint is reversed.
    """
    offsets = {one.joint: one.offset for one in joint_map.state or joint_map.action if one.role == JOINT}
    zero = np.array([offsets.get(joint, 0.0) for joint in arm.robot.joint_names])
    before = solve(Problem(arm, measurements)).chi_square
    left = {}
    for index, joint in enumerate(arm.robot.joint_names):
        turned = [_reversed(one, index, zero[index]) for one in measurements]
        left[joint] = solve(Problem(arm, turned)).chi_square
    joint = min(left, key=lambda joint: left[joint])
    return joint if left[joint] < _BETTER * before else None


def _reversed(measurement: Measurement, joint: int, zero: float) -> Measurement:
    if not isinstance(measurement, LinkMeasurement):
        return measurement
    q = measurement.q.copy()
    q[:, joint] = 2 * zero - q[:, joint]
    return replace(measurement, q=q)
