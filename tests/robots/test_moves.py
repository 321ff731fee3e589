"""Moves between episodes, rest before a judgement, and the time that decisions take."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch

from ikp.data import load_dataset
from ikp.policies.frames import FrameHistory
from ikp.robots.config import ControllerConfig
from ikp.robots.deployment import check_policy, deploy
from ikp.robots.interfaces import RobotStopped
from ikp.robots.recording import Verdict, keep_all, record
from ikp.robots.replay import replay
from ikp.robots.session import ARRIVED, Session, always
from ikp.robots.station import open_station

from .test_continuing import SIZE, Still


@pytest.fixture
def opened():
    """Open a session in lock-step that nobody has confirmed."""
    stations = []

    def make(task="insertion", **settings):
        config = ControllerConfig(**{"on_limit": "clip", "rate": 100.0, "lag": 0.05, **settings})
        stations.append(open_station(f"lockstep:{task}", config, image_size=SIZE))
        return Session(stations[-1], config, 10.0, SIZE)

    yield make
    for station in stations:
        station.close()


def away(session, way=0.6):
    q = session.link.telemetry().q.copy()
    q[0] += way if q[0] < 0 else -way
    return q


@pytest.mark.parametrize("settings", [{"speed": 0.05}, {"speed": 0.01, "acceleration": 0.1}, {"speed": 1.0}])
def test_a_move_keeps_to_the_speed_of_the_settings_and_arrives(opened, settings):
    session = opened(**settings)
    session.start(always)
    target, begun = away(session, 0.7), session.link.now()
    session.move_to(target)
    assert np.abs(session.link.telemetry().q - target).max() < ARRIVED
    most = settings["speed"] * session.station.robot.velocity.numpy()[0]
    assert session.link.now() - begun > 0.7 / min(most, 0.5)
    assert session.link.telemetry().late == 0


def test_a_move_that_something_stops_names_the_joint(opened, monkeypatch):
    session = opened()
    session.start(always)
    monkeypatch.setattr(session, "follow", lambda times, q: None)
    with pytest.raises(
        RobotStopped, match=r"joint 'shoulder_pan_joint' is 0\.600 rad from where it was sent"
    ):
        session.move_to(away(session))


def test_the_first_long_move_is_asked_for_and_the_next_ones_are_announced(opened):
    session, asked, told = opened(), [], []
    session.start(lambda text: asked.append(text) or True, told.append)
    target, home = away(session), session.home
    session.move_to(target, "the table")
    assert len(asked) == 2
    assert "moves to the table: 'shoulder_pan_joint' by " in asked[1]
    assert "34 deg, in 1." in asked[1]
    session.move_to(target + 0.02)  # short
    session.move_to(home)
    assert (len(asked), len(told)) == (2, 1)
    assert "'shoulder_pan_joint' by " in told[0]


def test_a_long_move_that_is_not_confirmed_is_not_made(opened):
    session = opened()
    session.start(lambda text: "first motion" in text)
    before = session.link.telemetry().q
    with pytest.raises(RobotStopped, match="the move was not confirmed"):
        session.move_to(away(session))
    np.testing.assert_allclose(session.link.telemetry().q, before, atol=1e-3)


def test_episodes_start_where_the_arm_is_at_the_confirmation(opened):
    session = opened()
    q = away(session, 0.3)

    def confirm(_):  # a person moves the arm by its pendant while the question stands
        session.station.world.motion.write(servo=1.0, q=q, lookahead=0.05)
        session.link.sleep_until(session.link.now() + 2.0)
        return True

    session.start(confirm)
    np.testing.assert_allclose(session.home, q, atol=0.01)


class Ahead(Still):
    """A policy that decides 16 way-points at once, and takes its time for the first decision."""

    slow, decisions = 0.0, 0

    def plan(self, observation):
        self.decisions += 1
        link = self._session.link
        link.sleep_until(link.now() + (self.slow if self.decisions == 1 else 0.02))
        return super().plan(observation)


class Turning(Ahead):
    """Turns the first joint on and on."""

    def new_history(self):
        self.target = np.append(self._session.link.telemetry().q_command, 0.0)
        self.direction = 1.0 if self.target[0] < 0 else -1.0
        return FrameHistory(self.spec, 1)

    def plan(self, observation):
        super().plan(observation)
        self.target[0] += 0.05 * self.direction
        action = torch.as_tensor(self.target.copy())[None]
        return action, action


def test_the_arm_rests_before_an_episode_is_judged(opened, tmp_path):
    session, moved = opened(), []
    session.start(always)

    def judge(recorded):
        before = session.link.telemetry()
        session.link.sleep_until(session.link.now() + 1.0)
        after = session.link.telemetry()
        assert np.array_equal(after.q_command, before.q_command)
        moved.append(np.abs(after.q - before.q).max())
        return keep_all(recorded)

    deploy(session, Turning(session), tmp_path / "data", 1, judge, seconds=0.6)
    assert moved[0] < 0.01  # it settles; the way-points would take it on by 0.6


def test_a_slow_first_decision_delays_nothing(opened, tmp_path):
    session = opened()
    session.start(always)
    policy = Turning(session)
    policy.slow = 2.0
    report = deploy(session, policy, tmp_path / "data", 1, keep_all, seconds=1.5)
    data = load_dataset(tmp_path / "data", images=False, progress=False)
    behind = (data.action[:-1, 0] - data.state[1:, 0]).abs()[3:]
    assert behind.max() < 0.05  # a frame's motion; it was seconds'
    assert report.latency[1] < 0.05


def test_a_replay_goes_by_the_units_of_the_data(opened, tmp_path):
    session = opened()
    session.start(always)
    record(session, Still(session), tmp_path / "data", 1, keep_all, seconds=0.5)
    degrees = tmp_path / "degrees"
    shutil.copytree(tmp_path / "data", degrees)
    for name in ("info.json", "ikp.json"):
        path = degrees / "meta" / name
        path.write_text(path.read_text().replace('"rad"', '"deg"'))
    same = replay(session, tmp_path / "data", 0, scene=0)
    assert same.largest_error < 0.01
    moved = []
    session.move_to = lambda q, where: moved.append(q)
    session.follow = lambda times, q: None
    replay(session, degrees, 0, scene=0)
    first = load_dataset(tmp_path / "data", images=False, progress=False).state[0, :6]
    np.testing.assert_allclose(moved[-1], np.radians(first.numpy()), atol=1e-5)


def test_a_replay_lays_out_the_scene_of_the_recording(opened, tmp_path, monkeypatch):
    session = opened()
    session.start(always)
    record(session, Still(session), tmp_path / "data", 1, keep_all, seconds=0.5, seed=9)
    begin, scenes = session.begin_episode, []
    monkeypatch.setattr(session, "begin_episode", lambda scene: (scenes.append(scene), begin(scene)))
    assert replay(session, tmp_path / "data", 0).scene == 9
    assert replay(session, tmp_path / "data", 0, scene=4).scene == 4
    assert scenes == [9, 4]


def test_a_discarded_episode_says_why(opened, tmp_path):
    session = opened()
    session.start(always)
    said = []
    judge = iter((Verdict.DISCARD, Verdict.FAILURE)).__next__
    record(session, Still(session), tmp_path / "data", 1, lambda _: judge(), seconds=0.5, report=said.append)
    assert "episode 1 of 1: discard" in said[0]
    assert said[0].endswith("; the task was not solved")
    assert "episode 1 of 1: failure" in said[1]
    assert "not solved" not in said[1]


def test_a_scene_is_laid_out_when_the_arm_is_home(opened, monkeypatch):
    session = opened()
    session.start(always)
    session.move_to(session.home + 0.1)
    lay_out, found = session.station.lay_out, []

    def look(scene):
        found.append(session.link.telemetry().q)
        return lay_out(scene)

    monkeypatch.setattr(session.station, "lay_out", look)
    session.begin_episode(3)
    np.testing.assert_allclose(found[0], session.home, atol=0.02)


def test_another_model_of_the_arm_is_told(opened, recwarn):
    session = opened()
    policy = Still(session)
    check_policy(session, policy)
    assert not recwarn.list
    description = policy.robot.to_dict()
    description["links"][-1]["T_parent_joint"][2][3] += 0.05
    policy.robot = type(policy.robot).from_dict(description)
    with pytest.warns(
        UserWarning, match="another model of the arm: its tip 'tool' is up to 50 mm from the bench's"
    ):
        check_policy(session, policy)
