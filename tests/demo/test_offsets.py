"""Statements about joint offsets agree with cases that are known exactly."""

import torch

from ikp.data import load_dataset
from ikp.demo.offsets import (
    agreement,
    compare_offsets,
    grasp_joints,
    offsets_from_constraints,
    remaining_effect,
    verdict,
)
from ikp.kinematics import iiwa14
from ikp.policies import make_policy
from ikp.tasks import InsertionEnv, Miscalibration

TRUE = torch.from_numpy(Miscalibration.from_seed(0, 6).q_offset)


def test_the_first_joint_is_lost_with_the_base_and_the_last_with_the_tool():
    robot = iiwa14()
    q = robot.random_q((50,), generator=torch.Generator().manual_seed(0))
    known = remaining_effect(robot, q, ())
    base, tool = remaining_effect(robot, q, ("base",)), remaining_effect(robot, q, ("tool",))
    both = remaining_effect(robot, q, ("base", "tool"))
    assert (known > 0.5).all()
    assert base[0] < 1e-6
    assert (base[1:] > 0.1).all()
    assert tool[-1] < 1e-6
    assert (tool[:-1] > 0.1).all()
    assert max(both[0], both[-1]) < 1e-6
    assert (both[1:-1] > 0.1).all()


def test_constraints_find_the_offsets_along_the_directions_that_show(demonstrations):
    dataset = load_dataset(demonstrations, progress=False)
    q, q_grasp = dataset.state[:, :6].double(), grasp_joints(dataset).double()
    assert len(q_grasp) == dataset.episodes
    solved, directions = offsets_from_constraints(InsertionEnv.robot, q, q_grasp)
    along = directions @ (solved - TRUE)
    assert 2 <= len(directions) <= 4
    assert along.norm() < 0.3 * (directions @ TRUE).norm()
    assert abs(float(directions[:, 0].abs().max())) < 1e-3, "a turn of the whole robot shows in none of them"


def test_agreement_and_its_words():
    true = torch.tensor([1.0, -1.0, 0.5])
    assert agreement(true, true)["rms_error"] == 0
    assert verdict(agreement(true + 0.05, true)) == "recovered"
    assert verdict(agreement(0.5 * true, true)) == "partly recovered"
    assert verdict(agreement(torch.zeros(3), true)) == "not recovered"
    assert agreement(2 * true, true)["correlation"] > 0.999
    assert agreement(torch.zeros(3), true)["correlation"] == 0


def test_a_planted_residual_is_read_back_with_its_sign(demonstrations, tiny):
    dataset = load_dataset(demonstrations, progress=False)
    policy = make_policy(InsertionEnv.robot, dataset.spec, tiny.policy_for("ikp"))
    policy.poses.residual.offset.value.data = TRUE.float()
    compared = compare_offsets(policy, dataset, TRUE.tolist())
    assert compared["learned_vs_true"]["rms_error"] < 1e-4
    assert compared["along_directions"]["learned"] < 1e-4
    assert compared["remaining_mm"]["base unknown"][0] < 1e-6
    without = make_policy(InsertionEnv.robot, dataset.spec, tiny.policy_for("implicit-joint"))
    assert compare_offsets(without, dataset, TRUE.tolist())["learned"] is None
