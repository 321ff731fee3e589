"""How well simulated arms are calibrated: errors, honesty of the intervals, and the test whether a calibration holds.

python benchmarks/calibration.py [--draws 20] [--robots ur5e iiwa14 so101] [--kinds poses ...] [--results FOLDER]

Offsets are uniform within 5 degrees; lengths are measured with 0.1 mm and angles with 0.05 degrees of noise (standard
deviations per axis). Every arm of every kind of measurement is one record; one that exists is not measured again.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ikp.calibration import Calibration, LinkMeasurement, Measurement, SocketDistances, calibrate, verify
from ikp.files import write_json
from ikp.provenance import provenance
from simulated_arms import TrueArm

ROBOTS = ("ur5e", "iiwa14", "so101")
SOCKETS = {
    "ur5e": ((-0.45, -0.2, 0.15), 0.2),
    "iiwa14": ((0.5, 0.1, 0.3), 0.2),
    "so101": ((0.25, 0.0, 0.05), 0.08),
}
"""The first socket in the base frame, and the way along y to the second [m]."""
HEIGHT = 0.05
DRIFT = math.radians(0.5)
CHECKED = 5
UNSEEN = 200
Measured = Sequence[Measurement]


def sockets(arm: TrueArm, count: int) -> Measured:
    """A ball in two sockets with a known distance."""
    place, way = SOCKETS[arm.robot.name]
    places = {"a": place, "b": (place[0], place[1] + way, place[2])}
    return [arm.sockets(places, count), SocketDistances({("a", "b"): way}, 2e-5)]


def point(arm: TrueArm, count: int) -> Measured:
    """One held point."""
    return [arm.sockets({"point": SOCKETS[arm.robot.name][0]}, count)]


KINDS: Mapping[str, tuple[int, Callable[[TrueArm, int], Measured]]] = {
    "poses": (30, lambda arm, n: [arm.tip_poses(n)]),
    "positions": (30, lambda arm, n: [arm.tip_poses(n, rotations=False)]),
    "poses-base-unknown": (30, lambda arm, n: [arm.tip_poses(n, unknown=("base",))]),
    "poses-noisy-joints": (60, lambda arm, n: [noisy_joints(arm, arm.tip_poses(n))]),
    "sockets": (40, sockets),
    "point": (40, point),
    "plane": (60, lambda arm, n: [arm.plane(HEIGHT, n)]),
    "demonstrations": (60, lambda arm, n: arm.demonstrations(HEIGHT, n)),
}
"""By kind of measurement the number of configurations, and how they are measured."""


def noisy_joints(arm: TrueArm, measured: LinkMeasurement) -> LinkMeasurement:
    """The same with 0.05 degrees of noise on the joint readings, as is stated."""
    noise = math.radians(0.05)
    return replace(measured, q=measured.q + noise * arm.rng.normal(size=measured.q.shape), joint_noise=noise)


def tip_errors(arm: TrueArm, found: Calibration) -> dict[str, float]:
    """Root mean square distance [m] of the modelled from the true tip at new readings, before and after.

    `aligned` is what is left when the base is moved so that the tips fit best: measurements without a known base cannot
    show it.
    """
    q = arm.q(UNSEEN)
    true = arm.poses(q)[:, :3, 3]
    made = {}
    for when, beta in (("before", np.zeros(arm.model.size)), ("after", found.fit.beta)):
        modelled = arm.model.poses(q, beta, arm.link)[0][:, :3, 3]
        made[when] = _rms(modelled - true)
        made[f"{when}_aligned"] = _rms(_aligned(modelled, true) - true)
    return made


def _rms(way: np.ndarray) -> float:
    return float(np.sqrt((way**2).sum(1).mean()))


def _aligned(points: np.ndarray, target: np.ndarray) -> np.ndarray:
    a, b = points - points.mean(0), target - target.mean(0)
    U, _, Vt = np.linalg.svd(b.T @ a)
    R = U @ np.diag([1.0, 1.0, np.linalg.det(U @ Vt)]) @ Vt
    return a @ R.T + target.mean(0)


def checks(arm: TrueArm, found: Calibration, measure: Callable[[TrueArm, int], Measured]) -> dict[str, Any]:
    """Tests with five configurations: twice without drift, and once with each identified joint drifted."""

    def outcome() -> Any:
        new = [
            replace(one, q=one.q + found.q_offset) if isinstance(one, LinkMeasurement) else one
            for one in measure(arm, CHECKED)
        ]
        return verify(arm.robot, new, found.covariance)

    alarms = [not outcome().holds for _ in range(2)]
    drifts = []
    for index, one in enumerate(found.parameters):
        if one.identified:
            arm.beta[index] += DRIFT
            seen = outcome()
            arm.beta[index] -= DRIFT
            named = bool(seen.suspects) and seen.suspects[0].joint == one.joint
            drifts.append({"joint": one.joint, "found": not seen.holds, "named": named})
    return {"alarms": alarms, "drifts": drifts}


def draw(robot: str, kind: str, seed: int) -> dict[str, Any]:
    """One arm: calibrated, compared with the truth, and tested."""
    arm = TrueArm(robot, seed)
    count, measure = KINDS[kind]
    found = calibrate(arm.robot, measure(arm, count), complete=kind != "demonstrations")
    parameters = [
        {
            "joint": one.joint,
            "identified": one.identified,
            "error_deg": math.degrees(one.value - true),
            "sigma_deg": math.degrees(one.sigma),
        }
        for one, true in zip(found.parameters, arm.beta, strict=True)
    ]
    return {
        "seed": seed,
        "parameters": parameters,
        "tip_m": tip_errors(arm, found),
        **checks(arm, found, measure),
    }


def summary(draws: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Figures over all draws."""
    identified = [one for each in draws for one in each["parameters"] if one["identified"]]
    errors = np.array([one["error_deg"] for one in identified])
    sigma = np.array([one["sigma_deg"] for one in identified])
    drifts = [one for each in draws for one in each["drifts"]]
    by_joint = {
        name: float(np.mean([one["found"] for one in drifts if one["joint"] == name]))
        for name in dict.fromkeys(one["joint"] for one in drifts)
    }
    alarms = [alarm for each in draws for alarm in each["alarms"]]
    counts = {one["joint"]: 0 for each in draws for one in each["parameters"]}
    for one in identified:
        counts[one["joint"]] += 1
    return {
        "identified": counts,
        "offset_error_deg": {
            "root_mean_square": float(np.sqrt((errors**2).mean())),
            "largest": float(np.abs(errors).max()),
            "within_0.05_deg": float((np.abs(errors) < 0.05).mean()),
        },
        "covered_by_95_percent_interval": float((np.abs(errors) < 1.96 * sigma).mean()),
        "parameters": len(errors),
        "tip_mm": {
            key: 1000 * float(np.mean([each["tip_m"][key] for each in draws])) for key in draws[0]["tip_m"]
        },
        "false_alarms": [sum(alarms), len(alarms)],
        "drift_found": [sum(one["found"] for one in drifts), len(drifts)],
        "drift_named": [sum(one["named"] for one in drifts), len(drifts)],
        "drift_found_by_joint": by_joint,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--robots", nargs="+", choices=ROBOTS, default=ROBOTS)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=tuple(KINDS))
    parser.add_argument("--results", type=Path, default=Path("results/calibration"))
    chosen = parser.parse_args()
    for robot in chosen.robots:
        for kind in chosen.kinds:
            path = chosen.results / f"{robot}-{kind}.json"
            if path.exists():
                continue
            draws = [draw(robot, kind, seed) for seed in tqdm(range(chosen.draws), f"{robot}, {kind}")]
            settings = {"robot": robot, "kind": kind, "configurations": KINDS[kind][0], "draws": chosen.draws}
            record = {
                **settings,
                "summary": summary(draws),
                "draws_of_arms": draws,
                "provenance": provenance(),
            }
            print(write_json(path, record), record["summary"])


if __name__ == "__main__":
    main()
