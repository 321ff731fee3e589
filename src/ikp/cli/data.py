"""Options on the demonstrations that a command reads, and `ikp data`, which checks them before a training."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from tyro.conf import Positional, arg

from ikp.cli.words import OF_THE_TASK, each_once, named_options
from ikp.kinematics.builtin import BUILTIN

if TYPE_CHECKING:
    from ikp.kinematics import Robot

FOUND = "(default: found by name and values)"
NONE = "(default: none)"
OF_THE_DATA = "(default: data set's)"


@dataclass(frozen=True)
class ArmOptions:
    """The robot of the data, and how its joints are recorded.

    Attributes:
        robot: {robots}, or a URDF or MJCF file.
        tips: names of the robot's tip links.
        lock: joints of the robot that the data do not move, as NAME=VALUE [rad or m].
        units: unit of all joints, or NAME=UNIT: rad, deg, m, mm, percent of the joint's range, signed-percent (-100 to
            100), fraction (0 to 1). A gripper from 0 to 100 stays in percent.
        joints: the action's dimensions that are the robot's joints, in the robot's order.
        gripper: two-valued grippers of the action, as NAME or NAME=OPEN,CLOSED.
        ignore: dimensions of the data to leave out.
        joint_map: a JSON file that says all of this, with signs and offsets, as `ikp data check --save` writes it.
    """

    robot: Annotated[str | None, arg(metavar="NAME|FILE", help_behavior_hint=OF_THE_TASK)] = None
    tips: Annotated[
        tuple[str, ...], arg(metavar="[LINK ...]", help_behavior_hint="(default: its leaves)")
    ] = ()
    lock: Annotated[tuple[str, ...], arg(metavar="[NAME=VALUE ...]", help_behavior_hint=NONE)] = ()
    units: Annotated[tuple[str, ...], arg(metavar="[UNIT|NAME=UNIT ...]", help_behavior_hint=FOUND)] = ()
    joints: Annotated[tuple[str, ...], arg(metavar="[NAME ...]", help_behavior_hint=FOUND)] = ()
    gripper: Annotated[tuple[str, ...], arg(metavar="[NAME[=A,B] ...]", help_behavior_hint=FOUND)] = ()
    ignore: Annotated[tuple[str, ...], arg(metavar="[NAME ...]", help_behavior_hint=NONE)] = ()
    joint_map: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint=OF_THE_DATA)] = None

    def load_robot(self) -> Robot | None:
        """The robot; None where no option names one."""
        from ikp.kinematics import load_robot

        locked = named_options(self.lock, "--lock", "gripper=0.02")
        for joint, value in locked.items():
            if not isinstance(value, int | float):
                raise ValueError(f"--lock {joint}={value}: give a number [rad or m]")
        if self.robot is None:
            if self.tips or locked:
                raise ValueError("--tips and --lock change a robot that is given: add --robot")
            return None
        return load_robot(self.robot, tips=self.tips or None, locked=locked)

    @property
    def loading(self) -> dict[str, Any]:
        """Arguments of `ikp.load_dataset` about the recorded numbers."""
        from ikp.data import MapHints

        named = (word.rpartition("=") for word in self.units)
        units = each_once(((name, unit) for name, _, unit in named), "--units")  # "" stands for all joints
        grippers = _grippers(self.gripper)
        hints = MapHints(units=units, joints=self.joints, gripper=grippers, ignore=self.ignore)
        return {"joint_map": self.joint_map, "hints": hints}


ArmOptions.__doc__ = inspect.cleandoc(ArmOptions.__doc__ or "").replace("{robots}", ", ".join(BUILTIN))


@dataclass(frozen=True)
class DataOptions:
    """The demonstrations, and what they do not say about themselves.

    Attributes:
        data: LeRobotDataset v3.0 folder, one per arm.
        out: folder of the run: policy/, metrics.jsonl, tensorboard/ and the state to resume from.
        episodes: the number of first episodes to use, or a list such as 0-9,12; of each folder.
        cameras: cameras to use; nothing after --cameras means none.
        image_size: resize images to HEIGHTxWIDTH.
        camera: JSON models of cameras that the data set does not describe, for the image plane and moved scenes.
        task: the simulated task, where the data set names none; module:id for a task of your own.
    """

    data: Annotated[tuple[Path, ...], arg(metavar="FOLDER ...")]
    out: Path
    episodes: Annotated[str | None, arg(metavar="N|LIST", help_behavior_hint="(default: all)")] = None
    cameras: Annotated[
        tuple[str, ...] | None, arg(metavar="[NAME ...]", help_behavior_hint="(default: all)")
    ] = None
    image_size: Annotated[str | None, arg(metavar="HxW", help_behavior_hint=OF_THE_DATA)] = None
    camera: Annotated[tuple[str, ...], arg(metavar="[NAME=FILE ...]", help_behavior_hint=OF_THE_DATA)] = ()
    task: Annotated[str | None, arg(metavar="NAME", help_behavior_hint=OF_THE_DATA)] = None

    @property
    def chosen_episodes(self) -> int | list[int] | None:
        """A number of first episodes, or a list of them; None for all."""
        return _episodes(self.episodes)

    @property
    def loading(self) -> dict[str, Any]:
        """Arguments of `ikp.load_dataset` about images."""
        return {"cameras": self.cameras, "image_size": _image_size(self.image_size)}


@dataclass(frozen=True)
class Data:
    """Check a data set before a training: what is understood, what looks wrong, what mends it. Repair damaged files.

    check: the exit status is 1 where a training would refuse the data. Images are not decoded.
    repair: recovers every episode that is on disk, and says which are lost; data files may lack their footer, as a
    killed recording leaves them. The folder as it was is kept as FOLDER.before-repair, or give --out.

    For example:
      ikp data check recordings --robot arm.urdf
      ikp data check recordings --robot arm.urdf --units deg --gripper gripper=100,0 --store
      ikp data check recordings --robot arm.urdf --save map.json
      ikp data repair recordings

    Attributes:
        action: check, or repair.
        folder: folder of a LeRobotDataset v3.0.
        arm: the robot of the data, and how its joints are recorded.
        save: write the joint map to a JSON file, to edit it.
        store: write the joint map into the data set's info.json, where each later command finds it.
        out: repair into this new folder.
        cameras: cameras that a repair keeps; nothing after --cameras means none.
    """

    HINT: ClassVar[str] = "it begins anew when it is run again"

    action: Positional[Literal["check", "repair"]]
    folder: Positional[Path]
    arm: ArmOptions = field(default_factory=ArmOptions)
    save: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint=NONE)] = None
    store: bool = False
    out: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint="(default: in place)")] = None
    cameras: Annotated[
        tuple[str, ...] | None, arg(metavar="[NAME ...]", help_behavior_hint="(default: all)")
    ] = None

    def run(self) -> None:
        if self.action == "repair":
            self._repair()
        else:
            self._check()

    def _repair(self) -> None:
        from ikp.data.repair import repair_dataset

        if self.save or self.store or self.arm != ArmOptions():
            raise ValueError(
                "a repair changes no numbers: options on robot and joint map go with ikp data check"
            )
        print(repair_dataset(self.folder, self.out, cameras=self.cameras))

    def _check(self) -> None:
        if self.out or self.cameras is not None:
            raise ValueError("--out and --cameras go with ikp data repair")
        from ikp.data import load_dataset, store_joint_map
        from ikp.data.check import check_dataset
        from ikp.runs import robot_of_data

        robot = self.arm.load_robot()
        if robot is None:
            robot = robot_of_data(self.folder)
        report = check_dataset(self.folder, robot=robot, **self.arm.loading)
        print(report)
        joint_map = report.joint_map
        if (self.save or self.store) and joint_map is None:
            if report.refused or robot is None:
                raise ValueError(
                    f"there is no joint map to write: {'see above' if report.refused else 'give --robot'}"
                )
            data = load_dataset(self.folder, robot=robot, images=False, **self.arm.loading)
            joint_map = data.spec.recorded_map(robot)  # the numbers are the model's already
        if joint_map is not None and self.save:
            print(f"wrote {joint_map.save(self.save)}")
        if joint_map is not None and self.store:
            store_joint_map(self.folder, joint_map)
            print(f"stored the joint map in {self.folder}")
        if report.refused:
            raise SystemExit(1)


def _grippers(words: Sequence[str]) -> dict[str, tuple[float, float] | None]:
    """Open and closed value by name, None where a word gives only the name."""
    values: list[tuple[str, tuple[float, float] | None]] = []
    for word in words:
        name, equals, text = word.partition("=")
        try:
            opened, closed = (float(part) for part in text.split(",")) if equals else (0.0, 0.0)
        except ValueError:
            raise ValueError(
                f"--gripper {word!r}: write NAME, or NAME=OPEN,CLOSED such as gripper=100,0"
            ) from None
        values.append((name, (opened, closed) if equals else None))
    return each_once(values, "--gripper")


def _episodes(text: str | None) -> int | list[int] | None:
    """A number of first episodes, or the episodes of a list such as 0-9,12."""
    from ikp.data.episodes import MOST_EPISODES

    if text is None:
        return None
    try:
        if text.isdigit():
            return int(text)
        parts = [part.partition("-") for part in text.split(",") if part]
        ranges = [range(int(low), int(high if dash else low) + 1) for low, dash, high in parts]
    except ValueError:
        raise ValueError(f"--episodes {text!r}: give a number, or a list such as 0-9,12") from None
    for low, _, high in (part for part, each in zip(parts, ranges, strict=True) if not each):
        raise ValueError(f"--episodes {text!r}: {low}-{high} descends: write {high}-{low}")
    if sum(map(len, ranges)) > MOST_EPISODES:
        raise ValueError(f"--episodes {text!r}: these are more than {MOST_EPISODES} episodes")
    return [i for each in ranges for i in each]


def _image_size(text: str | None) -> tuple[int, int] | None:
    """(height, width) of a text such as 96x128."""
    if text is None:
        return None
    height, _, width = text.lower().partition("x")
    if not (height.isdigit() and width.isdigit() and int(height) and int(width)):
        raise ValueError(f"--image-size {text!r}: write HEIGHTxWIDTH, such as 96x128")
    return int(height), int(width)
