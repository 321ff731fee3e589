"""A ball on the tool that rests in sockets, and distances between the sockets.

This is the measurement of MUKCa (arXiv 2503.12584): a ball is put into the same two sockets in many configurations. No
camera is needed, and the place of the ball in the tool and of the sockets on the table may be unknown. One socket alone
is a tool point that is held while the arm moves around it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ikp.calibration import _so3
from ikp.calibration.arm import ArmModel
from ikp.calibration.measurement import Linearised, LinkMeasurement, Values, check_poses

BALL = "ball"
DISTANCE_NOISE = 5e-5
"""Standard deviation of a distance that a calliper measured [m]."""


def socket_unknown(label: str) -> str:
    """Name of the unknown place of a socket."""
    return f"socket {label}"


@dataclass(frozen=True, eq=False)
class Sockets(LinkMeasurement):
    """The same point of a link in the same places: ``p_base_link + R_base_link @ ball = socket``.

    Attributes:
        labels: (n,) name of the socket of every configuration.
        ball: (3,) place of the ball's centre in the link [m]; None if it is unknown.
        noise_m: standard deviation of the ball's centre per axis [m].

    Raises:
        ValueError: shapes do not fit each other or a standard deviation is not positive.
    """

    labels: np.ndarray
    ball: Float[np.ndarray, "3"] | None = None
    noise_m: float = 1e-4

    def __post_init__(self) -> None:
        check_poses(self.q, self.q.shape[-1], {"ball's centre": self.noise_m}, self.joint_noise)
        if self.labels.shape != (len(self.q),):
            raise ValueError(
                f"there are {len(self.q)} joint positions and {len(self.labels)} names of sockets"
            )

    @property
    def places(self) -> tuple[str, ...]:
        """Names of the sockets."""
        return tuple(dict.fromkeys(str(label) for label in self.labels))

    @property
    def touches(self) -> str:
        """The sockets with their numbers of configurations, in words."""
        return ", ".join(f"{place!r} ({int((self.labels == place).sum())})" for place in self.places)

    @property
    def name(self) -> str:
        """See `Measurement`."""
        return "held point" if len(self.places) == 1 else f"ball in {len(self.places)} sockets"

    @property
    def unknowns(self) -> Mapping[str, int]:
        """See `Measurement`."""
        ball = {BALL: 3} if self.ball is None else {}
        return {**ball, **{socket_unknown(label): 3 for label in self.places}}

    @property
    def noise(self) -> Float[np.ndarray, "n m"]:
        """See `Measurement`."""
        return np.full((len(self.q), 3), self.noise_m)

    @property
    def angles(self) -> tuple[bool, ...]:
        """See `Measurement`."""
        return (False, False, False)

    def _per_pose(self) -> Mapping[str, np.ndarray]:
        return {"labels": self.labels}

    def start(self, arm: ArmModel, values: Values) -> Values:
        """Ball and sockets by linear least squares, with the nominal arm."""
        T = arm.poses(self.q, np.zeros(arm.size), self.link)[0]
        names = [name for name in self.unknowns if name not in values]
        zero = {name: np.zeros(size) for name, size in self.unknowns.items()}
        residual, _, by = self.compare(T, {**zero, **values})
        rows = np.concatenate([by[name] for name in names], -1).reshape(residual.size, -1) if names else None
        if rows is None:
            return dict(values)
        found = np.split(np.linalg.lstsq(rows, -residual.ravel(), rcond=None)[0], len(names))
        return {**values, **dict(zip(names, found, strict=True))}

    def compare(
        self, T: Float[np.ndarray, "n 4 4"], values: Values
    ) -> tuple[np.ndarray, np.ndarray, Mapping[str, np.ndarray]]:
        """See `LinkMeasurement`."""
        R, count = T[:, :3, :3], len(T)
        arm = R @ (values[BALL] if self.ball is None else self.ball)
        residual = T[:, :3, 3] + arm
        by: dict[str, np.ndarray] = {BALL: R} if self.ball is None else {}
        for label in self.places:
            there = self.labels == label
            name = socket_unknown(label)
            residual[there] -= values[name]
            by[name] = there[:, None, None] * -np.eye(3)
        motion = np.zeros((count, 3, 6))
        motion[:, :, :3], motion[:, :, 3:] = np.eye(3), -_so3.skew(arm)
        return residual, motion, by


@dataclass(frozen=True, eq=False)
class SocketDistances:
    """Known distances between sockets: they give the lengths their scale.

    Attributes:
        distances: by pair of names of sockets [m].
        noise_m: standard deviation of the distances, one for all or one each [m].

    Raises:
        ValueError: a distance or a standard deviation is not positive, or a pair names one socket twice.
    """

    distances: Mapping[tuple[str, str], float]
    noise_m: float | Sequence[float] | np.ndarray = DISTANCE_NOISE

    name = "known distances"
    angles = (False,)
    joint_noise = 0.0

    def __post_init__(self) -> None:
        for (a, b), distance in self.distances.items():
            if not 0 < distance < np.inf or a == b:
                raise ValueError(
                    f"the distance of the sockets {a!r} and {b!r} is {distance}: give a positive length [m]"
                )
        noise = np.asarray(self.noise_m, dtype=float)
        if noise.shape not in ((), (len(self.distances),)) or not ((noise > 0) & (noise < np.inf)).all():
            raise ValueError(
                f"the noise of the distances is {self.noise_m}: give a positive standard deviation for all, or one for "
                "each [m]"
            )

    @property
    def pairs(self) -> Sequence[tuple[str, str]]:
        """The pairs of sockets, in order."""
        return tuple(self.distances)

    @property
    def unknowns(self) -> Mapping[str, int]:
        """See `Measurement`."""
        return {socket_unknown(label): 3 for pair in self.pairs for label in pair}

    @property
    def noise(self) -> Float[np.ndarray, "n m"]:
        """See `Measurement`."""
        return np.broadcast_to(np.asarray(self.noise_m, dtype=float), (len(self.pairs),))[:, None]

    def start(self, arm: ArmModel, values: Values) -> Values:
        """See `Measurement`; the ball's measurement finds the sockets."""
        missing = [name for name in self.unknowns if name not in values]
        if missing:
            raise ValueError(f"a distance names the {missing[0]}, where no ball was put: give its poses too")
        return dict(values)

    def linearise(self, arm: ArmModel, beta: np.ndarray, values: Values) -> Linearised:
        """See `Measurement`."""
        count = len(self.pairs)
        residual = np.zeros((count, 1))
        by = {name: np.zeros((count, 1, 3)) for name in self.unknowns}
        for i, (a, b) in enumerate(self.pairs):
            way = values[socket_unknown(a)] - values[socket_unknown(b)]
            length = max(float(np.linalg.norm(way)), 1e-9)
            residual[i] = length - self.distances[a, b]
            by[socket_unknown(a)][i, 0], by[socket_unknown(b)][i, 0] = way / length, -way / length
        return Linearised(residual, np.zeros((count, 1, arm.size)), np.zeros((count, 1, arm.robot.dof)), by)
