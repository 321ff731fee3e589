"""`ikp calibrate`: the offsets of an arm from measurements, and whether they still hold."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from tyro.conf import arg

from ikp.cli.data import FOUND, NONE, ArmOptions
from ikp.cli.words import each_once

if TYPE_CHECKING:
    from ikp.calibration import Calibration, Measurement
    from ikp.calibration.from_tables import Noise
    from ikp.calibration.tables import PoseTable
    from ikp.joint_map import JointMap
    from ikp.kinematics import Robot

FILE = arg(metavar="FILE", help_behavior_hint=NONE)
_QUANTITY = re.compile(r"(\d+\.?\d*|\.\d+)(mm|m|deg|rad)")
_DISTANCE = re.compile(r"(\d+\.?\d*|\.\d+)(?:(?:\+-|±)(\d+\.?\d*|\.\d+))?(mm|m)")
_UNITS = {"mm": 1e-3, "m": 1.0, "deg": math.pi / 180, "rad": 1.0}


@dataclass(frozen=True)
class Calibrate:
    """Find the joint offsets of an arm by measurements, or test them.

    The report says what the measurements do not show.

    A file of measurements is a CSV or JSON file with one column per joint, named as the joint, and `_deg` or `_rad`
    behind the name. Any of --poses, --sockets, --point, --plane and --data can be combined. NAME.report.json beside the
    joint map holds the standard deviations. --verify tests a calibration by five new poses and names the joint that
    drifted. --factory alone, with --urdf, writes a UR as it was measured when it was made. --policy finds the offsets
    under which a policy of another arm of the same model finds the demonstrations of --data most likely.

    For example:
      ikp calibrate --robot arm.urdf --poses tips.csv --unknown base --out arm.json --urdf corrected.urdf
      ikp calibrate --robot ur5e --sockets ball.csv --distance a,b=200mm --out arm.json
      ikp calibrate --robot ur5e --data recordings --shows upright closing --noise 1mm 0.3deg --out arm.json
      ikp calibrate --robot ur5e --factory my_robot_calibration.yaml --urdf ur5e.urdf
      ikp calibrate --robot ur5e --poses five.csv --verify arm.json
      ikp calibrate --policy runs/ikp --data recordings --out arm.json

    Attributes:
        robot: a built-in robot, or a URDF or MJCF file.
        tip: the measured link.
        lock: joints of the robot that did not move, as NAME=VALUE [rad or m].
        units: unit of all joints, or NAME=UNIT.
        joint_map: the joint map to correct, such as that of a data set (default: as the data store it, else found).
        poses: measured positions of the tip (x_mm, y_mm, z_mm), with rotations (qw to qz, rx_rad to rz_rad) or without.
        sockets: poses with a ball on the tool in sockets; the column socket names them.
        distance: known distances between sockets, as A,B=200mm or, with the standard deviation (default: that of a
            calliper, 0.05 mm), A,B=200.3+-0.1mm.
        point: poses that hold one point of the tool in place.
        plane: poses in which the tip touches a plane.
        data: demonstrations, as a LeRobotDataset v3.0 folder.
        shows: what the demonstrations show: upright (an axis of the tip is vertical), closing, opening (at these events
            of the gripper the tip has one height), lowest (so does the lowest point of each episode).
        policy: a run or policy of another arm, to compare demonstrations with.
        factory: a UR's factory calibration (kinematics.yaml of ur_calibration), which the robot is corrected by first.
        unknown: base: the measured frame is not the arm's base; tool: the measured frame or point is not the tip.
        estimate: offset, scale (of a gear), drift (once per turn) and links (6 numbers per joint).
        noise: standard deviations of measured lengths and rotations.
        joint_noise: standard deviation of a joint reading, such as its backlash.
        robust: leave out poses that fit far worse than the noise.
        out: the joint map to write.
        urdf: the corrected URDF to write, for programs that use the readings as they are.
        verify: test this joint map, and estimate nothing; the exit status is 1 if it does not hold.
    """

    HINT: ClassVar[str] = "it begins anew when it is run again"

    robot: Annotated[str | None, arg(metavar="NAME|FILE", help_behavior_hint="(default: policy's)")] = None
    tip: Annotated[str | None, arg(metavar="LINK", help_behavior_hint="(default: its only one)")] = None
    lock: Annotated[tuple[str, ...], arg(metavar="[NAME=VALUE ...]", help_behavior_hint=NONE)] = ()
    units: Annotated[tuple[str, ...], arg(metavar="[UNIT|NAME=UNIT ...]", help_behavior_hint=FOUND)] = ()
    joint_map: Annotated[Path | None, FILE] = None
    poses: Annotated[Path | None, FILE] = None
    sockets: Annotated[Path | None, FILE] = None
    distance: Annotated[tuple[str, ...], arg(metavar="[A,B=LENGTH ...]", help_behavior_hint=NONE)] = ()
    point: Annotated[Path | None, FILE] = None
    plane: Annotated[Path | None, FILE] = None
    data: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint=NONE)] = None
    shows: Annotated[tuple[str, ...], arg(metavar="[CONSTRAINT ...]", help_behavior_hint=NONE)] = ()
    policy: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint=NONE)] = None
    factory: Annotated[Path | None, FILE] = None
    unknown: Annotated[tuple[Literal["base", "tool"], ...], arg(help_behavior_hint=NONE)] = ()
    estimate: Annotated[tuple[str, ...], arg(metavar="[TERM ...]")] = ("offset",)
    noise: Annotated[tuple[str, ...], arg(metavar="[VALUE ...]")] = ("0.1mm", "0.05deg")
    joint_noise: Annotated[str, arg(metavar="VALUE")] = "0deg"
    robust: bool = False
    out: Annotated[Path | None, FILE] = None
    urdf: Annotated[Path | None, FILE] = None
    verify: Annotated[Path | None, arg(metavar="MAP", help_behavior_hint=NONE)] = None

    def run(self) -> None:
        from ikp.files import writable_file

        self._check_outputs()
        for file in (self.out, self.urdf):
            if file is not None:
                writable_file(file)
        files = (self.poses, self.sockets, self.point, self.plane, self.data)
        if self.policy is not None:
            self._from_policy(self.policy)
        elif self.verify is not None:
            self._verify(self.verify)
        elif self.factory is not None and not any(files):
            self._write_factory(self.factory)
        else:
            self._calibrate()

    def _check_outputs(self) -> None:
        """Refuse an output that is a file of measurements, the robot's file or the other output."""
        from ikp.calibration.files import report_path

        outputs = [] if self.out is None else [self.out, report_path(self.out)]
        outputs += [] if self.urdf is None else [self.urdf]
        robot = None if self.robot is None else Path(self.robot)
        read = (self.poses, self.sockets, self.point, self.plane, self.factory, robot)
        taken = {file.resolve() for file in read if file is not None}
        for file in outputs:
            if file.resolve() in taken:
                raise ValueError(f"{file} would be overwritten: choose another file for the result")
            taken.add(file.resolve())

    def _calibrate(self) -> None:
        from ikp.calibration import calibrate
        from ikp.joint_map import JointMap

        robot = self._robot()
        given = None if self.joint_map is None else JointMap.load(self.joint_map, robot)
        measurements, used = self._measurements(robot, given)
        found = calibrate(
            robot,
            measurements,
            estimate=self.estimate,
            joint_map=used,
            robust=self.robust,
            complete=self.data is None,  # nobody can add a pose to demonstrations
        )
        print(found)
        self._write(found)

    def _from_policy(self, policy: Path) -> None:
        """Write the joint map with which a policy drives the arm of some demonstrations."""
        from ikp.calibration import calibrate_from_policy
        from ikp.calibration.files import write_report
        from ikp.data import load_dataset
        from ikp.policies import load_policy

        alone = Calibrate(
            policy=policy, data=self.data, out=self.out, units=self.units, joint_map=self.joint_map
        )
        if self.data is None or self != alone:
            raise ValueError(
                "--policy takes the demonstrations of --data, and besides these --units, --joint-map and --out alone"
            )
        with warnings.catch_warnings():  # which of its arms a pooled policy drives does not matter here
            warnings.filterwarnings("ignore", message=".*was trained on the arms")
            known = load_policy(policy)
        how = ArmOptions(units=self.units, joint_map=self.joint_map).loading
        data = load_dataset(self.data, robot=known.robot, **how)
        found = calibrate_from_policy(known, data)
        print(found)
        if self.out is not None:
            print(f"wrote {found.joint_map.save(self.out)} and {write_report(found, self.out)}")
            print(f"next: ikp.load_policy({str(policy)!r}, joint_map={str(self.out)!r}) drives this arm")

    def _write_factory(self, factory: Path) -> None:
        """Write a UR as its factory calibration says."""
        from ikp.calibration.files import write_urdf

        if self.urdf is None or self.out is not None:
            raise ValueError(
                "--factory alone corrects links, which a joint map cannot hold: give --urdf FILE, and no --out"
            )
        print(f"wrote {write_urdf(self._robot(), self._name, self.urdf)}, as in {factory}")

    def _write(self, found: Calibration) -> None:
        from ikp.calibration.files import write_report, write_urdf

        if self.out is not None:
            print(f"wrote {found.joint_map.save(self.out)} and {write_report(found, self.out)}")
        if self.urdf is not None:
            print(
                f"wrote {write_urdf(found.corrected_robot, self._name, self.urdf)}: use it without the new joint map"
            )

    def _verify(self, path: Path) -> None:
        from ikp.calibration import verify
        from ikp.calibration.files import calibrated_covariance, report_path
        from ikp.joint_map import JointMap

        if self.joint_map is not None or self.out is not None or self.urdf is not None:
            raise ValueError(
                "--verify tests the joint map that it names: leave out --joint-map, --out and --urdf"
            )
        if self.robust or self.estimate != ("offset",):
            raise ValueError(
                "--verify estimates nothing and leaves nothing out: leave out --estimate and --robust"
            )
        robot = self._robot()
        measurements, _ = self._measurements(robot, JointMap.load(path, robot))
        covariance = calibrated_covariance(path, robot)
        outcome = verify(robot, measurements, covariance)
        print(outcome)
        if covariance is None:
            print(f"there is no {report_path(path).name} beside it: its offsets are taken as exact")
        if not outcome.holds:
            raise SystemExit(1)

    @property
    def _name(self) -> str:
        if self.robot is None:
            raise ValueError("--robot is missing: name the arm, or its URDF or MJCF file")
        return self.robot

    def _robot(self) -> Robot:
        tips = () if self.tip is None else (self.tip,)
        robot = ArmOptions(robot=self._name, tips=tips, lock=self.lock).load_robot()
        assert robot is not None
        if len(robot.tip_names) > 1:
            raise ValueError(
                f"the robot has the tips {', '.join(robot.tip_names)}: name the measured one (--tip)"
            )
        if self.factory is None:
            return robot
        from ikp.calibration.factory import factory_robot

        return factory_robot(robot, self.factory)

    def _measurements(self, robot: Robot, joint_map: JointMap | None) -> tuple[list[Measurement], JointMap]:
        """The measurements of all files, and the joint map of their columns."""
        from ikp.calibration import from_tables
        from ikp.calibration.tables import read_poses

        link, noise, tables = robot.tip_names[0], self._noise(robot), []

        def table(path: Path) -> PoseTable:
            hints = ArmOptions(units=self.units).loading["hints"]
            tables.append(read_poses(path, robot, joint_map=joint_map, hints=hints))
            return tables[-1]

        if self.distance and self.sockets is None:
            raise ValueError("--distance is between sockets: give their poses with --sockets")
        made: list[Measurement] = []
        if self.poses is not None:
            made.append(from_tables.tip_poses(table(self.poses), robot, link, noise, self.unknown))
        if self.sockets is not None:
            ball, *known = from_tables.sockets(table(self.sockets), link, noise, _distances(self.distance))
            print(f"sockets, with their touches: {ball.touches}")
            made += [ball, *known]
        if self.point is not None:
            made.append(from_tables.held_point(table(self.point), link, noise))
        if self.plane is not None:
            made.append(from_tables.plane(table(self.plane), link, noise, self.unknown))
        if self.shows and self.data is None:
            raise ValueError("--shows is about demonstrations: give their folder (--data)")
        maps = [one.joint_map for one in tables]
        if self.data is not None:
            shown, recorded = self._shown(self.data, robot, joint_map, link, noise)
            made += shown
            maps.insert(0, recorded)
        if not made:
            raise ValueError(
                "there are no measurements: give any of --poses, --sockets, --point, --plane and --data"
            )
        return made, joint_map or maps[0]

    def _shown(
        self, folder: Path, robot: Robot, joint_map: JointMap | None, link: str, noise: Noise
    ) -> tuple[list[Measurement], JointMap]:
        """The measurements that demonstrations hold, and the joint map of the recording."""
        from ikp.calibration.demonstrations import SHOWN, shown
        from ikp.data import load_dataset

        if not self.shows:
            raise ValueError(f"--data needs --shows: choose any of {', '.join(SHOWN)}")
        hints = ArmOptions(units=self.units).loading["hints"]
        data = load_dataset(folder, robot=robot, joint_map=joint_map, hints=hints, images=False)
        q = data.state[:, list(data.spec.joint_dims)].double().numpy()
        frames = (data.episode_index.numpy(), data.gripper_closed.numpy())
        return shown(robot, q, *frames, link, self.shows, noise), data.spec.recorded_map(robot)

    def _noise(self, robot: Robot) -> Noise:
        from ikp.calibration.from_tables import Noise

        kinds = {"slide" if kind == "prismatic" else "turn" for kind in robot.joint_types}
        kind = "slide" if self.joint_noise.endswith("m") else "turn"
        if kind not in kinds and _quantity(self.joint_noise, "--joint-noise") != 0:
            wanted = {"slide": "an angle such as 0.02deg", "turn": "a length such as 0.1mm"}[kind]
            raise ValueError(
                f"--joint-noise {self.joint_noise}: no joint of {robot.name!r} can {kind}: give {wanted}"
            )
        lengths = [_quantity(word, "--noise") for word in self.noise if word.endswith("m")]
        angles = [_quantity(word, "--noise") for word in self.noise if not word.endswith("m")]
        if len(lengths) > 1 or len(angles) > 1:
            raise ValueError(f"--noise {' '.join(self.noise)}: give one length and one angle")
        return Noise(
            lengths[0] if lengths else Noise.length,
            angles[0] if angles else Noise.angle,
            _quantity(self.joint_noise, "--joint-noise"),
        )


def _quantity(text: str, option: str) -> float:
    """A length [m] or an angle [rad] with its unit."""
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise ValueError(f"{option} {text}: give a number with its unit, such as 0.1mm or 0.05deg")
    return float(match[1]) * _UNITS[match[2]]


def _distances(words: Sequence[str]) -> Mapping[tuple[str, str], tuple[float, float]]:
    """Distances and their standard deviations [m] by pairs of sockets."""
    from ikp.calibration.sockets import DISTANCE_NOISE

    made: dict[tuple[str, str], tuple[float, float]] = {}
    given: list[tuple[str, str]] = []
    for word in words:
        names, _, length = word.rpartition("=")
        pair, match = names.split(","), _DISTANCE.fullmatch(length)
        if len(pair) != 2 or match is None:
            raise ValueError(f"--distance {word!r}: write A,B=LENGTH such as a,b=200mm or a,b=200.3+-0.1mm")
        factor = _UNITS[match[3]]
        noise = DISTANCE_NOISE if match[2] is None else float(match[2]) * factor
        made[pair[0], pair[1]] = (float(match[1]) * factor, noise)
        given.append((",".join(sorted(pair)), length))
    each_once(given, "--distance")
    return made
