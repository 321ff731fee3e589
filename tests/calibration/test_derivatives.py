"""Every derivative that the solver sees, against finite differences, away from the nominal arm."""

import numpy as np
import pytest

from ikp.calibration import Plane, Problem, SocketDistances, Sockets, Upright
from simulated_arms import TrueArm

TERMS = ("offset", "scale", "drift", "links")
LABELS = np.array(["a", "b", "a", "b"])


def measurements(arm, kind):
    q = arm.q(4)
    made = {
        "poses": [arm.tip_poses(q=q)],
        "poses, base and tool unknown": [arm.tip_poses(q=q, unknown=("base", "tool"))],
        "positions, base and tool unknown": [arm.tip_poses(q=q, rotations=False, unknown=("base", "tool"))],
        "sockets": [Sockets(q, arm.link, 0.0, LABELS), SocketDistances({("a", "b"): 0.2})],
        "plane": [Plane(q, arm.link, 0.0)],
        "plane, point unknown": [Plane(q, arm.link, 0.0, point=None)],
        "upright": [Upright(q, arm.link, 0.0)],
    }
    return made[kind]


@pytest.mark.parametrize("name", ["ur5e", "so101"])
@pytest.mark.parametrize(
    "kind",
    [
        "poses",
        "poses, base and tool unknown",
        "positions, base and tool unknown",
        "sockets",
        "plane",
        "plane, point unknown",
        "upright",
    ],
)
def test_derivatives_are_those_of_finite_differences(name, kind):
    arm = TrueArm(name, terms=TERMS)
    problem = Problem(arm.model, measurements(arm, kind))
    rng = np.random.default_rng(1)
    x = np.concatenate([arm.beta, 0.3 * rng.normal(size=problem.size - arm.model.size)])
    step = 1e-6
    exact = [problem.jacobian(one) for one in problem.linearise(x)]
    for _ in range(4):
        way = rng.normal(size=problem.size)
        more, less = problem.linearise(x + step * way), problem.linearise(x - step * way)
        for J, a, b in zip(exact, more, less, strict=True):
            np.testing.assert_allclose(J @ way, (a.residual - b.residual) / (2 * step), atol=2e-8)


def test_derivatives_by_the_joints_are_those_of_finite_differences():
    arm = TrueArm("iiwa14", terms=("offset", "links"))
    poses = arm.tip_poses(3)
    exact = poses.linearise(arm.model, arm.beta, {}).joints
    for joint in range(arm.robot.dof):
        change = 1e-6 * (np.arange(arm.robot.dof) == joint)
        rows = np.arange(len(poses.q))
        a, b = (
            poses.at(poses.q + c, rows).linearise(arm.model, arm.beta, {}).residual for c in (change, -change)
        )
        np.testing.assert_allclose(exact[..., joint], (a - b) / 2e-6, atol=1e-8)
