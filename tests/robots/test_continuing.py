"""Data sets of sessions: what continues one, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from ikp.data import load_dataset
from ikp.data.layout import DEPLOYMENT, RECORDING, DatasetError
from ikp.policies.execution import Execution
from ikp.policies.frames import FrameHistory
from ikp.policies.timing import TimingConfig
from ikp.recipes import recipe
from ikp.robots.config import ControllerConfig
from ikp.robots.dataset import check_dataset, open_dataset, recorded_robot
from ikp.robots.deployment import Measurements, deploy
from ikp.robots.interfaces import Motion
from ikp.robots.recording import Verdict, keep_all, record
from ikp.robots.session import Session, always
from ikp.robots.station import open_station
from ikp.runs import load_matched

SIZE = (32, 32)
SHORT = 0.4


@pytest.fixture
def make_session():
    """Open a session with settings, in lock-step."""
    opened = []

    def make(task="insertion", **settings):
        config = ControllerConfig(on_limit="clip", rate=100.0, lag=0.05, **settings)
        station = open_station(f"lockstep:{task}", config, image_size=SIZE)
        opened.append(station)
        session = Session(station, config, 10.0, SIZE)
        session.start(always)
        return session

    yield make
    for station in opened:
        station.close()


class Still:
    """A hand and a policy that rest."""

    def __init__(self, session):
        self.spec, self.robot, self._session = session.spec, session.station.robot, session

    def reset(self):
        pass

    def read(self, now):
        return Motion(np.zeros(6))

    def close(self):
        pass

    def new_history(self):
        return FrameHistory(self.spec, 1)

    def new_execution(self):
        return Execution(TimingConfig(), self.spec.fps, self.spec.discrete_dims)

    def plan(self, observation):
        action = torch.as_tensor(np.append(self._session.link.telemetry().q_command, 0.0))[None]
        return action, action


def recorded(session, root, episodes=1, **options):
    return record(session, Still(session), root, episodes, keep_all, seconds=SHORT, **options)


def deployed(session, root, episodes=1, **options):
    return deploy(session, Still(session), root, episodes, keep_all, seconds=SHORT, **options)


def test_another_task_or_seed_is_refused_before_anything_moves(make_session, tmp_path):
    recorded(make_session("alignment"), tmp_path / "data")
    sorting = make_session("sorting")
    with pytest.raises(DatasetError, match=r"cannot be continued: task was 'alignment', is 'sorting'"):
        recorded(sorting, tmp_path / "data", 2)
    alignment = make_session("alignment")
    with pytest.raises(DatasetError, match="task was 'alignment', is 'align the block'"):
        check_dataset(alignment, tmp_path / "data", RECORDING, task="align the block", facts={"seed": 0})
    with pytest.raises(DatasetError, match="recording.seed was 0, is 7"):
        recorded(alignment, tmp_path / "data", 2, seed=7)
    assert load_dataset(tmp_path / "data", images=False, progress=False).episodes == 1


def test_a_policys_episodes_and_demonstrations_do_not_mix(make_session, tmp_path):
    session = make_session()
    recorded(session, tmp_path / "made")
    with pytest.raises(DatasetError, match="holds demonstrations .* would get a policy's episodes"):
        deployed(session, tmp_path / "made")
    deployed(session, tmp_path / "acted")
    with pytest.raises(DatasetError, match="holds a policy's episodes .* would get demonstrations"):
        recorded(session, tmp_path / "acted", 2)
    chosen = recipe("quick")
    with pytest.warns(UserWarning, match="acted holds a policy's episodes .*no demonstrations"):
        load_matched(tmp_path / "acted", chosen.policy_for("explicit"), chosen.train)


def test_a_deployment_goes_on_at_the_next_episode_and_reports_all(make_session, tmp_path):
    session = make_session("sorting")
    deployed(session, tmp_path / "data", 1, seed=20, facts={"policy": {"name": "a"}})
    measured = Measurements()
    report = deployed(
        session, tmp_path / "data", 3, seed=20, facts={"policy": {"name": "a"}}, measured=measured
    )
    data = load_dataset(tmp_path / "data", images=False, progress=False)
    assert [info["seed"] for info in data.info] == [20, 21, 22]
    assert report.successes == data.success.tolist() == [False] * 3
    assert len(report.scores) == len(report.seconds) == 3
    assert report.frames == len(data) == report.decisions
    assert report.rate == pytest.approx(10.0, abs=0.1)
    with pytest.raises(DatasetError, match="deployment.policy.name was 'a', is 'b'"):
        deployed(session, tmp_path / "data", 4, seed=20, facts={"policy": {"name": "b"}})
    facts = {"seed": 20, "policy": {"name": "a"}}
    assert check_dataset(session, tmp_path / "data", DEPLOYMENT, facts=facts) == 3


def test_each_episode_has_the_settings_of_its_session(make_session, tmp_path):
    recorded(make_session(speed=0.3), tmp_path / "data")
    recorded(make_session(speed=0.4), tmp_path / "data", 2)
    infos = load_dataset(tmp_path / "data", images=False, progress=False).info
    assert [info["controller"]["speed"] for info in infos] == [0.3, 0.4]
    assert [info["lag"] for info in infos] == [0.05, 0.05]
    assert [info["device"] for info in infos] == ["Still", "Still"]
    with pytest.raises(DatasetError, match="dry_run was False, is True"):
        recorded(make_session(dry_run=True), tmp_path / "data", 3)


def test_another_model_of_the_arm_is_refused(make_session, tmp_path):
    session = make_session()
    recorded(session, tmp_path / "data")
    assert recorded_robot(tmp_path / "data").to_dict() == session.station.robot.to_dict()
    path = tmp_path / "data" / "meta" / "ikp.json"
    stored = json.loads(path.read_text())
    stored["extra"]["robot"]["links"][-1]["T_parent_joint"][0][3] += 0.1
    path.write_text(json.dumps(stored))
    with pytest.raises(DatasetError, match="robot.links was"):
        open_dataset(session, tmp_path / "data", RECORDING, facts={"seed": 0})
    stored["extra"]["robot"]["links"] = 3
    path.write_text(json.dumps(stored))
    with pytest.raises(DatasetError, match="its robot is damaged"):
        recorded_robot(tmp_path / "data")


class Busy(Still):
    """A hand at whose side the machine is held up once, for a time [s]."""

    def __init__(self, session, seconds):
        super().__init__(session)
        self._seconds, self._reads = seconds, 0

    def read(self, now):
        self._reads += 1
        if self._reads == 20:
            link = self._session.link
            link.sleep_until(link.now() + self._seconds)
        return super().read(now)


def test_frames_that_were_missed_are_not_made_up_for(make_session, tmp_path):
    session, seen = make_session(), []
    told = []
    record(
        session, Busy(session, 0.28), tmp_path / "data", 1, lambda r: told.append(r) or Verdict.SUCCESS,
        seconds=1.0, show=lambda frame: seen.append(frame.time),
    )  # fmt: skip
    assert np.diff(seen).min() > 0.09
    assert told[0].late_frames == 1
    assert "1 of them late" in str(told[0])
    assert load_dataset(tmp_path / "data", images=False, progress=False).info[0]["late_frames"] == 1


def test_a_recording_that_is_held_up_for_long_is_discarded_and_says_so(make_session, tmp_path):
    session, lines = make_session(), []
    report = record(
        session,
        Busy(session, 2.0),
        tmp_path / "data",
        1,
        lambda _: Verdict.SUCCESS,
        seconds=1.0,
        report=lines.append,
    )
    assert (report.kept, report.discarded) == (1, 1)
    assert "discard" in lines[0]
    assert "held up for 1.9 s" in lines[0] or "held up for 2.0 s" in lines[0]
