"""Masses, shapes and joint drives of a KUKA LBR iiwa 14; its kinematics are in `ikp.kinematics.builtin`."""

from __future__ import annotations

from ikp.tasks.arms import CAP, Drive, LinkBody, Shape

SILVER, ORANGE = (0.78, 0.79, 0.80, 1.0), (0.93, 0.45, 0.10, 1.0)


def _drive(kp: float, kv: float, torque: float) -> Drive:
    # The large rotor inertia replaces joint elasticity: without either, stiff position gains chatter in contact.
    return Drive(kp=kp, kv=kv, torque=torque, armature=2.0, damping=0.5)


# The torque limits are KUKA's continuous ratings; the gains damp every joint near critically.
_SHOULDER, _ARM = _drive(kp=4000, kv=220, torque=176), _drive(kp=4000, kv=200, torque=110)
_FOREARM, _WRIST = _drive(kp=2400, kv=140, torque=110), _drive(kp=2400, kv=140, torque=40)

# The masses come from published open models. The shapes follow the real arm's outline: housings around the joints that
# swing, sleeves between them. The arm runs along -y in the frames of links 2 and 6, along +y in that of link 4, along z
# in the others.
_LINKS: tuple[LinkBody, ...] = (
    LinkBody(
        (
            Shape((0, 0, -0.05), (0, 0, 0.115), 0.070, SILVER),
            Shape((0, 0, 0.110), (0, 0, 0.2025), 0.078, SILVER, "capsule"),
        ),
        5.76, _SHOULDER,
    ),
    LinkBody(
        (
            Shape((0, 0, -0.082), (0, 0, 0.082), 0.066, SILVER),
            Shape((0, 0, -0.088), (0, 0, 0.088), 0.050, ORANGE),
            Shape((0, -0.02, 0), (0, -0.150, 0), 0.066, SILVER),
        ),
        6.35, _SHOULDER,
    ),
    LinkBody(
        (
            Shape((0, 0, -0.055), (0, 0, -0.045), 0.062, CAP),
            Shape((0, 0, -0.045), (0, 0, 0.2155), 0.066, SILVER, "capsule"),
        ),
        3.5, _ARM,
    ),
    LinkBody(
        (
            Shape((0, 0, -0.078), (0, 0, 0.078), 0.064, SILVER),
            Shape((0, 0, -0.084), (0, 0, 0.084), 0.048, ORANGE),
            Shape((0, 0.02, 0), (0, 0.135, 0), 0.062, SILVER),
        ),
        3.5, _ARM,
    ),
    LinkBody(
        (
            Shape((0, 0, -0.050), (0, 0, -0.040), 0.056, CAP),
            Shape((0, 0, -0.040), (0, 0, 0.150), 0.058, SILVER, "capsule"),
        ),
        3.5, _FOREARM,
    ),
    LinkBody(
        (
            Shape((0, 0, -0.070), (0, 0, 0.070), 0.056, SILVER),
            Shape((0, 0, -0.075), (0, 0, 0.075), 0.042, ORANGE),
        ),
        1.8, _WRIST,
    ),
    LinkBody(
        (
            Shape((0, 0, -0.025), (0, 0, 0.030), 0.045, SILVER),
            Shape((0, 0, 0.030), (0, 0, 0.045), 0.032, CAP),
        ),
        1.2, _WRIST,
    ),
)  # fmt: skip
_BASE = LinkBody(
    (
        Shape((0, 0, 0), (0, 0, 0.060), 0.110, CAP),
        Shape((0, 0, 0.060), (0, 0, 0.105), 0.080, SILVER),
    ),
    5.0,
)


def iiwa14_bodies(prefix: str) -> dict[str, LinkBody]:
    """The bodies of one arm by link name, each with `prefix` in front (`left_base`, `left_link_1` ...)."""
    links = {f"{prefix}link_{number}": body for number, body in enumerate(_LINKS, start=1)}
    return {f"{prefix}base": _BASE, **links}
