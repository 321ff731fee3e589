"""Deployment of a policy in the real-time loop, with everything measured and recorded."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from ikp.data import DatasetWriter, load_dataset
from ikp.data.layout import DEPLOYMENT
from ikp.files import check_keys
from ikp.interrupts import reason_of
from ikp.joint_map import GRIPPER, JOINT, JointMap
from ikp.kinematics import Robot
from ikp.policies.execution import Execution
from ikp.policies.frames import FrameHistory
from ikp.robots.commands import Telemetry
from ikp.robots.dataset import open_dataset
from ikp.robots.models import model_difference
from ikp.robots.recording import Recorded, Verdict, check_attempts, end_episode
from ikp.robots.session import Frame, Session
from ikp.spec import DataSpec, Observation

WARM_UP = 3
"""Decisions before the first episode; the first of them may take far longer than those that follow."""
RECENT = 9
"""Decisions whose median time is the estimate of the next one's."""
EPISODE_KEYS = {"seconds": (int, float), "late_frames": int, "periods": list, "latencies": list}
"""Measurements that are stored with an episode."""


@runtime_checkable
class ActingPolicy(Protocol):
    """The part of `ikp.Policy` that a deployment needs."""

    @property
    def spec(self) -> DataSpec:
        """Names and roles of observation and action."""
        ...

    @property
    def robot(self) -> Robot | None:
        """Its kinematic model; None without one."""
        ...

    def new_history(self) -> FrameHistory:
        """The frames that the policy sees in one episode."""
        ...

    def new_execution(self) -> Execution:
        """The execution of its decisions in one episode."""
        ...

    def plan(self, observation: Observation) -> tuple[Any, Any]:
        """The action or the way-points (1, ..., action), and the command (1, action) that keeps the robot in place."""
        ...


