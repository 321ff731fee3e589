"""Record, replay and deploy over the simulated twin, in lock-step, and what happens when something fails."""

from __future__ import annotations

import errno
import importlib.util
from dataclasses import replace

import numpy as np
import pytest
import torch

from ikp.data import load_dataset
from ikp.data.layout import RECORDING, DatasetError
from ikp.joint_map import GRIPPER, JOINT, JointMap
from ikp.joint_map.dimension import Dimension
from ikp.policies.execution import Execution
from ikp.policies.frames import FrameHistory
from ikp.policies.timing import TimingConfig
from ikp.robots import dataset
from ikp.robots.config import ControllerConfig
from ikp.robots.deployment import Measurements, check_policy, deploy
from ikp.robots.grippers import RobotiqGripper
from ikp.robots.images import reduced
from ikp.robots.interfaces import Motion, Picture, RobotStopped
from ikp.robots.recording import Verdict, keep_all, keep_successes, record
from ikp.robots.replay import PARTS, replay, smooth
from ikp.robots.scripted import SMOOTH, ScriptedMouse
from ikp.robots.session import Session, always
from ikp.robots.station import open_station
from ikp.tasks.registry import task_entry

SIZE = (32, 32)


@pytest.fixture
def session():
    config = ControllerConfig(on_limit="clip", rate=100.0)
    with open_station("lockstep:insertion", config, image_size=SIZE) as station:
        session = Session(station, config, 10.0, SIZE)
        session.start(always)
        yield session


@pytest.fixture
def mouse(session):
    view = session.station.view
    return ScriptedMouse(view.update, task_entry("insertion").expert_class(), session.config, SMOOTH)


class Expert:
    """A policy that knows the simulated scene."""

    def __init__(self, session, spoil=lambda action, number: action):
        self.spec, self.robot, self._spoil, self._number = session.spec, session.station.robot, spoil, 0
        self._view, self._task = session.station.view, session.station.task

    def new_history(self):
        self._expert = task_entry(self._task).expert_class()(self._view.update())
        return FrameHistory(self.spec, 1)

    def new_execution(self):  # an episode begins
        self._number = 0
        return Execution(TimingConfig(), self.spec.fps, self.spec.discrete_dims)

    def plan(self, observation):
        self._view.update()
        self._number += 1
        action = torch.as_tensor(self._spoil(self._expert.action(), self._number))[None]
        return action, action


def test_a_recording_can_be_trained_on_and_replayed(session, mouse, tmp_path):
    lines = []
    first = record(session, mouse, tmp_path / "data", 1, keep_successes, task="insert", report=lines.append)
    assert (first.episodes, first.kept) == (1, 1)
    assert len(lines) == 1 + first.discarded
    again = record(session, mouse, tmp_path / "data", 2, keep_all, task="insert", seconds=1.0)
    assert (again.episodes, again.kept) == (2, 1)
    data = load_dataset(tmp_path / "data", robot=session.station.robot, progress=False)
    assert data.episodes == 2
    assert data.success.tolist() == [True, False]
    assert data.spec.joint_dims == tuple(range(6))
    assert data.images["front"].shape[1:] == (*SIZE, 3)
    low, high = data.episode_bounds[0].tolist()
    # an action is what was commanded a frame later, and the arm gets there a lag after that
    state, action, share = data.state[low:high, :6], data.action[low:high, :6], 10.0 * session.lag
    where = (1 - share) * action[1:-1] + share * action[:-2]
    assert (state[2:] - where).abs().mean() < 0.15 * (state[1:] - state[:-1]).abs().mean()
    assert data.action[low:high, 6].max() == 1.0  # the suction was on
    replayed = replay(session, tmp_path / "data", 0, scene=0)
    assert replayed.success
    assert replayed.mean_error < 0.004
    assert replayed.largest_error < 0.04


def test_a_replay_goes_through_all_commands_without_swinging_beyond_them():
    q = np.array([[0.0, 0.0], [1.0, 0.1], [1.0, 0.2], [0.5, 0.3], [0.6, 0.4]])
    path = smooth(q)
    assert path.shape == (4, PARTS, 2)
    np.testing.assert_allclose(path[:, -1], q[1:])
    low, high = np.minimum(q[:-1], q[1:])[:, None], np.maximum(q[:-1], q[1:])[:, None]
    assert (path >= low - 1e-12).all()
    assert (path <= high + 1e-12).all()
    np.testing.assert_allclose(path[..., 1].ravel(), np.linspace(0, 0.4, 4 * PARTS + 1)[1:])


