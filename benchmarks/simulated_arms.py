"""Simulated arms with known errors, and what is measured of them; the tests of `ikp.calibration` use them too."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.spatial.transform import Rotation

import ikp
from ikp.calibration import ArmModel, Plane, Sockets, TipPoses

POSITION, ANGLE = 1e-4, math.radians(0.05)
BALL = np.array([0.01, -0.02, 0.08])


class TrueArm:
    """An arm whose joints are off by up to 5 degrees."""

    def __init__(self, name="ur5e", seed=0, terms=("offset",)):
        self.robot = ikp.load_robot(name)
        self.model = ArmModel(self.robot, terms)
        self.rng = np.random.default_rng(seed)
        self.beta = self.model.sigma * self.rng.uniform(-0.5, 0.5, self.model.size)
        self.link = self.robot.tip_names[0]

    def q(self, count):
        """Joint positions as they are read; UR's turn twice, so half of the range is enough."""
        generator = torch.Generator().manual_seed(int(self.rng.integers(2**31)))
        return 0.5 * self.robot.random_q((count,), generator=generator).numpy()

    def poses(self, q):
        return self.model.poses(q, self.beta, self.link)[0]

    def tip_poses(self, count=20, rotations=True, base=None, tool=None, unknown=(), q=None):
        q = self.q(count) if q is None else q
        T = (np.eye(4) if base is None else base) @ self.poses(q) @ (np.eye(4) if tool is None else tool)
        turn = Rotation.from_rotvec(ANGLE * self.rng.normal(size=(len(q), 3))).as_matrix()
        position = T[:, :3, 3] + POSITION * self.rng.normal(size=(len(q), 3))
        rotation = T[:, :3, :3] @ turn if rotations else None
        known = [None if name in unknown else np.eye(4) for name in ("base", "tool")]
        return TipPoses(q, self.link, 0.0, position, rotation, *known, POSITION, ANGLE)

    def held(self, make, values, count=20):
        """Readings at which a measurement's residuals are as large as its noise, and not larger."""
        q = self.q(40 * count)
        for _ in range(30):
            one = make(q).linearise(self.model, self.beta, values)
            J = one.joints
            step = np.linalg.solve(
                J @ np.swapaxes(J, 1, 2) + 1e-9 * np.eye(J.shape[1]), one.residual[..., None]
            )
            q = q - np.einsum("nmd,nm->nd", J, step[..., 0])
        one = make(q).linearise(self.model, self.beta, values)
        lower, upper = self.robot.lower.numpy(), self.robot.upper.numpy()
        good = (np.abs(one.residual) < 1e-6).all(1) & (q > lower).all(1) & (q < upper).all(1)
        chosen = np.flatnonzero(good)[:count]
        assert len(chosen) == count
        q, J = q[chosen], one.joints[chosen]
        error = make(q).noise[:, :, None] * self.rng.normal(size=(*J.shape[:2], 1))
        return q + np.einsum(
            "nmd,nm->nd", J, np.linalg.solve(J @ np.swapaxes(J, 1, 2), error)[..., 0]
        ), chosen

    def sockets(self, places, count=20):
        """A ball in sockets: by name their true place."""
        names = np.array(sorted(places))
        values = {"ball": BALL, **{f"socket {name}": np.array(places[name]) for name in names}}

        def labels(rows):
            return names[np.arange(rows) % len(names)]

        q, chosen = self.held(
            lambda q: Sockets(q, self.link, 0.0, labels(len(q)), None, POSITION), values, count
        )
        return Sockets(q, self.link, 0.0, names[chosen % len(names)], None, POSITION)

    def plane(self, height, count=20):
        values = {"tilt of the plane": np.zeros(3), "height of the plane": np.array([height])}
        q, _ = self.held(lambda q: Plane(q, self.link, 0.0, noise_m=POSITION), values, count)
        return Plane(q, self.link, 0.0, noise_m=POSITION)
