"""`ikp record`, `ikp replay` and `ikp deploy`: the loop on a robot or its simulated twin."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from tyro.conf import arg

from ikp.checks import one_of, whole_number
from ikp.cli.bench import (
    NONE,
    BenchOptions,
    announcement,
    check_options,
    confirmation,
    image_size,
    judgement,
    live_view,
    warn_of_another_task,
)

if TYPE_CHECKING:
    from ikp.robots.config import ControllerConfig
    from ikp.robots.deployment import DeploymentReport
    from ikp.robots.interfaces import Teleoperator
    from ikp.robots.station import Station

ROUNDING = 1e-5
"""Distance from the controller's limits that covers the rounding of a policy's targets to float32 [rad or m]."""
DEVICES = ("spacemouse", "keyboard", "scripted")
MOST_THREADS = 512
DRY = "a dry run: no targets were sent, so the arm did not move"


@dataclass(frozen=True)
class Record:
    """Record teleoperated episodes as a LeRobotDataset v3.0 folder.

    After each episode you keep it as a success or a failure, or discard it; a simulated task decides by itself. A crash
    costs at most the open episode, and the same command continues.

    For example:
      ikp record --out data/align --bench lockstep:alignment --device scripted --episodes 100
      ikp record --out data/align --bench twin:alignment --device keyboard
      ikp record --out data/mine --bench ur5e:192.168.1.10 --robot arm.urdf --camera front=realsense --gripper robotiq

    Attributes:
        bench: the bench.
        out: folder of the data set.
        device: spacemouse, keyboard, or scripted: a simulated hand at a simulated bench.
        episodes: number of episodes in the data set when the command ends.
        words: the task in words.
        fps: frames per second.
        image_size: images are cropped and averaged to HEIGHTxWIDTH.
        seconds: longest episode.
        seed: of simulated scenes and of the simulated hand.
        view: show the frames live in Rerun.
    """

    HINT: ClassVar[str] = "finished episodes are kept; run the same again to continue"

    bench: BenchOptions
    out: Path
    device: Annotated[str, arg(metavar="{spacemouse,keyboard,scripted}")] = "spacemouse"
    episodes: int = 100
    words: Annotated[str, arg(metavar="TEXT", help_behavior_hint=NONE)] = ""
    fps: float = 10.0
    image_size: Annotated[str, arg(metavar="HxW")] = "96x96"
    seconds: float = 60.0
    seed: int = 0
    view: bool = False

    def run(self) -> None:
        from ikp.data.layout import RECORDING
        from ikp.robots.dataset import check_dataset
        from ikp.robots.recording import DEVICE_RATE, record
        from ikp.robots.session import Session

        check_options(
            episodes=self.episodes, seconds=self.seconds, seed=self.seed, fps=self.fps, most_fps=DEVICE_RATE
        )
        check_device(self.device, self.bench.is_real)
        config, size = self.bench.settings(clips=True), image_size(self.image_size)
        show = live_view(self.view)
        with self.bench.open(config, size, self.seed) as station:
            device = make_device(self.device, station, config, self.seed)
            station.opened.callback(device.close)
            session = Session(station, config, self.fps, size)
            done = check_dataset(session, self.out, RECORDING, task=self.words, facts={"seed": self.seed})
            if done >= self.episodes:
                print(f"{self.out} has {done} episodes already: raise --episodes to record more")
                return
            session.start(confirmation(station.is_simulated), announcement(station.is_simulated))
            print(f"the arm moves {1000 * session.lag:.0f} ms after a command")
            result = record(
                session,
                device,
                self.out,
                self.episodes,
                judgement(station.is_simulated, only_successes=True),
                task=self.words,
                seconds=self.seconds,
                seed=self.seed,
                show=show,
                report=print,
            )
        print(
            f"{result.episodes} episodes, {result.frames} frames in {result.root}; {result.discarded} discarded"
        )
        if config.dry_run:
            print(DRY)
            return
        robot = ["--robot", self.bench.robot or "ur5e"] if self.bench.is_real else []
        print(
            f"next: {shlex.join(['ikp', 'train', '--data', str(self.out), '--out', f'runs/{self.out.name}', *robot])}"
        )


@dataclass(frozen=True)
class Replay:
    """Move the arm as in a recorded episode, and compare the motion with the recording.

    For example:
      ikp replay --data data/align --bench lockstep:alignment
      ikp replay --data data/align --episode 3 --bench twin:alignment --seed 3
      ikp replay --data data/mine --bench ur5e:192.168.1.10 --robot arm.urdf --gripper robotiq --dry-run

    Attributes:
        bench: the bench.
        data: folder of the data set.
        episode: index of the episode, from 0.
        seed: of the simulated scene.
    """

    HINT: ClassVar[str] = "the arm was stopped"

    bench: BenchOptions
    data: Path
    episode: int = 0
    seed: Annotated[int | None, arg(metavar="INT", help_behavior_hint="(default: the recording's)")] = None

    def run(self) -> None:
        from ikp.data.metadata import read_info
        from ikp.robots.replay import replay
        from ikp.robots.session import Session
        from ikp.runs import task_of_data

        check_options(seed=self.seed)
        fps = float(read_info(self.data)["fps"])
        config = self.bench.settings(clips=False)
        with self.bench.open(config, (96, 96)) as station:
            session = Session(station, config, fps)
            task = task_of_data(self.data)
            warn_of_another_task(f"{self.data}", None if task is None else task.env_id, station)
            session.start(confirmation(station.is_simulated), announcement(station.is_simulated))
            result = replay(session, self.data, self.episode, self.seed)
        if config.dry_run:
            print(f"{result.frames} frames; {DRY}")
            return
        ended = "" if result.success is None else f", success: {result.success} (scene {result.scene})"
        print(
            f"{result.frames} frames; joints against the recording: mean {result.mean_error:.4f}, largest "
            f"{result.largest_error:.4f} rad{ended}"
        )


@dataclass(frozen=True)
class Deploy:
    """Let a policy act in the real-time loop; rates, late frames and every episode are recorded.

    For example:
      ikp deploy --policy runs/align --bench twin:alignment --out runs/deployed --episodes 10
      ikp deploy --policy runs/align --bench imitation:alignment --out runs/imitated --episodes 1
      ikp deploy --policy runs/mine --bench ur5e:192.168.1.10 --robot arm.urdf --camera front=realsense --out first

    Attributes:
        bench: the bench.
        policy: folder of a run or of a policy.
        out: folder of the data set of the episodes, which the same command continues; OUT.json holds the measurements.
        joint_map: the joint map of this arm, as `ikp calibrate` writes it; needed where the policy was trained on
            several arms.
        episodes: number of episodes in OUT when the command ends.
        seconds: longest episode.
        seed: of the first simulated scene.
        threads: torch threads for the decisions.
        view: show the frames live in Rerun.
    """

    HINT: ClassVar[str] = "the arm was stopped; finished episodes are kept, run the same again to continue"

    bench: BenchOptions
    policy: Path
    out: Path
    joint_map: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="(default: policy's)")] = None
    episodes: int = 10
    seconds: float = 60.0
    seed: int = 1_000_000
    threads: int = 1
    view: bool = False

    def run(self) -> None:
        import torch

        from ikp.data.layout import DEPLOYMENT
        from ikp.files import writable_file
        from ikp.policies import load_policy
        from ikp.policies.checkpoint import WEIGHTS_FILE, arms_of, policy_folder
        from ikp.robots.dataset import check_dataset
        from ikp.robots.deployment import Measurements, check_policy, deploy
        from ikp.robots.session import Session
        from ikp.runs import ARM_MAPS, policy_provenance

        check_options(episodes=self.episodes, seconds=self.seconds, seed=self.seed)
        whole_number("--threads", self.threads, 1, MOST_THREADS)
        made = policy_provenance(self.policy)
        if self.joint_map is None and (arms := arms_of(made)):
            raise ValueError(
                f"the policy was trained on the arms {', '.join(arms)}: say which one this is with its joint map, such "
                f"as --joint-map {self.policy / ARM_MAPS / arms[0]}.json"
            )
        policy = load_policy(policy_folder(self.policy), joint_map=self.joint_map)
        spec = policy.spec
        size = next(((h, w) for h, w, _ in spec.image_shapes.values()), (96, 96))
        out = self.out.resolve()
        if not out.name:
            raise ValueError(f"--out is {self.out}: give a folder for the episodes, such as runs/deployed")
        file = writable_file(out.with_name(f"{out.name}.json"))
        config, show = self.bench.settings(clips=False), live_view(self.view)
        if policy.limits is not None:  # as demonstrations do, which may reach up to it
            policy.limits.margin = config.joint_margin + ROUNDING
        weights = sha256((policy_folder(self.policy) / WEIGHTS_FILE).read_bytes()).hexdigest()
        joint_map = None if spec.joint_map is None else spec.joint_map.to_json()
        facts = {"policy": made, "weights": weights[:16], "joint_map": joint_map}
        measured = Measurements()
        torch.set_num_threads(self.threads)
        try:
            with self.bench.open(config, size, self.seed) as station:
                session = Session(station, config, spec.fps, size)
                check_policy(session, policy)
                done = check_dataset(session, self.out, DEPLOYMENT, facts={"seed": self.seed, **facts})
                if done >= self.episodes:
                    raise ValueError(
                        f"{self.out} holds {done} episodes of this policy already: raise --episodes to continue, or "
                        "give a new folder"
                    )
                task = made.get("task")
                warn_of_another_task(f"the policy {self.policy}", task and task["env_id"], station)
                session.start(confirmation(station.is_simulated), announcement(station.is_simulated))
                print(f"the arm moves {1000 * session.lag:.0f} ms after a command")
                deploy(
                    session,
                    policy,
                    self.out,
                    self.episodes,
                    judgement(station.is_simulated, only_successes=False),
                    seconds=self.seconds,
                    seed=self.seed,
                    facts=facts,
                    show=show,
                    report=print,
                    measured=measured,
                )
        finally:  # a stop ends the deployment, and what was measured before it is kept
            if measured.frames:
                self._write(measured.report(), file)
            if measured.frames and config.dry_run:
                print(DRY)

    def _write(self, report: DeploymentReport, file: Path) -> None:
        from ikp.files import write_json
        from ikp.provenance import provenance
        from ikp.rollouts.intervals import wilson_interval

        write_json(file, {**report.to_json(), "bench": self.bench.bench, "provenance": provenance()})
        count, good = len(report.successes), sum(report.successes)
        if count and not self.bench.dry_run:
            low, high = wilson_interval(good, count)
            print(
                f"success: {good} of {count} episodes, {100 * good / count:.0f} % (95 % interval {100 * low:.0f} to "
                f"{100 * high:.0f})"
            )
        if report.scores and not self.bench.dry_run:
            print(f"score: {100 * sum(report.scores) / len(report.scores):.0f} % on average")
        clock = ", in simulated time" if self.bench.bench.startswith("lockstep:") else ""
        print(
            f"policy: {report.frames} frames at {report.rate:.2f} Hz, {report.late_frames} of them late; 99 % of the "
            f"periods within {1000 * report.jitter:.1f} ms{clock}"
        )
        print(
            f"controller, in this session: {report.controller_periods} periods, 99 % within "
            f"{1000 * report.controller_jitter:.2f} ms{clock}; {report.clipped} targets or periods clipped to a limit"
        )
        print(f"wrote {self.out} and {file}")


def check_device(name: str, real: bool) -> None:
    """Refuse a device before a bench is opened.

    Args:
        name: of the device.
        real: whether the bench is one.

    Raises:
        ValueError: there is no such device, or it does not fit the bench.
        OSError: its package is missing.
    """
    one_of("--device", name, DEVICES)
    if name == "scripted" and real:
        raise ValueError("the scripted device is a hand at a simulated bench: choose spacemouse or keyboard")
    if name == "spacemouse":
        from ikp.robots.extras import load

        load("pyspacemouse", "--device spacemouse")


def make_device(name: str, station: Station, config: ControllerConfig, seed: int) -> Teleoperator:
    """The device of a name that `check_device` has let pass.

    Raises:
        OSError: it is not connected.
    """
    if name == "scripted":
        assert station.view is not None
        assert station.task is not None
        from ikp.robots.scripted import ScriptedMouse
        from ikp.tasks.registry import task_entry

        return ScriptedMouse(station.view.update, task_entry(station.task).expert_class(), config, seed=seed)
    if name == "keyboard":
        from ikp.robots.keyboard import KEYS, Keyboard

        print(KEYS)
        return Keyboard()
    from ikp.robots.spacemouse import SpaceMouse

    return SpaceMouse()
