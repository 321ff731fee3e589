"""Options on the demonstrations that a command reads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from ikp.cli.words import OF_THE_TASK


@dataclass(frozen=True)
class DataOptions:
    """The demonstrations, and what they do not say about themselves.

    Attributes:
        data: folder of a LeRobotDataset v3.0.
        out: folder of the run: policy/, metrics.jsonl, tensorboard/ and the state to resume from.
        episodes: use only the first ones of the data set.
        robot: ur5e, iiwa14, iiwa14_dual or a URDF or MJCF file.
        tips: names of the robot's tip links.
        camera: models of cameras that the data set does not describe, for the image plane and moved scenes, as
            NAME=FILE (JSON).
        task: the simulated task, where the data set names none; module:id for a task of your own.
    """

    data: Path
    out: Path
    episodes: Annotated[int | None, arg(metavar="INT", help_behavior_hint="(default: all)")] = None
    robot: Annotated[str | None, arg(metavar="NAME|FILE", help_behavior_hint=OF_THE_TASK)] = None
    tips: Annotated[
        tuple[str, ...], arg(metavar="[LINK ...]", help_behavior_hint="(default: its leaves)")
    ] = ()
    camera: Annotated[
        tuple[str, ...], arg(metavar="[NAME=FILE ...]", help_behavior_hint="(default: data set's)")
    ] = ()
    task: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="(default: data set's)")] = None