def test_what_a_person_discards_is_not_kept_and_quitting_ends_the_session(session, mouse, tmp_path):
    verdicts = iter([Verdict.DISCARD, Verdict.FAILURE, Verdict.QUIT])
    result = record(session, mouse, tmp_path / "data", 5, lambda _: next(verdicts), seconds=0.5)
    assert (result.episodes, result.kept, result.discarded) == (1, 1, 2)
    assert not load_dataset(tmp_path / "data", images=False, progress=False).success.any()


def test_a_deployment_solves_the_task_and_is_recorded(session, tmp_path):
    report = deploy(session, Expert(session), tmp_path / "deployed", 1, keep_all, seconds=20.0, seed=50)
    assert report.successes == [True]
    assert report.rate == pytest.approx(10.0, abs=0.1)
    assert report.late_frames == 0
    assert report.scores == []  # insertion has no grades
    data = load_dataset(tmp_path / "deployed", robot=session.station.robot, images=False, progress=False)
    assert data.episodes == 1
    assert len(data) == report.frames == report.decisions
    assert data.success.tolist() == report.successes
    assert {"rate", "jitter", "latency", "lag"} <= set(report.to_json())


def test_a_graded_task_has_the_score_of_what_was_done(tmp_path):
    config = ControllerConfig(on_limit="clip", rate=100.0)
    with open_station("lockstep:sorting", config, image_size=SIZE) as station:
        session = Session(station, config, 10.0, SIZE)
        session.start(always)
        report = deploy(session, Expert(session), tmp_path / "data", 1, keep_all, seconds=7.0, seed=3)
    assert report.successes == [False]
    assert report.scores == [0.25]  # one of the blocks is in its bowl


def test_way_points_are_sent_ahead_and_the_arm_is_on_the_line_between_them(session, tmp_path):
    """One decision for each second, of two way-points; a policy that is not asked again leaves the arm at rest."""
    start = session.link.telemetry().q_command
    turn = np.array([0, 0, 0, 0, 0, 0.3, 0])

    class Turning(Expert):
        def new_history(self):
            return FrameHistory(self.spec, 1)

        def new_execution(self):
            self._decisions = 0
            timing = TimingConfig(rate=2.0, way_points=2, executed=1.0)
            return Execution(timing, self.spec.fps, self.spec.discrete_dims)

        def plan(self, observation):
            here = np.append(start, 0.0) + self._decisions * turn
            self._decisions += 1
            rows = torch.as_tensor(np.stack([here + turn / 2, here + turn]))[None]
            return rows, torch.as_tensor(here)[None]

    policy = Turning(session)
    policy._decisions = 0
    session.begin_episode = lambda scene: session.move_to(start)
    report = deploy(session, policy, tmp_path / "data", 1, keep_all, seconds=2.0)
    assert (report.frames, report.decisions) == (20, 2)
    data = load_dataset(tmp_path / "data", images=False, progress=False)
    expected = start[5] + 0.03 * np.arange(1, 21)
    np.testing.assert_allclose(data.action[:, 5].numpy(), expected, atol=1e-5)
    assert report.late_waypoints == 0
    behind = 0.3 * session.lag  # as in a recording: the arm is at a command a lag after it
    np.testing.assert_allclose(data.state[3:, 5].numpy(), expected[2:-1] - behind, atol=4e-3)
    session.link.sleep_until(session.link.now() + 1.0)
    assert np.abs(session.link.telemetry().qd).max() < 1e-2


def test_an_action_that_is_not_finite_stops_the_arm_and_keeps_what_was_recorded(session, tmp_path):
    policy = Expert(session, lambda action, number: np.where(number == 12, np.nan, action))
    deploy(session, Expert(session), tmp_path / "data", 1, keep_all, seconds=0.5)
    with pytest.raises(ValueError, match="not finite"):
        deploy(session, policy, tmp_path / "data", 2, keep_all)
    session.station.close()
    assert load_dataset(tmp_path / "data", images=False, progress=False).episodes == 1


