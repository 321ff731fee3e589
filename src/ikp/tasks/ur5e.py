"""Masses, shapes and joint drives of a Universal Robots UR5e; its kinematics are in `ikp.kinematics.builtin`."""

from __future__ import annotations

from ikp.tasks.arms import CAP, HOUSING, TUBE, Drive, LinkBody, Shape


def _ur_drive(kp: float, kv: float, torque: float, armature: float) -> Drive:
    return Drive(kp=kp, kv=kv, torque=torque, armature=armature, damping=0.5)


# The gains damp every joint near critically for its inertia over the workspace (pan 1.8, lift 2.6, elbow 1.5, wrists
# 0.16 kg m^2), so that the tip follows targets at 10 Hz within a millimetre.
_PAN = _ur_drive(kp=8000, kv=240, torque=150, armature=0.6)
_LIFT = _ur_drive(kp=8000, kv=290, torque=150, armature=0.6)
_ELBOW = _ur_drive(kp=8000, kv=220, torque=150, armature=0.6)
_WRIST = _ur_drive(kp=2000, kv=36, torque=28, armature=0.15)

# UR5e: masses and torque limits as published by Universal Robots; shapes follow the real arm's outline. Every
# joint turns about its link's z; the upper arm's tube runs 138 mm beside its joint, the forearm's 7 mm.
UR5E_BODIES: dict[str, LinkBody] = {
    "base": LinkBody(
        (
            Shape((0, 0, 0), (0, 0, 0.025), 0.085, HOUSING),
            Shape((0, 0, 0.025), (0, 0, 0.092), 0.068),
            Shape((0, 0, 0.092), (0, 0, 0.100), 0.058, HOUSING),
        ),
        mass=4.0,
    ),
    "shoulder": LinkBody(
        (
            Shape((0, 0, -0.064), (0, 0, 0.052), 0.062),
            Shape((0, 0.076, 0), (0, -0.066, 0), 0.060),
            Shape((0, -0.066, 0), (0, -0.074, 0), 0.058, HOUSING),
            Shape((0, 0.090, 0), (0, 0.076, 0), 0.054, CAP),
        ),
        3.761, _PAN,
    ),
    "upper_arm": LinkBody(
        (
            Shape((0, 0, 0.072), (0, 0, 0.190), 0.060),
            Shape((0, 0, 0.190), (0, 0, 0.205), 0.054, CAP),
            Shape((0, 0, 0.138), (-0.425, 0, 0.138), 0.043, TUBE, "capsule"),
            Shape((-0.425, 0, 0.070), (-0.425, 0, 0.190), 0.054),
            Shape((-0.425, 0, 0.060), (-0.425, 0, 0.070), 0.049, HOUSING),
            Shape((-0.425, 0, 0.190), (-0.425, 0, 0.203), 0.048, CAP),
        ),
        8.058, _LIFT,
    ),
    "forearm": LinkBody(
        (
            Shape((0, 0, 0.062), (0, 0, -0.050), 0.050),
            Shape((0, 0, -0.050), (0, 0, -0.062), 0.044, CAP),
            Shape((0, 0, 0.007), (-0.3922, 0, 0.007), 0.036, TUBE, "capsule"),
            Shape((-0.3922, 0, -0.035), (-0.3922, 0, 0.076), 0.042),
            Shape((-0.3922, 0, 0.076), (-0.3922, 0, 0.084), 0.040, HOUSING),
            Shape((-0.3922, 0, -0.047), (-0.3922, 0, -0.035), 0.036, CAP),
        ),
        2.846, _ELBOW,
    ),
    "wrist_1": LinkBody(
        (
            Shape((0, 0, -0.051), (0, 0, 0.042), 0.042),
            Shape((0, 0, 0.042), (0, 0, 0.054), 0.036, CAP),
            Shape((0, -0.046, 0), (0, 0, 0), 0.037),
            Shape((0, -0.053, 0), (0, -0.046, 0), 0.035, HOUSING),
        ),
        1.37, _WRIST,
    ),
    "wrist_2": LinkBody(
        (
            Shape((0, 0, -0.048), (0, 0, 0.042), 0.041),
            Shape((0, 0, 0.042), (0, 0, 0.054), 0.035, CAP),
            Shape((0, 0.050, 0), (0, 0, 0), 0.036),
        ),
        1.3, _WRIST,
    ),
    "wrist_3": LinkBody((Shape((0, 0, -0.050), (0, 0, 0), 0.034, HOUSING),), 0.365, _WRIST),
}  # fmt: skip
