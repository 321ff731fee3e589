"""Checks between a policy and an arm: measured joints in the right unit, targets that are finite and within limits."""

from __future__ import annotations

import warnings

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ikp.joint_map.units import SLACK
from ikp.kinematics import Robot

REFUSED = 15.0
"""Excess of a measured joint over its limits that is refused, as a multiple of `SLACK`: its unit is wrong."""


OF_AN_ARM = (
    "Give them as the policy's data were recorded, from which its joint map makes these numbers, or load the policy "
    "with the joint map of this arm: ikp.load_policy(path, joint_map=FILE)"
)
OF_DATA = "Load the data for the robot: ikp.load_dataset(folder, robot=robot)"


class JointLimits(nn.Module):
    """Refuses measured joints in a wrong unit and keeps targets within the limits of the robot.

    Args:
        robot: gives the limits [rad or m].

    Attributes:
        margin: distance that targets keep from the limits [rad or m]; a controller may demand one.
    """

    lower: Tensor
    upper: Tensor
    slack: Tensor
    least: Tensor
    most: Tensor

    def __init__(self, robot: Robot) -> None:
        super().__init__()
        self.names = robot.joint_names
        slack = torch.tensor([SLACK[kind] for kind in robot.joint_types])
        lower, upper = robot.lower.float(), robot.upper.float()
        for name, value in (("lower", lower), ("upper", upper), ("slack", slack)):
            self.register_buffer(name, value, persistent=False)
        self.register_buffer("least", lower - slack, persistent=False)
        self.register_buffer("most", upper + slack, persistent=False)
        self.margin = 0.0
        self.reported: set[str] = set()

    def check_measured(
        self, q: Float[Tensor, "*batch joints"], what: str = "measured joints", fix: str = OF_AN_ARM
    ) -> None:
        """Refuse joints far beyond their limits, and warn once about joints beyond them.

        Args:
            q: measured joints [rad or m].
            what: their name in a message.
            fix: the end of the message where their unit must be wrong.

        Raises:
            ValueError: a joint is so far beyond its limits that its unit must be wrong.
        """
        if not ((q < self.least) | (q > self.most)).any():
            return
        rows = q.reshape(-1, q.shape[-1])
        excess = torch.maximum(self.lower - rows, rows - self.upper) / self.slack
        worst = int(excess.amax(0).argmax())
        value = float(rows[int(excess[:, worst].argmax()), worst])
        text = (
            f"{what}: {self.names[worst]!r} is {value:.4g}, its limits are {self.lower[worst]:.4g} to "
            f"{self.upper[worst]:.4g} [rad or m]"
        )
        if (excess > REFUSED).any():
            raise ValueError(f"{text}. Are they degrees, or in another order? {fix}")
        self._report("measured", f"{text}: check its zero (a joint map holds offsets)")

    def clamped(self, targets: Float[Tensor, "*batch joints"]) -> Float[Tensor, "*batch joints"]:
        """The targets within the limits; the first change is reported."""
        kept = targets.clamp(self.lower + self.margin, self.upper - self.margin)
        if "targets" not in self.reported and not torch.equal(kept, targets):
            worst = int((kept - targets).abs().flatten(0, -2).amax(0).argmax())
            self._report(
                "targets",
                f"the policy chose targets beyond the limits of joint {self.names[worst]!r}: targets are clamped to "
                "the robot's limits",
            )
        return kept

    def _report(self, kind: str, text: str) -> None:
        if kind not in self.reported:
            self.reported.add(kind)
            warnings.warn(text, stacklevel=4)