def test_a_target_outside_the_limits_stops_the_arm(tmp_path):
    config = ControllerConfig()
    with open_station("lockstep:insertion", config, image_size=SIZE) as station:
        session = Session(station, config, 10.0, SIZE)
        session.start(always)
        measured = Measurements()

        def spoiled(action, number):
            in_the_second_episode = len(measured.seconds) == 1
            return action + 9.0 * (in_the_second_episode and number == 5)

        policy = Expert(session, spoiled)
        with pytest.raises(RobotStopped, match="a way-point moves joint"):
            deploy(session, policy, tmp_path / "data", 9, keep_all, seconds=2.0, measured=measured)
    report = measured.report()  # of what was measured before the stop
    assert report.successes == [False]
    assert 20 < report.frames < 30
    assert report.rate == pytest.approx(10.0, abs=0.1)
    assert "a way-point moves joint" in report.to_json()["stopped"]


def test_a_frozen_camera_stops_the_arm(session, tmp_path):
    class Camera:
        frozen_at = np.inf

        def taken_at(self):
            return min(session.link.now(), self.frozen_at)

        def read(self):
            return Picture(self.taken_at(), np.zeros((*SIZE, 3), np.uint8))

    def show(frame):
        nonlocal frames
        frames += 1
        if frames == 10:
            camera.frozen_at = session.link.now() + 0.045  # between two frames

    frames, camera = 0, Camera()
    session.station.cameras["front"] = camera
    deploy(session, Expert(session), tmp_path / "data", 1, keep_all, seconds=0.5)
    with pytest.raises(RobotStopped, match=r"camera 'front' has sent no image for 0\.\d+ s: check its cable"):
        deploy(session, Expert(session), tmp_path / "data", 2, keep_all, show=show)
    assert session.link.now() - camera.frozen_at < 0.1
    session.link.sleep_until(camera.frozen_at + 0.2)
    assert np.abs(session.station.world.state.read()["qd"]).max() < 0.02
    with pytest.raises(RobotStopped, match="has sent no image"):
        session.link.telemetry()
    assert load_dataset(tmp_path / "data", images=False, progress=False).episodes == 1


def test_the_arm_comes_to_rest_at_once_when_an_episode_is_over(session, tmp_path):
    class Hand:
        def reset(self):
            pass

        def read(self, now):
            return Motion(np.array([0, 0, 0, 0, 0, 1.0]), in_joint_space=True)

        def close(self):
            pass

    record(session, Hand(), tmp_path / "data", 1, keep_all, seconds=1.0)
    session.link.sleep_until(session.link.now() + 0.12)
    motion, now = session.link.motion(), session.link.now()
    assert motion.commanded(now)[5] == motion.commanded(now - 0.02)[5]


def test_a_full_disk_ends_the_recording_and_keeps_finished_episodes(session, mouse, tmp_path, monkeypatch):
    record(session, mouse, tmp_path / "data", 1, lambda _: Verdict.SUCCESS, seconds=0.5)

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("ikp.data.writer.write_table", full)
    with pytest.raises(OSError, match="free some space.*1 finished episodes are kept"):
        record(session, mouse, tmp_path / "data", 2, lambda _: Verdict.SUCCESS, seconds=0.5)
    monkeypatch.undo()
    session.link.sleep_until(session.link.now() + 0.01)
    with pytest.raises(RobotStopped, match="could not write"):  # before the files were closed
        session.link.telemetry()
    assert load_dataset(tmp_path / "data", images=False, progress=False).episodes == 1


