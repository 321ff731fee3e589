"""Demonstrations as a data set."""

import numpy as np
import pytest

import ikp
from ikp.kinematics import aloha


def test_successful_episodes_become_a_data_set_with_the_robots_joints(tmp_path, follower, capsys):
    from record import record
    from task import NAMES

    class SolvedAtOddSeeds(follower):
        def step(self, action):
            state = super().step(action)
            self.reward = 4 if self.seed % 2 and len(self.commands) == 300 else 3
            return state

    assert record(SolvedAtOddSeeds(), tmp_path / "data", episodes=2) == [0, 2]
    data = ikp.load_dataset(tmp_path / "data", robot=aloha())
    assert len(data) == 800
    assert data.spec.fps == 50
    assert data.spec.recorded_action_names == data.spec.recorded_state_names == NAMES
    assert data.spec.joint_dims == tuple(range(12))
    assert data.spec.discrete_dims == (12, 13)
    assert [(d.open, d.closed) for d in data.spec.joint_map.action if d.role == "gripper"] == [(1.0, 0.0)] * 2
    assert set(data.images) == {"top"}
    assert data.success.tolist() == [True, True]


def test_a_frame_holds_what_was_seen_before_its_command(tmp_path, follower):
    from record import record

    simulation = follower({400: 4})
    record(simulation, tmp_path / "data", episodes=1)
    data = ikp.load_dataset(tmp_path / "data", robot=aloha())
    commands = np.stack(simulation.commands)
    assert data.action[:, :6].numpy() == pytest.approx(commands[:, :6], abs=1e-6)
    assert data.state[1:, :6].numpy() == pytest.approx(commands[:-1, :6], abs=1e-6)
    assert data.images["top"][:, 0, 0, 0].tolist() == [step % 256 for step in range(400)]


def test_a_recording_that_was_stopped_continues_behind_its_last_seed(tmp_path, follower):
    from record import record, recorded_seeds

    class StoppedAtTheFifthSeed(follower):
        def reset(self, seed):
            if seed == 4:
                raise KeyboardInterrupt
            return super().reset(seed)

        def step(self, action):
            state = super().step(action)
            self.reward = 4 if self.seed % 2 and len(self.commands) == 300 else 3
            return state

    class Unstopped(StoppedAtTheFifthSeed):
        reset = follower.reset

    with pytest.raises(KeyboardInterrupt):
        record(StoppedAtTheFifthSeed(), tmp_path / "data", episodes=4)
    assert recorded_seeds(tmp_path / "data") == [1, 3]
    assert record(Unstopped(), tmp_path / "data", episodes=4) == [0, 2, 4, 6]
    assert recorded_seeds(tmp_path / "data") == [1, 3, 5, 7]


def test_a_complete_data_set_is_left_alone_and_a_larger_one_is_refused(tmp_path, follower):
    from record import record

    simulation = follower({400: 4})
    record(simulation, tmp_path / "data", episodes=2)
    rendered = simulation.rendered
    record(simulation, tmp_path / "data", episodes=2)
    assert simulation.rendered == rendered
    with pytest.raises(ValueError, match="holds 2 episodes, more than 1: give another folder"):
        record(simulation, tmp_path / "data", episodes=1)
