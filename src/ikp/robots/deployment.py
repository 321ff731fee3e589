"""Deployment of a policy in the real-time loop, with everything measured and recorded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from ikp.data import DatasetWriter
from ikp.joint_map import GRIPPER, JOINT, JointMap
from ikp.policies.execution import Execution
from ikp.policies.frames import FrameHistory
from ikp.robots.commands import Telemetry
from ikp.robots.dataset import open_dataset
from ikp.robots.recording import Recorded, Verdict, end_episode
from ikp.robots.session import Frame, Session
from ikp.spec import DataSpec, Observation

LATENCY_MEMORY = 0.9
"""Weight of the past in the estimate of the time that a decision takes."""


@runtime_checkable
class ActingPolicy(Protocol):
    """The part of `ikp.Policy` that a deployment needs."""

    @property
    def spec(self) -> DataSpec:
        """Names and roles of observation and action."""
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
        root: folder of a new data set, or of one to continue.
        episodes: number of episodes.
        judge: says whether an episode was a success.
        task: description in words.
        seconds: longest episode [s].
        seed: of the first simulated scene.
        facts: kept with the data set, such as the policy's provenance.
        show: receives each frame.
        report: receives a line after each episode.
        measured: receives the measurements, for a report where the deployment ends in an error.

    Raises:
        ValueError: the policy is for another robot, other cameras, units or rate, or its action is not finite.
        RobotStopped, OSError: the robot was stopped, or a device is lost; finished episodes are kept.
    """
    check_policy(session, policy.spec)
    measured = Measurements() if measured is None else measured
    measured.fps, measured.lag, measured.telemetry = session.fps, session.lag, session.link.telemetry()
    try:
        with (
            open_dataset(session, root, task or session.station.task or "", dict(facts or {})) as writer,
            session.stops_at_errors(),
        ):
            for episode in range(episodes):
                session.begin_episode(seed + episode)
                done = _episode(session, policy, writer, seconds, measured, show)
                score = session.station.score()
                verdict = judge(done)
                if end_episode(writer, verdict, {"seconds": done.seconds, "seed": seed + episode}):
                    measured.successes.append(verdict is Verdict.SUCCESS)
                    measured.seconds.append(done.seconds)
                    if score is not None:
                        measured.scores.append(score)
                if report is not None:
                    ended = f"episode {episode + 1} of {episodes}: {verdict.value}, {done.seconds:.1f} s"
                    report(f"{ended}, {measured.late} late frames so far" if measured.late else ended)
                if verdict is Verdict.QUIT:
                    break
    except BaseException as error:
        measured.stopped = str(error) or type(error).__name__
        raise
    return measured.report()


def check_policy(session: Session, spec: DataSpec) -> None:
    """Check that a policy fits the bench.

    Raises:
        ValueError: it does not; the message says in what.
    """
    ours = session.spec
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
    measured: Measurements,
    show: Callable[[Frame], None] | None,
) -> Recorded:
    link, period, dof = session.link, 1.0 / session.fps, session.station.robot.dof
    history, execution = policy.new_history(), policy.new_execution()
    start = due = link.now()
    frames, success, before, latency = 0, None, None, None
    while link.now() - start < seconds:
        frame = session.frame()
        history.add(frame.observation)
        if execution.is_due:
            action, rest = policy.plan(history.observation)
            execution.follow(action[0].cpu(), rest[0].cpu())
            commands = execution.upcoming.double().numpy()
            took = link.now() - frame.time
            latency = took if latency is None else LATENCY_MEMORY * latency + (1 - LATENCY_MEMORY) * took
            # A command is there a period after its frame, as in the recording, and later by the time of a decision: so
            # the last way-point is reached when the next ones come, and the arm does not pause between them.
            first = frame.time + period + latency + session.lag
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
            measured.late += 1
            due = link.now()
        session.wait_until(due)
    if session.station.is_simulated and success is None:
        success = False
    return Recorded(frames, link.now() - start, success)