def test_a_policy_for_another_bench_is_refused(session):
    spec, policy = session.spec, Expert(session)

    def check(spec):
        policy.spec = spec
        check_policy(session, policy)

    check(spec)
    other = replace(spec, action_names=("a", *spec.action_names[1:]))
    with pytest.raises(ValueError, match="the policy's actions are a, "):
        check(other)
    joints = session.station.robot.joint_names
    degrees = [
        Dimension(name, JOINT, joint, unit="deg", scale=np.pi / 180)
        for name, joint in zip(spec.action_names, joints, strict=False)
    ]
    command, measured = (
        Dimension(names[-1], GRIPPER, "vacuum") for names in (spec.action_names, spec.state_names)
    )
    joint_map = JointMap(joints, (*degrees, command), (*degrees, measured))
    with pytest.raises(ValueError, match="other units than the bench"):
        check(spec.with_joint_map(joint_map))
    radians = [replace(d, unit="rad", scale=1.0, offset=0.1) for d in degrees]
    check(spec.with_joint_map(JointMap(joints, (*radians, command), (*radians, measured))))
    with pytest.raises(ValueError, match="acts at 5 Hz, the session runs at 10"):
        check(replace(spec, fps=5.0))
    with pytest.raises(ValueError, match=r"at \(64, 64\)"):
        check(replace(spec, image_shapes={"front": (64, 64, 3)}))
    with pytest.raises(ValueError, match="the policy's cameras are wrist"):
        check(replace(spec, image_shapes={"wrist": (32, 32, 3)}))


def test_other_data_in_the_folder_are_refused(session, mouse, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "meta").mkdir()
    (tmp_path / "data" / "meta" / "info.json").write_text("{}")
    with pytest.raises(DatasetError):
        dataset.open_dataset(session, tmp_path / "data", RECORDING)


def test_the_first_motion_needs_an_agreement():
    config = ControllerConfig()
    with open_station("lockstep:insertion", config, image_size=SIZE) as station:
        session = Session(station, config, 10.0, SIZE)
        with pytest.raises(RobotStopped, match="not confirmed"):
            session.start(lambda text: "emergency stop" not in text)


def test_joint_space_pushes_move_joints(session):
    start = session.link.telemetry().q
    for _ in range(50):
        session.push(Motion(np.array([0, 0, 0, 0, 0, 1.0]), in_joint_space=True))
        session.link.sleep_until(session.link.now() + 0.01)
    moved = session.link.telemetry().q - start
    assert 0.2 < moved[5] < 0.35
    assert np.abs(moved[:5]).max() < 0.01


def test_images_are_cropped_in_the_middle_and_averaged():
    image = np.zeros((480, 640, 3), np.uint8)
    image[:, 80:560] = 200
    image[:, 320:] //= 2
    small = reduced(image, (96, 96))
    assert small.shape == (96, 96, 3)
    assert (small[:, :48] == 200).all()
    assert (small[:, 48:] == 100).all()
    assert reduced(small, (96, 96)) is small


@pytest.mark.parametrize(
    ("name", "options", "match"),
    [
        ("ur5", {}, "choose one of twin:TASK"),
        ("twin:", {}, "choose one of"),
        ("twin:juggling", {}, "choose one of insertion"),
        ("lockstep:insertion", {"gripper": "robotiq"}, "brings its own"),
        (
            "lockstep:insertion",
            {"options": {"observation": "state"}},
            "'observation' has no effect on a bench",
        ),
        (
            "lockstep:insertion",
            {"options": {"sede": 3}},
            "it has no option 'sede', but observation, offset_seed",
        ),
        ("ur5e:127.0.0.1", {"cameras": {"front": "webcam"}}, "choose realsense"),
        ("ur5e:127.0.0.1", {"gripper": "tweezers"}, "choose robotiq"),
    ],
)
def test_unknown_benches_and_devices_are_named(name, options, match):
    with pytest.raises(ValueError, match=match):
        open_station(name, ControllerConfig(), **options)


def test_missing_devices_are_named_with_their_extra():
    if importlib.util.find_spec("pyrealsense2") is None:
        with pytest.raises(OSError, match=r"pyrealsense2.*'ikp\[real\]'"):
            open_station("ur5e:127.0.0.1", ControllerConfig(), cameras={"front": "realsense"})
    if importlib.util.find_spec("rtde_control") is None:
        with pytest.raises(OSError, match=r"the bench imitation:insertion needs .*ur-rtde.*'ikp\[real\]'"):
            open_station("imitation:insertion", ControllerConfig())
    with pytest.raises(OSError, match="no UR controller answers at 127.0.0.43, port 30004"):
        open_station("ur5e:127.0.0.43", ControllerConfig())
    with pytest.raises(OSError, match="no Robotiq gripper answers at 127.0.0.43:63352"):
        RobotiqGripper("127.0.0.43")
