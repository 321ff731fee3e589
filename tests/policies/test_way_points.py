"""Way-points at lower rates than the data: labels, execution, and the energies of one way-point after another."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from typing import Any

import pytest
import torch

from ikp.data import Demonstrations
from ikp.joint_map import GRIPPER, JOINT, JointMap
from ikp.joint_map.dimension import Dimension
from ikp.kinematics.links import Joint, Link
from ikp.kinematics.robot import Robot
from ikp.policies import DataSpec, ImplicitPolicy, PolicyConfig, make_policy, method_config
from ikp.policies.config import SearchConfig
from ikp.policies.energy import EnergyWalk
from ikp.policies.execution import Execution
from ikp.policies.proposal import uniform_negatives
from ikp.policies.search import search
from ikp.policies.timing import TimingConfig
from ikp.training.config import TrainConfig
from ikp.training.trainer import train

from .conftest import small_config, small_spec

FPS = 50.0
TIMING = TimingConfig(rate=5.0, way_points=3, executed=1.0)


@pytest.mark.parametrize(
    ("timing", "fps", "warns"),
    [
        (TimingConfig(), 125.0, True),
        (TimingConfig(way_points=5), 30.0, True),
        (TimingConfig(), 10.0, False),
        (TimingConfig(rate=2.5, way_points=5), 125.0, False),
    ],
)
def test_a_decision_at_every_frame_of_fast_data_is_warned_of(timing, fps, warns):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        timing.warn_of_rate(fps)
    assert [f"each of {fps:g} frames per second" in str(one.message) for one in caught] == [True] * warns


def demonstrations(episodes: int = 6, length: int = 60, seed: int = 0) -> Demonstrations:
    """Joints that move smoothly to a goal that the environment state shows; the vacuum switches half way."""
    generator = torch.Generator().manual_seed(seed)
    home = torch.tensor([-0.3, -1.4, 2.0, -2.2, -1.57, -1.8])
    goal = torch.rand(episodes, 1, 3, generator=generator)
    share = torch.linspace(0, 1, length + 1)[:, None]
    q = home + share * 0.5 * torch.cat([goal, -goal], -1)
    vacuum = (share > 0.5).float().expand(episodes, -1, -1)
    state = torch.cat([q, vacuum], -1)
    frames = episodes * length
    return Demonstrations(
        replace(small_spec(), fps=FPS),
        state[:, :-1].reshape(frames, 7),
        state[:, 1:].reshape(frames, 7),
        goal.expand(-1, length, -1).reshape(frames, 3),
        {},
        torch.arange(episodes).repeat_interleave(length),
        torch.arange(length).repeat(episodes),
        torch.ones(episodes, dtype=torch.bool),
    )


def policy_of(robot, method: str = "ikp", **changes: Any) -> tuple[Any, Demonstrations, Any]:
    torch.manual_seed(0)
    data = demonstrations()
    policy = make_policy(robot, data.spec, method_config(method, small_config(timing=TIMING, **changes)))
    policy.fit_scales(data.state, data.way_points(policy.due), data.environment_state)
    batch = data.batch(torch.arange(0, len(data), 7), **policy.batch_options)
    return policy, data, batch


@pytest.mark.parametrize(
    ("timing", "fps", "due", "executed"),
    [
        (TimingConfig(), 10.0, (1,), 1),
        (TimingConfig(rate=10.0), 50.0, (5,), 5),
        (TimingConfig(rate=2.5, way_points=3), 50.0, (20, 40, 60), 24),
        (TimingConfig(rate=2.5, way_points=3, executed=1.0), 50.0, (20, 40, 60), 60),
        (TimingConfig(rate=2.5, way_points=3, executed=0.5), 50.0, (20, 40, 60), 30),
        (TimingConfig(rate=10.0, way_points=3), 25.0, (2, 5, 8), 3),
    ],
)
def test_way_points_are_due_at_the_policys_rate(timing, fps, due, executed):
    assert timing.due(fps) == due
    assert timing.frames_executed(fps) == executed


def test_rates_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="rate is 20 way-points per second and the data have 10"):
        TimingConfig(rate=20.0).due(10.0)
    wrong: list[dict[str, Any]] = [
        {"rate": -1.0},
        {"executed": 1.5},
        {"way_points": 0},
        {"history_seconds": math.nan},
    ]
    for values in wrong:
        with pytest.raises(ValueError, match=next(iter(values))):
            TimingConfig(**values)
    with pytest.raises(ValueError, match="Langevin"):
        PolicyConfig(timing=TIMING, search=SearchConfig(method="langevin"))


def test_a_configuration_goes_through_json():
    config = PolicyConfig(timing=TIMING)
    assert PolicyConfig.from_json(config.to_json()) == config
    assert "timing" not in PolicyConfig().to_json()


def test_labels_are_the_commands_of_later_frames_and_the_last_one_is_held():
    data = demonstrations()
    found = data.way_points((10, 20, 30), torch.tensor([60, 100, 119]))
    assert torch.equal(found[0], data.action[[69, 79, 89]])
    assert torch.equal(found[1], data.action[[109, 119, 119]])
    assert torch.equal(found[2], data.action[[119, 119, 119]])
    assert torch.equal(data.way_points((10,), torch.tensor([3])), data.action[[12]])
    assert torch.equal(data.way_points((1,)), data.action)


def test_a_history_in_seconds_skips_frames_of_the_data():
    data = demonstrations()
    assert data.window(torch.tensor([75]), 3, 5).tolist() == [[65, 70, 75]]
    assert data.window(torch.tensor([63]), 3, 5).tolist() == [[60, 60, 63]]


def test_commands_are_interpolated_from_the_last_one_and_switches_wait():
    execution = Execution(TimingConfig(rate=5.0, way_points=2, executed=1.0), 10.0, held=[1])
    rest = torch.tensor([0.0, 0.0])
    assert execution.is_due
    execution.follow(torch.tensor([[1.0, 1.0], [3.0, 0.0]]), rest)
    found = [execution.next().tolist() for _ in range(4)]
    assert found == [[0.5, 0.0], [1.0, 1.0], [2.0, 1.0], [3.0, 0.0]]
    assert execution.is_due
    execution.follow(torch.tensor([[5.0, 1.0], [6.0, 1.0]]), rest)
    assert execution.next().tolist() == [4.0, 0.0]
    execution.reset()
    execution.follow(torch.tensor([[5.0, 1.0], [6.0, 1.0]]), rest.double())
    assert execution.next().tolist() == [2.5, 0.0]


def test_continuous_joints_take_the_shorter_way_round():
    """In degrees, beside a joint with limits: the last command lies before the wrap of the encoder."""
    execution = Execution(TimingConfig(rate=5.0, way_points=2, executed=1.0), 10.0, turns={1: 360.0})
    rest = torch.tensor([170.0, 170.0])
    execution.follow(torch.tensor([[176.0, 176.0], [179.0, 179.0]]), rest)
    assert [execution.next().tolist() for _ in range(4)] == [
        [each] * 2 for each in (173.0, 176.0, 177.5, 179.0)
    ]
    execution.follow(torch.tensor([[-177.0, -177.0], [178.0, 178.0]]), rest)
    found = torch.stack([execution.next() for _ in range(4)])
    assert found[:, 0].tolist() == [1.0, -177.0, 0.5, 178.0]
    assert found[:, 1].tolist() == [-179.0, -177.0, -179.5, -182.0]


def test_a_turn_is_counted_in_the_recorded_units_and_order():
    robot = Robot(
        "turner",
        (
            Link("base", -1),
            Link("upper", 0, joint=Joint("bend", "revolute", (0.0, 1.0, 0.0), -2.0, 2.0)),
            Link("lower", 1, joint=Joint("turn", "continuous", (0.0, 0.0, 1.0), -math.inf, math.inf)),
        ),
    )
    spec = DataSpec(robot.joint_names, robot.joint_names, fps=FPS, joint_dims=(0, 1))
    config = method_config("explicit", small_config(timing=TIMING))
    assert make_policy(robot, spec, config).new_execution().turns == {1: 2 * math.pi}
    raw = replace(config, action_space="raw", targets="absolute")
    assert make_policy(robot, spec, raw).new_execution().turns == {}
    entries = (
        Dimension("turn", JOINT, unit="deg", joint="turn", scale=math.pi / 180, sign=-1),
        Dimension("bend", JOINT, unit="rad", joint="bend"),
    )
    spec = DataSpec(("turn", "bend"), ("turn", "bend"), fps=FPS)
    mapped = spec.with_joint_map(JointMap(robot.joint_names, entries, entries))
    assert make_policy(robot, mapped, config).new_execution().turns == {0: pytest.approx(360.0)}


def test_part_of_a_decision_is_executed_before_the_next():
    execution = Execution(TimingConfig(rate=5.0, way_points=4, executed=0.5), 10.0)
    execution.follow(torch.arange(4.0)[:, None], torch.zeros(1))
    for _ in range(4):
        assert not execution.is_due
        execution.next()
    assert execution.is_due


@pytest.mark.parametrize("method", ["explicit", "ikp", "implicit-cartesian"])
def test_way_points_go_through_the_encoding_and_back(robot, method):
    policy, _, batch = policy_of(robot, method)
    state, action = batch["state"][:, -1], batch["action"]
    encoded = policy.actions.encode(state, action)
    assert encoded.shape == (len(state), len(policy.actions.names))
    decoded = policy.actions.decode(state, encoded)
    torch.testing.assert_close(decoded, action[..., :6], atol=1e-3, rtol=0)


@pytest.mark.parametrize("method", ["ikp", "implicit-joint"])
def test_a_walk_equals_all_way_points_at_once(robot, method):
    policy, _, batch = policy_of(robot, method)
    assert isinstance(policy, ImplicitPolicy)
    with torch.no_grad():
        context = policy.encode(batch)
        expert = policy.actions.encode(context.state, batch["action"])
        candidates = uniform_negatives(policy.bounds.low, policy.bounds.high, len(expert), 5)
        together = policy.pooled_energies(context, expert)(candidates).chunk(3, 1)
        for k, (segment, start, step) in enumerate(policy.way_point_segments(context, expert)):
            walk = policy.pooled_walk(context, EnergyWalk, segment)
            for j in range(6):
                found = walk.energies(j)(candidates[:, 6 * k + j] - start[:, j, None])
                torch.testing.assert_close(found, together[k][:, j], atol=1e-4, rtol=1e-4)
                walk.commit(j, step[:, j])


def test_energies_of_a_way_point_depend_on_the_one_before_and_on_no_later_one(robot):
    policy, _, batch = policy_of(robot)
    with torch.no_grad():
        context = policy.encode(batch)
        expert = policy.actions.encode(context.state, batch["action"])
        candidates = uniform_negatives(policy.bounds.low, policy.bounds.high, len(expert), 5)
        before = policy.pooled_energies(context, expert)(candidates)
        changed = expert.clone()
        changed[:, 6:12] += 0.1
        after = policy.pooled_energies(context, changed)(candidates)
    torch.testing.assert_close(after[:, :7], before[:, :7])
    assert (after[:, 12:] - before[:, 12:]).abs().amin(-1).max() > 1e-3


def test_each_decision_is_the_least_of_its_segment(robot):
    policy, _, batch = policy_of(robot)
    with torch.no_grad():
        context = policy.encode(batch)
        chosen = policy.choose(context)
        for segment, _, step in policy.way_point_segments(context, chosen):
            walk = policy.pooled_walk(context, EnergyWalk, segment)
            found = search(walk, segment.low.tolist(), segment.high.tolist(), policy.config.search)
            torch.testing.assert_close(torch.as_tensor(found), step, atol=1e-4, rtol=0)


@pytest.mark.parametrize("method", ["explicit", "explicit-fk", "implicit-joint", "ikp"])
def test_training_brings_every_way_point_nearer(robot, method, tmp_path):
    policy, data, _ = policy_of(robot, method)
    errors = []
    config = TrainConfig(steps=150, batch_size=64, held_out=0.2, learning_rate=4e-3, validate_every=50)
    result = train(policy, data, config, out=tmp_path / method)
    batch = data.batch(torch.arange(0, len(data), 5), **policy.batch_options)
    chosen = result.policy.act_in_model_units(batch)
    errors = (chosen - batch["action"])[..., :6].abs().mean((0, 2))
    measured = (batch["state"][:, -1:] - batch["action"])[..., :6].abs().mean((0, 2))
    assert (errors < 0.5 * measured).all()
    assert chosen[..., 6].unique().tolist() == [0.0, 1.0]


def test_a_control_loop_follows_the_way_points(robot):
    policy, data, _ = policy_of(robot, "explicit")
    frame = {"state": data.state[0], "environment_state": data.environment_state[0]}
    policy.reset()
    commands = torch.stack([policy.select_action(frame) for _ in range(31)])
    way_points, rest = policy.plan(policy.frames.observation)
    joints = slice(0, 6)
    torch.testing.assert_close(rest[0, joints], data.state[0, joints])
    torch.testing.assert_close(commands[[9, 19, 29]], way_points[0])
    torch.testing.assert_close(
        commands[4, joints], (rest[0] + way_points[0, 0])[joints] / 2, atol=1e-6, rtol=0
    )
    torch.testing.assert_close(  # the next decision starts at the last command, not at the measured joints
        commands[30, joints],
        torch.lerp(way_points[0, 2], way_points[0, 0], 0.1)[joints],
        atol=1e-6,
        rtol=0,
    )


def test_way_points_go_through_a_joint_map(robot):
    """The same policy on recordings in degrees, with the vacuum first and its values swapped."""
    policy, _, batch = policy_of(robot, "explicit")
    names = ("vacuum", *(f"joint_{i}" for i in range(6)))
    units = [
        Dimension(name, JOINT, unit="deg", joint=joint, scale=math.pi / 180)
        for name, joint in zip(names[1:], robot.joint_names, strict=True)
    ]
    vacuum = Dimension("vacuum", GRIPPER, open=1.0, closed=0.0)
    joint_map = JointMap(robot.joint_names, (vacuum, *units), (vacuum, *units))
    spec = replace(
        small_spec(), fps=FPS, action_names=names, state_names=names, joint_dims=(), discrete_dims=()
    )
    other = make_policy(robot, spec.with_joint_map(joint_map), policy.config)
    other.load_state_dict(policy.state_dict())
    recorded = joint_map.states.to_recorded(batch["state"])
    del batch["action"]
    found, rest = other.plan({**batch, "state": recorded})
    expected, expected_rest = policy.plan(batch)
    torch.testing.assert_close(found[..., 1:], expected[..., :6].rad2deg(), atol=1e-2, rtol=0)
    torch.testing.assert_close(found[..., 0], 1 - expected[..., 6])
    torch.testing.assert_close(rest[..., 1:], expected_rest[..., :6].rad2deg(), atol=1e-2, rtol=0)
    assert other.new_execution().held == [0]
