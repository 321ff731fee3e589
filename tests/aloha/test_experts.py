"""Plans of the scripted experts, by the kinematics alone."""

import numpy as np
import pytest
import torch

from ikp.kinematics import forward_kinematics


def poses(*positions):
    return np.array([[*position, 1.0, 0.0, 0.0, 0.0] for position in positions])


# corners of the regions in which gym-aloha puts its objects
TRANSFERS = [poses((x, y, 0.05)) for x in (0.0, 0.2) for y in (0.4, 0.6)]
INSERTIONS = [poses((x, y, 0.05), (-x, 1 - y, 0.05)) for x in (0.1, 0.2) for y in (0.4, 0.6)]
CASES = [("transfer", objects) for objects in TRANSFERS] + [("insertion", objects) for objects in INSERTIONS]


@pytest.mark.parametrize(("task", "objects"), CASES)
def test_plans_are_smooth_and_within_the_limits(task, objects):
    from experts import ARMS, GRIPPERS, ROBOT, START, plan

    commands = plan(task, objects)
    assert commands.shape == (400, 14)
    joints = commands[:, ARMS]
    assert np.abs(np.diff(np.vstack([START, joints]), axis=0)).max() * 50 < 1.5  # rad/s; the arms can do 3
    assert (joints > ROBOT.lower.numpy()).all()
    assert (joints < ROBOT.upper.numpy()).all()
    assert set(np.unique(commands[:, GRIPPERS])) == {0.0, 1.0}


@pytest.mark.parametrize(("task", "objects"), CASES)
def test_a_gripper_closes_around_its_object(task, objects):
    from experts import ARMS, FINGERTIPS, GRIPPERS, ROBOT, plan

    commands = plan(task, objects)
    T = forward_kinematics(ROBOT, torch.from_numpy(commands[:, ARMS]))
    takers = {"transfer": [1], "insertion": [1, 0]}[task]  # right and left, in the order of the objects
    for side, position in zip(takers, objects[:, :3], strict=True):
        closing = int(np.argmax(commands[:, GRIPPERS[side]] == 0.0))
        tip = T[closing, ROBOT.tip_indices[side]]
        fingertips = (tip[:3, 3] + FINGERTIPS * tip[:3, 0]).numpy()
        assert fingertips[:2] == pytest.approx(position[:2], abs=1e-4)
        assert 0.0 < fingertips[2] < 0.03
        assert tip[:3, 0].tolist() == pytest.approx([0.0, 0.0, -1.0], abs=1e-3)


def test_objects_out_of_reach_are_refused():
    from experts import plan

    with pytest.raises(ValueError, match=r"cannot reach the objects at \[\[3.0"):
        plan("transfer", poses((3.0, 0.5, 0.05)))
