"""Names of recorded dimensions: the joint, the quantity and the unit that a name such as `shoulder_pan.pos` tells."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

POSITION, VELOCITY, EFFORT, DIFFERENCE, POSE = "position", "velocity", "effort", "difference", "pose"

_KINDS = {
    VELOCITY: {"vel", "velocity", "velocities", "speed", "dq", "qvel"},
    EFFORT: {"effort", "eff", "torque", "tau", "current", "load", "force"},
    DIFFERENCE: {"delta", "deltas", "diff", "difference", "relative"},
}
_POSITION_WORDS = {
    "pos",
    "position",
    "positions",
    "qpos",
    "q",
    "target",
    "goal",
    "cmd",
    "command",
    "commanded",
}
_POSITION_WORDS |= {"present", "measured", "actual", "state", "action", "observation", "main"}
_POSITION_WORDS |= {"joint", "joints", "motor", "motors"}
_UNITS = {"rad": "rad", "radians": "rad", "deg": "deg", "degree": "deg", "degrees": "deg", "mm": "mm"}
_AXES = {"x", "y", "z", "roll", "pitch", "yaw", "rx", "ry", "rz", "qx", "qy", "qz", "qw"}
_FRAMES = {"ee", "eef", "tcp", "end", "effector", "endeffector", "cartesian", "tip", "tool", "pose"}
_FRAMES |= {"rot", "rotation", "quat", "left", "right", "arm"}
_UNNAMED = re.compile(r"(?:action|(?:observation\.)?(?:environment_)?state)_(\d+)")
_GRIPPERS = {"gripper", "grip", "jaw", "finger", "fingers", "hand", "claw", "vacuum", "suction", "grasp"}


@dataclass(frozen=True)
class PlainName:
    """The parts of a name.

    Attributes:
        words: the words that identify a joint, lower case, numbers without leading zeros.
        kind: the quantity: position, velocity, effort, difference, or pose for an end-effector coordinate.
        unit: rad, deg or mm where the name tells it, else empty.
    """

    words: tuple[str, ...]
    kind: str = POSITION
    unit: str = ""

    @property
    def is_gripper(self) -> bool:
        """Whether the name is one of a gripper."""
        return bool(_GRIPPERS & set(self.words))


def unnamed(feature: str, dim: int) -> str:
    """The name that a dimension gets where the data set tells none, such as `action_3`; it is like no joint's name."""
    return f"{feature}_{dim}"


def is_unnamed(name: str) -> bool:
    """Whether a name only counts the dimensions of a vector (`unnamed`)."""
    return _UNNAMED.fullmatch(name) is not None


def plain_name(name: str) -> PlainName:
    """Split a name at dots, underscores, changes of case and numbers, and sort its words."""
    if found := _UNNAMED.fullmatch(name):
        return PlainName((f"unnamed{found[1]}",))
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name)
    words = [str(int(word)) if word.isdigit() else word for word in re.findall(r"[a-z]+|\d+", spaced.lower())]
    kind = next((kind for kind, known in _KINDS.items() if known & set(words)), POSITION)
    unit = next((_UNITS[word] for word in words if word in _UNITS), "")
    dropped = _POSITION_WORDS | set(_UNITS) | set().union(*_KINDS.values())
    kept = tuple(word for word in words if word not in dropped) or tuple(words)
    if kept and set(kept) <= _AXES | _FRAMES and set(kept) & _AXES and kind != VELOCITY:
        kind = POSE
    return PlainName(kept, kind, unit)


def match_joints(
    names: Sequence[str],
    joints: Sequence[str],
    *,
    loose: bool = True,
    beside: tuple[Sequence[str], Sequence[str]] = ((), ()),
) -> dict[str, int]:
    """Find the recorded dimension of each joint by its name.

    Names match when their words are equal, as they are or without the words at the start that all names share. With
    `loose`, they also match when the words of one are among those of the other. A match counts where a joint has no
    other, and no second joint has only that one. Nothing matches where one side counts from 0 and the other does not
    (`counts_otherwise`).

    Args:
        names: names of recorded dimensions.
        joints: names of the robot's joints.
        loose: also match by part of the words.
        beside: names and joints that are not matched but count: a `joint_0` that is left out or locked tells that
            `joint_1` is the second joint.

    Returns:
        Joint to dimension, for the joints that were found.
    """
    if counts_otherwise([*names, *beside[0]], [*joints, *beside[1]]):
        return {}
    plain = [plain_name(name) for name in names]
    wanted = [plain_name(joint).words for joint in joints]
    free = {i for i, name in enumerate(plain) if name.kind not in _KINDS}
    found: dict[int, int] = {}
    cut_names, cut_joints = _shared_start([plain[i].words for i in free]), _shared_start(wanted)

    def assign(matches: Callable[[tuple[str, ...], tuple[str, ...]], bool]) -> bool:
        """Assign every joint that has one free name left, unless another joint has only that one too."""
        left = {
            j: [i for i in sorted(free) if matches(words, plain[i].words)]
            for j, words in enumerate(wanted)
            if j not in found
        }
        only = [names[0] for names in left.values() if len(names) == 1]
        forced = {j: names[0] for j, names in left.items() if len(names) == 1 and only.count(names[0]) == 1}
        found.update(forced)
        free.difference_update(forced.values())
        return bool(forced)

    assign(lambda joint, name: joint == name)
    assign(lambda joint, name: joint[cut_joints:] == name[cut_names:])
    if loose:
        free &= {i for i in free if plain[i].kind == POSITION}
        while assign(_is_part):
            pass
    return {joints[j]: found[j] for j in sorted(found)}


def counts_otherwise(names: Sequence[str], joints: Sequence[str]) -> bool:
    """Whether names and joints differ by numbers, and one side counts from 0 and the other does not.

    Such as `motor_0` to `motor_6` beside the joints 1 to 7: equal numbers are then neighbouring joints.
    """
    if set(joints) <= set(names):  # further names count only where they are like the joints' to the letter
        stems = {_stem(joint) for joint in joints}
        names = [name for name in names if _stem(name) in stems]
    plain = [[plain_name(name) for name in side] for side in (names, joints)]
    sides = [[name.words for name in side if name.kind == POSITION] for side in plain]
    for cuts in ((0, 0), [_shared_start(side) for side in sides]):
        first, second = (_numbers(side, cut) for side, cut in zip(sides, cuts, strict=True))
        if any((0 in first[stem]) != (0 in second[stem]) for stem in first.keys() & second.keys()):
            return True
    return False


def _stem(name: str) -> str:
    """A name without the number at its end."""
    return name.rstrip("0123456789")


def _numbers(names: Sequence[tuple[str, ...]], cut: int) -> dict[tuple[str, ...], set[int]]:
    """The numbers at the end of names, by the words before them, without the first `cut` ones."""
    found: dict[tuple[str, ...], set[int]] = {}
    for words in names:
        if words[-1].isdigit():
            found.setdefault(words[cut:-1], set()).add(int(words[-1]))
    return found


def _is_part(joint: tuple[str, ...], name: tuple[str, ...]) -> bool:
    """Whether the words of one are among those of the other; numbers alone say too little."""
    fewer, more = sorted((joint, name), key=len)
    return set(fewer) < set(more) and not all(word.isdigit() for word in fewer)


def _shared_start(names: Sequence[tuple[str, ...]]) -> int:
    """The number of words at the start that all names share; each name keeps at least one word."""
    if len(names) < 2:
        return 0
    count = 0
    while all(len(name) > count + 1 for name in names) and len({name[count] for name in names}) == 1:
        count += 1
    return count
