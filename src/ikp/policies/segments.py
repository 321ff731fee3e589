"""Segments: the motion to a way-point from the way-point before, which is where its energies start.

An implicit policy decides one way-point after another by the same energies. They see the observation, which way-point
it is, and where the segment starts, in joint space and as the pose of every link; the candidates are steps from there.
So the cost is linear in the number of way-points, and the energies of a single way-point are a special case.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.distributions import Normal
from torch.nn import functional as F

from ikp.policies.energy import Conditioning
from ikp.policies.normalizer import Bounds, Scaling, Standardizer


@dataclass(frozen=True)
class Segment:
    """One segment for each row of a batch, or a single way-point.

    Attributes:
        conditioning: conditioning of the energies, whose actions are steps.
        low, high: bounds of the steps.
        near: the regression inside the policy, for standardised steps; None without one.
    """

    conditioning: Conditioning
    low: Float[Tensor, "*batch dims"]
    high: Float[Tensor, "*batch dims"]
    near: Normal | None


class SegmentScales(nn.Module):
    """Scales of the steps of every segment, and of the way-points at which they start.

    Args:
        count: number of way-points.
        dims: dimensions of one encoded way-point.
    """

    def __init__(self, count: int, dims: int) -> None:
        super().__init__()
        self.count, self.dims = count, dims
        self.scale, self.bounds = Standardizer(count * dims), Bounds(count * dims)

    @property
    def features(self) -> int:
        """Number of features that say which segment it is and where it starts, without link poses."""
        return self.count + self.dims

    def fit(self, encoded: Float[Tensor, "frames dims"]) -> None:
        """Set the scales from demonstrated way-points, relative to the measured state."""
        steps = encoded.clone()
        steps[:, self.dims :] -= encoded[:, : -self.dims]
        self.scale.fit(steps)
        self.bounds.fit(steps)

    def of(self, k: Int[Tensor, " batch"] | int) -> tuple[Scaling, Tensor, Tensor]:
        """Scale and bounds of the steps of segment k, from 0 on."""
        mean, std, low, high = (
            each.view(self.count, self.dims)[k]
            for each in (self.scale.mean, self.scale.std, self.bounds.low, self.bounds.high)
        )
        return Scaling(mean, std), low, high

    def ends(
        self, k: Int[Tensor, " batch"], encoded: Float[Tensor, "batch dims"]
    ) -> tuple[Float[Tensor, "batch step"], Float[Tensor, "batch step"]]:
        """Start and end of segment k of each row, relative to the measured state."""
        way_points = F.pad(encoded, (self.dims, 0)).view(len(encoded), self.count + 1, self.dims)
        rows = torch.arange(len(encoded), device=encoded.device)
        return way_points[rows, k], way_points[rows, k + 1]

    def start_features(
        self, k: Int[Tensor, " batch"] | int, start: Float[Tensor, "batch dims"], scale: Standardizer
    ) -> Float[Tensor, "batch features"]:
        """Which segment it is, and its start.

        Args:
            k: the segments.
            start: encoded way-points at which they start, relative to the measured state.
            scale: scale of the encoded way-points.
        """
        index = torch.as_tensor(k, device=start.device).expand(len(start))
        spread = scale.std.view(self.count, self.dims).amax(0)
        return torch.cat([F.one_hot(index, self.count).to(start), start / spread], -1)

    def near(
        self,
        k: Int[Tensor, " batch"] | int,
        start: Float[Tensor, "batch dims"],
        regression: Normal,
        scale: Standardizer,
    ) -> Normal:
        """The regression of all way-points as one of the standardised step to way-point k from its start."""
        rows = torch.arange(len(start), device=start.device)
        mean, std = (
            each.view(len(start), self.count, self.dims)[rows, k]
            for each in (regression.mean * scale.std + scale.mean, regression.stddev * scale.std)
        )
        steps, *_ = self.of(k)
        return Normal(steps(mean - start), std / steps.std, validate_args=False)
