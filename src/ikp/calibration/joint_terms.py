"""Corrections of single joints, in one affine form: q_true = q + sum of coefficient times a function of q.

| term | functions of q | what it is |
| --- | --- | --- |
| `offset` | 1 | the zero of the encoder |
| `scale` | q | a gear or a potentiometer whose scale is off |
| `drift` | sin q, cos q | an encoder disc or a gear that is mounted off its centre, once per turn |

Every term is linear in its coefficients, so that offsets known to a `JointMap`, residuals of a policy and calibrations
are the same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from ikp.checks import one_of
from ikp.kinematics import Robot

Function = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Term:
    """Functions of a joint's position, and the standard deviation of their coefficients before any measurement.

    Attributes:
        functions: by the name of the coefficient.
        sigma: prior standard deviation, for a joint that turns [rad or without a unit].
        sigma_sliding: the same for a joint that slides [m or without a unit]; None if such joints do not have the term.
    """

    functions: Mapping[str, Function]
    sigma: float
    sigma_sliding: float | None


TERMS = {
    "offset": Term({"offset": np.ones_like}, math.radians(10), 0.02),
    "scale": Term({"scale": lambda q: q}, 0.05, 0.05),
    "drift": Term({"drift sin": np.sin, "drift cos": np.cos}, math.radians(2), None),
}


@dataclass(frozen=True)
class Coefficient:
    """One number of the correction of a joint.

    Attributes:
        joint: name of the joint.
        name: name of its function, such as offset.
        index: the joint's place in q.
        sigma: prior standard deviation.
        function: of the joint's position.
    """

    joint: str
    name: str
    index: int
    sigma: float
    function: Function = field(compare=False)


def joint_coefficients(robot: Robot, terms: Sequence[str]) -> tuple[Coefficient, ...]:
    """The coefficients of all joints of a robot, term by term.

    Raises:
        ValueError: a term is unknown.
    """
    made = []
    for term in terms:
        one_of("the term", term, tuple(TERMS))
        for index, (joint, kind) in enumerate(zip(robot.joint_names, robot.joint_types, strict=True)):
            sigma = TERMS[term].sigma_sliding if kind == "prismatic" else TERMS[term].sigma
            if sigma is not None:
                functions = TERMS[term].functions.items()
                made += [Coefficient(joint, name, index, sigma, function) for name, function in functions]
    return tuple(made)


def basis(
    coefficients: Sequence[Coefficient], q: Float[np.ndarray, "n dof"]
) -> Float[np.ndarray, "n coefficients"]:
    """The function of every coefficient at joint positions [rad or m]."""
    columns = [one.function(q[:, one.index]) for one in coefficients]
    return np.stack(columns, axis=-1) if columns else np.zeros((len(q), 0))
