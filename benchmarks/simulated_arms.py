"""Simulated arms with known errors, and what is measured of them; the tests of `ikp.calibration` use them too."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from scipy.spatial.transform import Rotation

import ikp
from ikp.calibration import ArmModel, LinkMeasurement, Plane, Sockets, TipPoses, Upright

POSITION, ANGLE = 1e-4, math.radians(0.05)
"""Standard deviations of measured lengths [m] and angles [rad]."""
STEPS = 15  # of projection onto constraints
FEWEST_DRAWN = 400  # configurations at a time: few are within the limits once they hold
BALL = np.array([0.01, -0.02, 0.08])
Make = Callable[[np.ndarray], Sequence[LinkMeasurement]]


class TrueArm:
    """An arm whose parameters are off by up to half a prior standard deviation: joints by up to 5 degrees."""

    def __init__(
        self, robot: str | ikp.Robot = "ur5e", seed: int = 0, terms: Sequence[str] = ("offset",)
    ) -> None:
        self.robot = ikp.load_robot(robot) if isinstance(robot, str) else robot
        self.model = ArmModel(self.robot, terms)
        self.rng = np.random.default_rng(seed)
        self.beta = self.model.sigma * self.rng.uniform(-0.5, 0.5, self.model.size)
        self.link = self.robot.tip_names[0]
        self._found: dict[str, np.ndarray] = {}

    def q(self, count: int) -> np.ndarray:
        """Joint readings; UR's joints turn twice, so half of the range is enough."""
        generator = torch.Generator().manual_seed(int(self.rng.integers(2**31)))
        return 0.5 * self.robot.random_q((count,), generator=generator).numpy()

    def poses(self, q: np.ndarray) -> np.ndarray:
        """True poses of the tip at joint readings."""
        return self.model.poses(q, self.beta, self.link)[0]

    def tip_poses(
        self,
        count: int = 20,
        rotations: bool = True,
        base: np.ndarray | None = None,
        tool: np.ndarray | None = None,
        unknown: Sequence[str] = (),
        q: np.ndarray | None = None,
    ) -> TipPoses:
        """Measured poses of the tip, or of a marker on it, in the base or another frame."""
        q = self.q(count) if q is None else q
        T = (np.eye(4) if base is None else base) @ self.poses(q) @ (np.eye(4) if tool is None else tool)
        turn = Rotation.from_rotvec(ANGLE * self.rng.normal(size=(len(q), 3))).as_matrix()
        position = T[:, :3, 3] + POSITION * self.rng.normal(size=(len(q), 3))
        rotation = T[:, :3, :3] @ turn if rotations else None
        known = [None if name in unknown else np.eye(4) for name in ("base", "tool")]
        return TipPoses(q, self.link, 0.0, position, rotation, *known, POSITION, ANGLE)

    def held(self, what: str, make: Make, values: Mapping[str, np.ndarray], count: int) -> np.ndarray:
        """Readings (count, dof) at which constraints hold but for their noise.

        The first call of a name searches from random readings, later ones from within 0.3 rad of what it found.
        """
        lower, upper = self.robot.lower.numpy(), self.robot.upper.numpy()
        found = np.zeros((0, self.robot.dof))
        while len(found) < count:
            q = self._seeds(what, count)
            for _ in range(STEPS):
                residual, J, _ = self._constraints(make(q), values)
                q = q - _least_step(J, residual)
            residual, J, noise = self._constraints(make(q), values)
            good = (np.abs(residual) < 1e-6).all(1) & (q > lower).all(1) & (q < upper).all(1)
            error = noise * self.rng.normal(size=noise.shape)
            found = np.concatenate([found, (q + _least_step(J, error))[good]])
        self._found.setdefault(what, found)
        return found[self.rng.permutation(len(found))[:count]]

    def _seeds(self, what: str, count: int) -> np.ndarray:
        if what not in self._found:
            return self.q(max(8 * count, FEWEST_DRAWN))
        known = self._found[what]
        chosen = known[self.rng.integers(len(known), size=4 * count)]
        return chosen + 0.3 * self.rng.uniform(-1, 1, chosen.shape)

    def _constraints(
        self, made: Sequence[LinkMeasurement], values: Mapping[str, np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        parts = [one.linearise(self.model, self.beta, values) for one in made]
        noise = np.concatenate([one.noise for one in made], 1)
        return (
            np.concatenate([p.residual for p in parts], 1),
            np.concatenate([p.joints for p in parts], 1),
            noise,
        )

    def sockets(self, places: Mapping[str, Sequence[float]], count: int = 20) -> Sockets:
        """A ball in sockets, whose true places are given by name."""
        share = [count // len(places) + (i < count % len(places)) for i in range(len(places))]
        found = []
        for (name, place), number in zip(places.items(), share, strict=True):
            values = {"ball": BALL, f"socket {name}": np.array(place)}
            found.append(self.held(name, lambda q, name=name: [self._ball(q, name)], values, number))
        return replace(self._ball(np.concatenate(found), ""), labels=np.repeat(list(places), share))

    def _ball(self, q: np.ndarray, name: str) -> Sockets:
        return Sockets(q, self.link, 0.0, np.full(len(q), name), None, POSITION)

    def plane(self, height: float, count: int = 20) -> Plane:
        """The tip on a level plane, whose tilt and height are unknown."""
        values = {"tilt of the plane": np.zeros(3), "height of the plane": np.array([height])}
        q = self.held("plane", lambda q: [Plane(q, self.link, 0.0, noise_m=POSITION)], values, count)
        return Plane(q, self.link, 0.0, noise_m=POSITION)

    def demonstrations(self, height: float, count: int) -> list[LinkMeasurement]:
        """An upright tool, which in half of the configurations stands on a level table of unknown height."""
        axis = self.robot_axis()
        level, down = np.array([0.0, 0.0, 1.0]), np.array([0.0, 0.0, -1.0])

        def upright(q: np.ndarray) -> Upright:
            return Upright(q, self.link, 0.0, axis, down, ANGLE)

        def table(q: np.ndarray) -> Plane:
            return Plane(q, self.link, 0.0, normal=level, noise_m=POSITION)

        values = {"height of the plane": np.array([height])}
        free = self._pointing("upright", lambda q: [upright(q)], values, count - count // 2, axis)
        standing = self._pointing("standing", lambda q: [upright(q), table(q)], values, count // 2, axis)
        return [upright(np.concatenate([free, standing])), table(standing)]

    def robot_axis(self) -> np.ndarray:
        """The axis of the tip along the tool: z, but for the SO-101, whose gripper points along x."""
        return np.array([1.0, 0.0, 0.0] if self.robot.name == "so101" else [0.0, 0.0, 1.0])

    def _pointing(
        self, what: str, make: Make, values: Mapping[str, np.ndarray], count: int, axis: np.ndarray
    ) -> np.ndarray:
        """Configurations in which the axis points down, not up."""
        q = np.zeros((0, self.robot.dof))
        while len(q) < count:
            more = self.held(what, make, values, count)
            q = np.concatenate([q, more[(self.poses(more)[:, :3, :3] @ axis)[:, 2] < 0]])
        return q[:count]


def _least_step(J: np.ndarray, residual: np.ndarray) -> np.ndarray:
    """The smallest change of the joints (n, dof) that changes residuals (n, m) by the given amounts."""
    pull = np.linalg.solve(J @ np.swapaxes(J, 1, 2) + 1e-9 * np.eye(J.shape[1]), residual[..., None])
    return np.einsum("nmd,nm->nd", J, pull[..., 0])