@dataclass(frozen=True)
class DeploymentReport:
    """Measurements of a deployment; `ikp deploy` writes them as `to_json` returns them.

    Those of the policy are over all episodes of the data set, also of sessions before; those of the controller, from
    `controller_periods` on, are of this session.

    Attributes:
        successes: for each episode that was kept.
        scores: how much of a graded task was done in each (0 to 1); empty for other tasks.
        seconds: duration of each episode [s].
        frames: number of frames.
        decisions: number of decisions, one per frame unless the policy has way-points that are further apart.
        late_frames: frames that were not finished when the next one was due.
        rate: frames per second.
        jitter: 99th percentile of the frames' period error [s].
        latency: median and 99th percentile of the time from a frame to its decision [s].
        controller_periods: number of periods of the controller.
        controller_jitter: 99th percentile of its period error [s].
        late_waypoints, clipped, stale: as in `Telemetry`.
        lag: time between command and motion [s].
        silence: longest time without a new state of the arm [s].
        stopped: why the deployment ended early; None where it did not.
    """

    successes: list[bool]
    scores: list[float]
    seconds: list[float]
    frames: int
    decisions: int
    late_frames: int
    rate: float
    jitter: float
    latency: tuple[float, float]
    controller_periods: int
    controller_jitter: float
    late_waypoints: int
    clipped: int
    stale: int
    lag: float
    silence: float
    stopped: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; null for what too few frames do not tell."""
        values = asdict(self)
        for name in ("rate", "jitter", "latency", "controller_jitter"):
            if not bool(np.isfinite(values[name]).all()):
                values[name] = None
        return values


@dataclass
class Measurements:
    """Measurements of a running deployment; `deploy` fills them, and they stay where the robot was stopped.

    They begin with those of the episodes that the data set has already.

    Attributes:
        fps: wanted frames per second.
        lag: time between command and motion [s].
        successes, scores, seconds: of the episodes that were kept; no scores where a task has none.
        periods: between consecutive frames of an episode [s].
        latencies: from a frame to the way-points that were decided on it [s], of the frames with a decision.
        frames: their number.
        late: frames that were not finished when the next one was due.
        telemetry: the controller's newest.
        stopped: why it ended early.
    """

    fps: float = 1.0
    lag: float = 0.0
    successes: list[bool] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    periods: list[float] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    frames: int = 0
    late: int = 0
    telemetry: Telemetry | None = None
    stopped: str | None = None

    def add_stored(self, root: Path) -> None:
        """Add those of the episodes of a data set.

        Raises:
            ValueError: they are missing there.
        """
        data = load_dataset(root, images=False, progress=False)
        self.frames += len(data)
        for index, info in enumerate(data.info):
            check_keys(info, EPISODE_KEYS, f"{root}, episode {index}", fix="use a new folder")
            self.successes.append(bool(data.success[index]))
            self.seconds.append(float(info["seconds"]))
            if "score" in info:
                self.scores.append(float(info["score"]))
            self.late += info["late_frames"]
            self.periods += info["periods"]
            self.latencies += info["latencies"]

    def report(self) -> DeploymentReport:
        """The report, of a deployment that has begun."""
        assert self.telemetry is not None
        periods, latencies = np.array(self.periods or [np.nan]), np.array(self.latencies or [np.nan])
        errors = np.abs(periods - 1.0 / self.fps)
        return DeploymentReport(
            successes=self.successes,
            scores=self.scores,
            seconds=[round(seconds, 3) for seconds in self.seconds],
            frames=self.frames,
            decisions=len(self.latencies),
            late_frames=self.late,
            rate=float(1.0 / periods.mean()),
            jitter=float(np.quantile(errors, 0.99)),
            latency=(float(np.median(latencies)), float(np.quantile(latencies, 0.99))),
            controller_periods=self.telemetry.ticks,
            controller_jitter=self.telemetry.period_error(),
            late_waypoints=self.telemetry.late,
            clipped=self.telemetry.clipped,
            stale=self.telemetry.stale,
            lag=self.lag,
            silence=self.telemetry.silence,
            stopped=self.stopped,
        )


def deploy(
    session: Session,
    policy: ActingPolicy,
    root: Path | str,
    episodes: int,
    judge: Callable[[Recorded], Verdict],
    *,
    task: str = "",
    seconds: float = 60.0,
    seed: int = 0,
    facts: Mapping[str, Any] | None = None,
    show: Callable[[Frame], None] | None = None,
    report: Callable[[str], None] | None = None,
    measured: Measurements | None = None,
) -> DeploymentReport:
    """Let a policy act; each episode is recorded.

    Args:
        session: a started session, at the policy's rate.
        policy: the policy; its dimensions have the names and units of the session's.
        root: folder of a new data set, or of a deployment of the same policy to continue.
        episodes: number of episodes in the end.
        judge: says whether an episode was a success; the arm is at rest then.
        task: description in words.
        seconds: longest episode [s].
        seed: of the simulated scenes; episode i has seed + i.
        facts: kept with the data set, such as the policy's provenance; the same when it is continued.
        show: receives each frame.
        report: receives a line after each episode.
        measured: receives the measurements, for a report where the deployment ends in an error.

    Raises:
        ValueError: the policy is for another robot, other cameras, units or rate, or its action is not finite.
        DatasetError: the folder holds other data, or another policy's episodes.
        RobotStopped, OSError: the robot was stopped, or a device is lost; finished episodes are kept.
    """
    check_policy(session, policy)
    measured = Measurements() if measured is None else measured
    measured.fps, measured.lag, measured.telemetry = session.fps, session.lag, session.link.telemetry()
    try:
        with (
            open_dataset(
                session, root, DEPLOYMENT, task=task, facts={"seed": seed, **(facts or {})}
            ) as writer,
            session.stops_at_errors(),
        ):
            if writer.episodes:
                measured.add_stored(writer.root)
            recent = deque[float](maxlen=RECENT)
            if writer.episodes < episodes:
                recent.extend(_warm_up(session, policy))
            in_a_row = 0
            while writer.episodes < episodes:
                scene = seed + writer.episodes
                before = len(measured.periods), len(measured.latencies)
                session.begin_episode(scene)
                done = _episode(session, policy, writer, seconds, recent, measured, show)
                score = session.station.score()
                session.rest()
                verdict = judge(done)
                info = {
                    "seed": scene,
                    **({} if score is None else {"score": score}),
                    "periods": np.round(measured.periods[before[0] :], 5).tolist(),
                    "latencies": np.round(measured.latencies[before[1] :], 5).tolist(),
                }
                if end_episode(session, writer, verdict, done, info):
                    in_a_row = 0
                    measured.successes.append(verdict is Verdict.SUCCESS)
                    measured.seconds.append(done.seconds)
                    if score is not None:
                        measured.scores.append(score)
                else:
                    in_a_row += 1
                if report is not None:
                    report(f"episode {writer.episodes} of {episodes}: {verdict.value}, {done}")
                if verdict is Verdict.QUIT:
                    break
                check_attempts(session, in_a_row)
    except BaseException as error:
        measured.stopped = reason_of(error)
        raise
    return measured.report()


def check_policy(session: Session, policy: ActingPolicy) -> None:
    """Check that a policy fits the bench, and warn where it knows another model of the arm.

    Raises:
        ValueError: it does not fit; the message says in what.
    """
    spec, ours = policy.spec, session.spec
    for what, needed, given in (
        ("actions", spec.recorded_action_names, ours.action_names),
        ("state", spec.recorded_state_names, ours.state_names),
        ("cameras", spec.camera_names, ours.camera_names),
    ):
        missing = [name for name in needed if name not in given] if what == "cameras" else []
        if missing or (what != "cameras" and tuple(needed) != tuple(given)):
            raise ValueError(
                f"the policy's {what} are {', '.join(needed) or 'none'}, the bench has {', '.join(given) or 'none'}: "
                "choose the robot, gripper and cameras with which its data were recorded"
            )
    for name, shape in spec.image_shapes.items():
        if tuple(shape[:2]) != session.image_size:
            raise ValueError(
                f"the policy sees camera {name!r} at {shape[:2]}, the session makes {session.image_size}: "
                "use the policy's"
            )
    if spec.joint_map is not None and not _is_in_bench_units(spec.joint_map):
        raise ValueError(
            "the policy's joint map is of other units than the bench, which has rad, m and 0 or 1 for a gripper: "
            "record with ikp record, or give a joint map with 'scale' 1 and grippers 'open' 0, 'closed' 1"
        )
    if abs(spec.fps - session.fps) > 1e-6:
        raise ValueError(
            f"the policy acts at {spec.fps:g} Hz, the session runs at {session.fps:g}: use the policy's rate"
        )
    differs = None if policy.robot is None else model_difference(policy.robot, session.station.robot)
    if differs is not None:
        warnings.warn(
            f"the policy was trained with another model of the arm: {differs}. Check --robot and --tips, here and in "
            "training",
            stacklevel=2,
        )


def _is_in_bench_units(joint_map: JointMap) -> bool:
    """Whether a map takes rad, m and 0 or 1 for a gripper; zeros and signs of the joints may be others."""
    dimensions = (*joint_map.action, *joint_map.state)
    scales = {d.scale for d in dimensions if d.role == JOINT}
    grippers = {(d.open, d.closed) for d in dimensions if d.role == GRIPPER}
    return scales <= {1.0} and grippers <= {(0.0, 1.0)}


def _episode(
    session: Session,
    policy: ActingPolicy,
    writer: DatasetWriter,
    seconds: float,
    recent: deque[float],
    measured: Measurements,
    show: Callable[[Frame], None] | None,
) -> Recorded:
    """Let the policy act in one episode; `recent` are the times of its last decisions [s], which go on."""
    link, period, dof = session.link, 1.0 / session.fps, session.station.robot.dof
    history, execution = policy.new_history(), policy.new_execution()
    start = due = link.now()
    frames, late, success, before = 0, 0, None, None
    while link.now() - start < seconds - period / 2:  # times in binary: no frame more or less by rounding
        frame = session.frame()
        history.add(frame.observation)
        if execution.is_due:
            action, rest = policy.plan(history.observation)
            execution.follow(action[0].cpu(), rest[0].cpu())
            commands = execution.upcoming.double().numpy()
            took = link.now() - frame.time
            recent.append(took)
            # A command is there a period after its frame, as in the recording, and later by the time of a decision: so
            # the last way-point is reached when the next ones come, and the arm does not pause between them.
            first = frame.time + period + float(np.median(recent)) + session.lag
            session.follow(first + period * np.arange(len(commands)), commands[:, :dof])
            measured.latencies.append(took)
        command = execution.next().double().numpy()
        if len(command) > dof:
            session.grip(float(command[dof] > 0.5))
        writer.add_frame(frame.observation, command)
        if show is not None:
            show(frame)
        frames += 1
        measured.frames += 1
        measured.telemetry = link.telemetry()
        if before is not None:
            measured.periods.append(frame.time - before)
        before = frame.time
        outcome = session.station.outcome()
        if outcome is not None and outcome[0]:
            success = outcome[1]
            break
        due += period
        if link.now() > due:
            late += 1
            measured.late += 1
            due = link.now()
        session.wait_until(due)
    if session.station.is_simulated and success is None:
        success = False
    return Recorded(frames, link.now() - start, success, late)


def _warm_up(session: Session, policy: ActingPolicy) -> list[float]:
    """Times of decisions on what the bench shows now [s], without the first one; the arm does not move."""
    times = []
    for _ in range(WARM_UP):
        frame = session.frame()
        history = policy.new_history()
        history.add(frame.observation)
        policy.plan(history.observation)
        times.append(session.link.now() - frame.time)
    return times[1:]
