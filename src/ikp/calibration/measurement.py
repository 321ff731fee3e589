"""Measurements: what the solver sees of them (residuals and derivatives), and the base of those that watch a link.

A measurement knows neither the arm's parameters nor other measurements. It may have unknowns of its own, such as the
place of a ball in the tool; unknowns of the same name are shared. Anything with the members of `Measurement` can be
estimated from, also a likelihood in which a policy takes part.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

from ikp.calibration.arm import ArmModel

Values = Mapping[str, np.ndarray]
"""Unknowns by name."""


@dataclass(frozen=True, eq=False)
class Linearised:
    """Residuals of `n` configurations with `m` rows each, and their derivatives.

    Attributes:
        residual: model minus measured [m or rad].
        arm: per change of the arm's parameters.
        joints: per change of the joint positions of the configuration.
        unknowns: per change of the unknowns, by name.
    """

    residual: Float[np.ndarray, "n m"]
    arm: Float[np.ndarray, "n m size"]
    joints: Float[np.ndarray, "n m dof"]
    unknowns: Mapping[str, Float[np.ndarray, "n m _"]]


@runtime_checkable
class Measurement(Protocol):
    """Members that the solver needs."""

    @property
    def name(self) -> str:
        """In words, for the report."""
        ...

    @property
    def unknowns(self) -> Mapping[str, int]:
        """Names and sizes of the unknowns [m, or rad for rotation vectors]."""
        ...

    @property
    def noise(self) -> Float[np.ndarray, "n m"]:
        """Standard deviation of every residual [m or rad]."""
        ...

    @property
    def angles(self) -> tuple[bool, ...]:
        """Whether each of the m rows is an angle [rad], not a length [m]."""
        ...

    @property
    def joint_noise(self) -> float:
        """Standard deviation of a joint reading [rad or m]."""
        ...

    def start(self, arm: ArmModel, values: Values) -> Values:
        """First guesses of the unknowns that have none in `values`."""
        ...

    def linearise(self, arm: ArmModel, beta: np.ndarray, values: Values) -> Linearised:
        """Residuals and derivatives at parameters `beta` (size,) and unknowns `values`."""
        ...


@dataclass(frozen=True, eq=False)
class LinkMeasurement(ABC):
    """Base of measurements that depend on the arm through the pose of one link.

    Attributes:
        q: (n, dof) joint positions of the nominal model, before any correction [rad or m].
        link: name of the watched link.
        joint_noise: standard deviation of a joint reading, for encoders whose noise or backlash counts beside that of
            the measurement [rad or m].
    """

    q: Float[np.ndarray, "n dof"]
    link: str
    joint_noise: float

    is_constraint = True
    """Whether the residual says where the arm has to be; else any configuration can be measured."""

    @property
    @abstractmethod
    def noise(self) -> Float[np.ndarray, "n m"]:
        """See `Measurement`."""

    @abstractmethod
    def compare(
        self, T: Float[np.ndarray, "n 4 4"], values: Values
    ) -> tuple[np.ndarray, np.ndarray, Mapping[str, np.ndarray]]:
        """Residuals (n, m) at link poses `T`, and derivatives by the link's motion (n, m, 6) and by the unknowns."""

    def linearise(self, arm: ArmModel, beta: np.ndarray, values: Values) -> Linearised:
        """See `Measurement`."""
        T, by_beta, by_joint = arm.poses(self.q, beta, self.link)
        residual, by_motion, unknowns = self.compare(T, values)
        return Linearised(residual, by_motion @ by_beta, by_motion @ by_joint, unknowns)

    def at(self, q: Float[np.ndarray, "k dof"], like: Int[np.ndarray, "k"]) -> LinkMeasurement:
        """The same kind of measurement at other configurations, each labelled as the configuration `like`."""
        return replace(self, q=q, **{key: value[like] for key, value in self._per_pose().items()})

    def _per_pose(self) -> Mapping[str, np.ndarray]:
        """Attributes that hold one value per configuration."""
        return {}


def check_poses(q: np.ndarray, arm_dof: int, noises: Mapping[str, float], joint_noise: float) -> None:
    """Raise ValueError unless joint positions and standard deviations make sense."""
    if q.ndim != 2 or q.shape[1] != arm_dof:
        raise ValueError(f"the joint positions have the shape {q.shape}: give (poses, {arm_dof})")
    if not np.isfinite(q).all():
        raise ValueError("a joint position is not finite: leave that pose out")
    for what, value in noises.items():
        if not 0 < value < np.inf:
            raise ValueError(f"the noise of the {what} is {value}: give a positive standard deviation")
    if not 0 <= joint_noise < np.inf:
        raise ValueError(f"joint_noise is {joint_noise}: give 0 or a positive standard deviation [rad or m]")
