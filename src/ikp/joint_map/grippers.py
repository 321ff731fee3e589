"""Find two-valued grippers: which dimension, which value is open and which is closed."""

from __future__ import annotations

from collections.abc import Container, Mapping

import numpy as np

from ikp.joint_map.dimension import GRIPPER, Dimension
from ikp.joint_map.hints import Vector
from ikp.joint_map.names import POSITION, plain_name

AT_ENDS = 0.9
"""Share of the numbers that lie within a tenth of the range from either end, of a gripper that is two-valued."""
CLOSED_ABOVE = ((0.0, 1.0), (-1.0, 1.0))
"""Pairs of commands of which the larger one is closed."""
NOISE = 0.05
"""Accepted distance of a command from these."""
SAME_UNIT = 0.1
"""Accepted distance of measured ends from the commands, as a share of their range, of a gripper in the same unit."""
LEAST_CORRELATION = 0.5
"""Correlation with the commands from which measured numbers are those of the gripper."""
FEWEST = 10
"""Frames from which there is a correlation."""


def command_gripper(
    name: str, values: np.ndarray, *, is_said: bool, given: tuple[float, float] | None = None
) -> Dimension:
    """The entry of a gripper's commands.

    The value 1 is closed where the two are 0 and 1 or -1 and 1; else the larger one is open, a width or a percentage.

    Args:
        name: of the dimension.
        values: (frame,) recorded commands.
        is_said: whether the user says that it is a two-valued gripper; many values are then cut in two.
        given: its open and its closed value.

    Raises:
        ValueError: it takes more than two values, or one, or two that are both open or both closed; the message names
            the option that settles it.
    """
    if given is not None:
        _check_given(name, values, given)
        return Dimension(name, GRIPPER, open=given[0], closed=given[1], reason="as given")
    found = two_values(values) or (_outer_values(values) if is_said else None)
    if found is None:
        different = np.unique(values)
        shown = ", ".join(f"{value:.4g}" for value in different[:6]) + (", ..." if len(different) > 6 else "")
        raise ValueError(
            f"the gripper {name!r} takes the values {shown}, not two: make it two-valued (--gripper {name}, or "
            f"--gripper {name}=OPEN,CLOSED), or leave it out (--ignore {name})"
        )
    usual = next((pair for pair in CLOSED_ABOVE if np.allclose(found, pair, rtol=0, atol=NOISE)), None)
    opened, closed = usual or found[::-1]
    return Dimension(name, GRIPPER, open=opened, closed=closed, reason="two values")


def _check_given(name: str, values: np.ndarray, given: tuple[float, float]) -> None:
    """Refuse an open and a closed value between which none of the two recorded ones is told from the other."""
    found, half = two_values(values), sum(given) / 2
    if found is not None and found[0] < found[1] and (found[0] > half) == (found[1] > half):
        is_open = (found[0] > half) == (given[0] > half)
        raise ValueError(
            f"--gripper {name}={given[0]:g},{given[1]:g}: the recorded commands are {found[0]:.4g} and {found[1]:.4g}, "
            f"which would both count as {'open' if is_open else 'closed'}: give these two, the open one first, or let "
            f"them be found (--gripper {name})"
        )


def measured_grippers(
    state: Vector,
    action: Vector,
    commands: Mapping[int, Dimension],
    taken: Container[int],
    *,
    same_place: Container[int],
) -> dict[int, Dimension]:
    """The state's dimensions that measure the action's grippers, by name; all of them or none.

    Args:
        state, action: the recorded vectors.
        commands: the gripper entries by dimension of the action.
        taken: dimensions of the state that are something else.
        same_place: dimensions that mean the same in action and state.
    """
    found: dict[int, Dimension] = {}
    for place, entry in commands.items():
        own = plain_name(entry.name)
        for dim, name in enumerate(state.names):
            plain = plain_name(name)
            is_same = name == entry.name or (plain.words == own.words and plain.kind == POSITION)
            if dim not in found and dim not in taken and (is_same or (dim == place and place in same_place)):
                measured = _measured(name, state.values[:, dim], entry, action.values[:, place])
                if measured is not None:
                    found[dim] = measured
                break
    return found if len(found) == len(commands) else {}


def _measured(name: str, values: np.ndarray, command: Dimension, commanded: np.ndarray) -> Dimension | None:
    """The entry of a measured gripper, whose unit may differ from the command's: a width in metres beside 0 and 1.

    Args:
        name: of the dimension.
        values: (frame,) measured numbers.
        command: the entry of its commands.
        commanded: (frame,) recorded commands.

    Returns:
        None where the numbers take no two values that follow the commands.
    """
    ends = two_values(values) or _outer_values(values)
    if ends is None:
        return None
    low, high = sorted((command.open, command.closed))
    is_same = np.allclose(ends, (low, high), rtol=0, atol=SAME_UNIT * (high - low))
    likeness = _correlation(values, commanded * command.factor + command.shift > 0.5)
    if not is_same and abs(likeness) < LEAST_CORRELATION:
        return None
    if is_same:
        ends = low, high
    closed_above = likeness > 0 if abs(likeness) >= LEAST_CORRELATION else command.closed > command.open
    opened, closed = ends if closed_above else ends[::-1]
    reason = "measured, as the action's" if is_same else "measured, in its own unit"
    return Dimension(name, GRIPPER, command.joint, open=opened, closed=closed, reason=reason)


def _correlation(values: np.ndarray, is_closed: np.ndarray) -> float:
    """Correlation of numbers with commands to close; 0 where either never changes, and of few frames."""
    changes = values.min() < values.max() and is_closed.any() and not is_closed.all()
    if len(values) < FEWEST or not changes:
        return 0.0
    return float(np.corrcoef(values, is_closed)[0, 1])


def _outer_values(values: np.ndarray) -> tuple[float, float] | None:
    """A low and a high number beyond which few lie; None where they are the same."""
    if not len(values):
        return None
    low, high = (float(value) for value in np.quantile(values, [0.02, 0.98]))
    return (low, high) if high > low else None


def two_values(values: np.ndarray) -> tuple[float, float] | None:
    """The lower and the higher one of two values around which nearly all numbers lie; None if they do not."""
    different = np.unique(values)
    if len(different) == 1 and different[0] in (0.0, 1.0):
        return 0.0, 1.0
    if len(different) < 2:
        return None
    if len(different) == 2:
        return float(different[0]), float(different[1])
    low, high = values.min(), values.max()
    near_low, near_high = values < low + 0.1 * (high - low), values > high - 0.1 * (high - low)
    if near_low.mean() + near_high.mean() < AT_ENDS or min(near_low.mean(), near_high.mean()) < 0.02:
        return None
    return float(np.median(values[near_low])), float(np.median(values[near_high]))
