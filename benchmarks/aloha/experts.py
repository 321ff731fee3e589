"""Scripted experts for ALOHA's tasks: where both hands are at the end of each phase, found by inverse kinematics.

The joints move evenly from phase to phase, and the grippers have two commands. Nothing is measured on the way, so an
episode's commands are known once its objects are: they are gym-aloha's joint commands, and need no second simulation
with other actuators.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from ikp.kinematics import aloha, inverse_kinematics
from task import CLOSED, FPS, JOINTS, NAMES, OPEN, STEPS

ROBOT = aloha()
ARMS = [NAMES.index(f"{side}_{joint}") for side in ("left", "right") for joint in JOINTS]
GRIPPERS = [NAMES.index(f"{side}_gripper") for side in ("left", "right")]
START = (0.0, -0.96, 1.16, 0.0, -0.3, 0.0) * 2
"""gym-aloha's start, in the order of the robot's joints [rad]."""
FINGERTIPS = 0.047
"""From the robot's tip links, between the fingers, to the ends of the fingers [m]."""


@dataclass(frozen=True)
class Hand:
    """Where a hand is; its fingers open along the world's y.

    Attributes:
        x, y, z: middle between the ends of the fingers, in the world [m].
        gripper: command on the way there.
        is_down: whether the hand points down; else it points at the other arm.
    """

    x: float
    y: float
    z: float
    gripper: float
    is_down: bool = True


@dataclass(frozen=True)
class Phase:
    """Where both hands are at a time [s]."""

    time: float
    left: Hand
    right: Hand


def transfer(objects: np.ndarray) -> list[Phase]:
    """The right hand takes the cube's upper half, turns it forward, and the left hand takes the other half."""
    x, y, _ = objects[0, :3]
    depth = 0.018  # of the fingers over the cube's 40 mm; two hands must not touch
    grip, half, z = 0.04 - depth, 0.02, 0.3

    def left(away: float, gripper: float) -> Hand:
        return Hand(depth - half - away, 0.5, z, gripper, is_down=False)

    def right(away: float, gripper: float) -> Hand:
        return Hand(half - depth + away, 0.5, z, gripper, is_down=False)

    waiting = left(0.12, OPEN)
    return [
        Phase(1.6, waiting, Hand(x, y, 0.12, OPEN)),
        Phase(2.4, waiting, Hand(x, y, grip, OPEN)),
        Phase(3.0, waiting, Hand(x, y, grip, CLOSED)),
        Phase(4.4, waiting, right(0.0, CLOSED)),
        Phase(5.2, left(0.0, OPEN), right(0.0, CLOSED)),
        Phase(5.8, left(0.0, CLOSED), right(0.0, CLOSED)),
        Phase(6.4, left(0.0, CLOSED), right(0.0, OPEN)),
        Phase(7.4, left(0.1, CLOSED), right(0.1, OPEN)),
    ]


def insertion(objects: np.ndarray) -> list[Phase]:
    """Each hand takes its object in the middle, and they push the peg into the socket up to the pin."""
    peg, socket = objects[0], objects[1]
    peg_grip, socket_grip = 0.004, 0.016  # the fingers stay off the table
    lift = 0.24

    def left(x: float, y: float, gripper: float, above: float) -> Hand:
        return Hand(x, y, socket_grip + above, gripper)

    def right(x: float, y: float, gripper: float, above: float) -> Hand:
        return Hand(x, y, peg_grip + above, gripper)

    def apart(distance: float) -> tuple[Hand, Hand]:
        # the peg's axis is 10 mm above the table, the socket's 22 mm
        return (
            left(-distance, 0.5, CLOSED, lift - 0.022),
            right(distance, 0.5, CLOSED, lift - 0.010),
        )

    def at_objects(gripper: float, above: float) -> tuple[Hand, Hand]:
        return left(*socket[:2], gripper, above), right(*peg[:2], gripper, above)

    return [
        Phase(1.6, *at_objects(OPEN, 0.1)),
        Phase(2.4, *at_objects(OPEN, 0.0)),
        Phase(3.0, *at_objects(CLOSED, 0.0)),
        Phase(4.6, *apart(0.105)),
        Phase(4.8, *apart(0.105)),
        # the peg meets the pin at 0.05; the rest presses, for what slid in the hands
        Phase(6.6, *apart(0.045)),
    ]


EXPERTS = {"transfer": transfer, "insertion": insertion}


def plan(task: str, objects: np.ndarray) -> np.ndarray:
    """Commands (STEPS, 14) of a whole episode, in the order of NAMES.

    Args:
        task: `transfer` or `insertion`.
        objects: (objects, 7) poses at the start, as of `Simulation.objects`.

    Raises:
        ValueError: an object is out of reach.
    """
    phases = EXPERTS[task](objects)
    hands = np.stack([[_pose(phase.left, 0), _pose(phase.right, 1)] for phase in phases])
    start = torch.tensor(START, dtype=torch.float64)
    found = inverse_kinematics(ROBOT, torch.from_numpy(hands), start.expand(len(phases), -1))
    if not found.converged.all():
        raise ValueError(f"the expert cannot reach the objects at {objects[:, :3].tolist()}")
    times = np.arange(1, STEPS + 1) / FPS
    ends = np.array([phase.time for phase in phases])
    corners = torch.cat([start[None], found.q]).numpy()
    commands = np.empty((STEPS, len(NAMES)))
    commands[:, ARMS] = np.stack([np.interp(times, [0.0, *ends], joint) for joint in corners.T], axis=1)
    current = np.searchsorted(ends, times - 1e-9).clip(max=len(phases) - 1)
    grippers = np.array([[phase.left.gripper, phase.right.gripper] for phase in phases])
    commands[:, GRIPPERS] = grippers[current]
    return commands


def _pose(hand: Hand, side: int) -> np.ndarray:
    """Pose (4, 4) of the tip link of the left (0) or the right (1) arm."""
    pitch = math.pi / 2 if hand.is_down else 0.0
    cos, sin = math.cos(pitch), math.sin(pitch)
    facing = np.diag([1.0, 1.0, 1.0] if side == 0 else [-1.0, -1.0, 1.0])
    T = np.eye(4)
    T[:3, :3] = facing @ [[cos, 0.0, sin], [0.0, 1.0, 0.0], [-sin, 0.0, cos]]
    T[:3, 3] = np.array([hand.x, hand.y, hand.z]) - FINGERTIPS * T[:3, 0]
    return T
