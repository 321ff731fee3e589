"""Offsets of another arm from a trained policy: the ones under which it finds that arm's demonstrations most likely.

A policy was trained on arm A. Demonstrations of arm B, whose encoders have other zeros, look wrong to it: joints do
not fit the images, and actions lead elsewhere. Shifting the joints of state and action by the same offsets makes them
look right again, so the offsets are estimated by maximum likelihood, through the policy and its kinematics, with a
prior around zero. Offsets that the policy does not depend on stay at the prior and have its standard deviation.

The likelihood is that of the regression inside the policy (`Policy.regression`), with errors of heavy tails (Huber,
"Robust Estimation of a Location Parameter", 1964) whose size is estimated with the offsets. A policy errs alike along
one demonstration, so the standard deviations count each demonstration as one independent observation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor
from tqdm import tqdm

from ikp.data import Demonstrations
from ikp.joint_map import JOINT, JointMap
from ikp.joint_map.dimension import UNITS
from ikp.nets.modes import evaluation_mode
from ikp.policies import Policy
from ikp.policies.observation import EncodedImages
from ikp.policies.policy import batch_to
from ikp.spec import Batch, DataSpec

PRIOR = math.radians(5.0)
"""Standard deviation of an offset before any demonstration is seen [rad]."""
WEAK = 0.5
"""Share of the prior's standard deviation above which an offset counts as hardly seen."""
STARTS = 12
"""First guesses, the first at zero: some offsets make a wrong branch of the motion likely."""
_DIFFERENCE = 1e-3
_TAIL = 1.0  # standardised errors beyond it count linearly
_STEPS, _ROUNDS, _DONE, _STUCK = 30, 4, 1e-4, 1e6
_SPREAD = (1e-3, 1e3)
_SAME = 1e-3  # losses of one minimum differ by less
_IMAGES_AT_ONCE = 64


@dataclass(frozen=True, eq=False)
class PolicyCalibration:
    """Offsets between the arm of a policy and the arm of some demonstrations.

    Attributes:
        q_offset: (dof,) to add to the demonstrations' joints, as they were loaded [rad or m].
        sigma: (dof,) standard deviations of the offsets, the prior's for what the policy does not depend on.
        prior: standard deviation of an offset before [rad or m].
        demonstrations: number of demonstrations.
        before, after: mean negative log-likelihood of a frame, up to a constant, without and with the offsets.
        joint_map: joint map with which the policy drives the arm of the demonstrations.
    """

    q_offset: Float[Tensor, " dof"]
    sigma: Float[Tensor, " dof"]
    prior: float
    demonstrations: int
    before: float
    after: float
    joint_map: JointMap

    @property
    def offsets(self) -> list[float]:
        """(dof,) offsets of the joint map [rad or m]: what the demonstrations' own map adds, and `q_offset`."""
        entries = {d.joint: d for d in self.joint_map.action if d.role == JOINT}
        # the offset of a share of a joint's range is the range's lower end too
        return [
            found if UNITS[entries[joint].unit] is None else entries[joint].offset
            for joint, found in zip(self.joint_map.joints, self.q_offset.tolist(), strict=True)
        ]

    def to_json(self) -> dict[str, Any]:
        """The report as plain JSON values."""
        return {
            "joints": list(self.joint_map.joints),
            "offsets": self.offsets,
            "sigma": self.sigma.tolist(),
            "prior": self.prior,
            "demonstrations": self.demonstrations,
            "loss_before": self.before,
            "loss_after": self.after,
            "units": "rad, m",
        }

    def __str__(self) -> str:
        """A table with one line per joint."""
        rows = [("joint", "offset", "+- (95 %)")]
        joints = zip(self.joint_map.joints, self.offsets, self.sigma.tolist(), strict=True)
        units = {
            d.joint: 1000.0 if d.unit in ("m", "mm") else math.degrees(1.0) for d in self.joint_map.state
        }
        for name, offset, sigma in joints:
            factor = units[name]
            unit = "mm" if factor == 1000.0 else "deg"
            rows.append((name, f"{factor * offset:.2f} {unit}", f"{factor * 1.96 * sigma:.2f}"))
        title = f"offsets of the arm of {self.demonstrations} demonstrations, from the policy"
        lines = [f"{title}; the intervals leave out errors that it makes in all of them"]
        lines += [f"{name:24}{offset:>14}{interval:>12}" for name, offset, interval in rows]
        weak = [
            name
            for name, sigma in zip(self.joint_map.joints, self.sigma.tolist(), strict=True)
            if sigma > WEAK * self.prior
        ]
        if weak:
            lines.append(
                f"the policy hardly depends on {', '.join(weak)}: measure what matters of them (--poses), or train the "
                "policy longer, and look whether its own training data give offsets near zero"
            )
        return "\n".join(lines)


@dataclass(frozen=True, eq=False)
class _Fit:
    """Offsets (dof,), size of the errors (dims,), and loss."""

    offset: Tensor
    spread: Tensor
    loss: float

    def __lt__(self, other: _Fit) -> bool:
        return self.loss < other.loss


class _Likelihood:
    """Standardised errors of a policy's regression on demonstrations whose joints are shifted."""

    def __init__(
        self,
        policy: Policy,
        demonstrations: Demonstrations,
        frames: Int[Tensor, " frames"],
        *,
        progress: bool,
    ) -> None:
        self.policy, self.joints = policy, list(policy.spec.joint_dims)
        self.demonstrations = len(demonstrations.episode_index[frames].unique())
        device, options = policy.bounds.low.device, policy.batch_options
        pieces: list[tuple[Batch, EncodedImages]] = []
        few = frames.to(demonstrations.frame_index.device).split(_IMAGES_AT_ONCE)
        for rows in tqdm(few, desc="encoding images", unit="batch", disable=not progress):
            batch = batch_to(demonstrations.batch(rows, **options), device)
            encoded = policy.encode_images(batch)
            if policy.plane is None:  # nothing looks at the images again
                batch["images"] = {}
            pieces.append((batch, encoded))
        self.batch = cast(Batch, _joined([batch for batch, _ in pieces]))
        self.images = EncodedImages(**_joined([encoded._asdict() for _, encoded in pieces]))

    def errors(self, offset: Float[Tensor, " dof"]) -> Float[Tensor, "frames dims"]:
        """Errors of the regression, divided by the standard deviations that it predicts."""
        state, action = self.batch["state"].clone(), self.batch["action"].clone()
        state[..., self.joints] += offset
        action[..., self.joints] += offset
        shifted: Batch = {**self.batch, "state": state}
        context = self.policy.encode(shifted, self.images)
        near = self.policy.regression(context)
        assert near is not None
        demonstrated = self.policy.scale(self.policy.actions.encode(context.state, action))
        return (near.mean - demonstrated) / near.stddev

    def derivatives(
        self, offset: Float[Tensor, " dof"], errors: Float[Tensor, "frames dims"]
    ) -> Float[Tensor, "frames dims dof"]:
        """Finite differences of `errors`, which are given at the offsets."""
        steps = _DIFFERENCE * torch.eye(len(offset), device=offset.device)
        return torch.stack([self.errors(offset + step) - errors for step in steps], -1) / _DIFFERENCE


@torch.no_grad()
def calibrate_from_policy(
    policy: Policy,
    demonstrations: Demonstrations,
    episodes: Sequence[int] | None = None,
    *,
    prior: float = PRIOR,
    seed: int = 0,
    progress: bool = True,
) -> PolicyCalibration:
    """Estimate the offsets of an arm from a policy of another arm of the same model and a few demonstrations.

    Args:
        policy: policy with a robot and a regression: IKP, Implicit or Explicit, in joint space.
        demonstrations: demonstrations of the arm to calibrate, of a task that the policy knows.
        episodes: numbers of the demonstrations to use; all by default.
        prior: standard deviation of an offset before [rad or m].
        seed: of the further first guesses.
        progress: show progress bars.

    Raises:
        ValueError: the policy has no robot or no regression, the data differ from the policy's, there is no
            demonstration, or `prior` is not positive.
    """
    frames = _frames(demonstrations, episodes)
    _check(policy, demonstrations, prior)
    assert policy.robot is not None
    with evaluation_mode(policy):
        likelihood = _Likelihood(policy, demonstrations, frames, progress=progress)
        generator = torch.Generator().manual_seed(seed)
        guesses = prior * torch.randn(STARTS, len(likelihood.joints), generator=generator)
        guesses[0] = 0.0
        guesses = guesses.to(policy.bounds.low.device)
        found: list[_Fit] = []
        for guess in tqdm(guesses, desc="first guesses, at most", disable=not progress, leave=False):
            found.append(_fitted(likelihood, guess, prior))
            best = min(found)
            # two guesses lead to the best offsets
            if sum(one.loss < best.loss + _SAME for one in found) == 2:
                break
        best, own = min(found), _prior_information(likelihood, prior)
        information = (
            _normal_equations(likelihood, best.offset, best.spread)[1] + own
        ) * likelihood.demonstrations
        before = likelihood.errors(torch.zeros_like(best.offset)) / best.spread
        return PolicyCalibration(
            best.offset.cpu(),
            torch.linalg.inv(information).diagonal().sqrt().cpu(),
            prior,
            likelihood.demonstrations,
            _loss(before, best.spread),
            best.loss,
            demonstrations.spec.recorded_map(policy.robot).shifted(best.offset.tolist()),
        )


def _prior_information(likelihood: _Likelihood, prior: float) -> Float[Tensor, "dof dof"]:
    """Curvature of the prior beside that of the mean loss: every demonstration is one independent observation."""
    dof, device = len(likelihood.joints), likelihood.policy.bounds.low.device
    return torch.eye(dof, device=device) / (prior**2 * likelihood.demonstrations)


def _fitted(likelihood: _Likelihood, offset: Tensor, prior: float) -> _Fit:
    """The most probable offsets near a guess, by Levenberg-Marquardt in turns with the size of the errors."""
    own = _prior_information(likelihood, prior)

    def total(offset: Tensor, errors: Tensor) -> float:
        return _loss(errors, spread) + 0.5 * float(offset @ own @ offset)

    spread = _spread(likelihood.errors(offset))
    for _ in range(_ROUNDS):
        loss, damping, moved = total(offset, likelihood.errors(offset) / spread), 1e-3, math.inf
        for _ in range(_STEPS):
            gradient, curvature = _normal_equations(likelihood, offset, spread)
            gradient, curvature = gradient + own @ offset, curvature + own
            while damping < _STUCK:
                step = torch.linalg.solve(curvature + damping * curvature.diagonal().diag(), -gradient)
                tried = total(offset + step, likelihood.errors(offset + step) / spread)
                if tried <= loss:
                    offset, loss, moved = offset + step, tried, float(step.abs().max())
                    damping = max(damping / 5, 1e-6)
                    break
                damping *= 5
            if damping >= _STUCK or moved < _DONE:
                break
        spread = _spread(likelihood.errors(offset))
    return _Fit(offset, spread, total(offset, likelihood.errors(offset) / spread))


def _normal_equations(
    likelihood: _Likelihood, offset: Tensor, spread: Tensor
) -> tuple[Float[Tensor, " dof"], Float[Tensor, "dof dof"]]:
    """Gradient and curvature of the mean loss of the frames."""
    errors = likelihood.errors(offset)
    slope = likelihood.derivatives(offset, errors) / spread[:, None]
    errors = errors / spread
    weight = 1 / errors.abs().clamp_min(_TAIL)
    gradient = torch.einsum("nik,ni,ni->k", slope, weight, errors)
    return gradient / len(errors), torch.einsum("nik,ni,nil->kl", slope, weight, slope) / len(errors)


def _loss(errors: Float[Tensor, "frames dims"], spread: Float[Tensor, " dims"]) -> float:
    """Mean negative log-likelihood of a frame, of errors in units of their size."""
    size = errors.abs()
    huber = torch.where(size < _TAIL, 0.5 * size**2, _TAIL * (size - 0.5 * _TAIL))
    return float((huber + spread.log()).sum(-1).mean())


def _spread(errors: Float[Tensor, "frames dims"]) -> Float[Tensor, " dims"]:
    """Size of the errors by their median, 1 / 1.4826 of the standard deviation of a normal distribution."""
    return (1.4826 * errors.abs().median(0).values).clamp(*_SPREAD)


def _frames(demonstrations: Demonstrations, episodes: Sequence[int] | None) -> Int[Tensor, " frames"]:
    bounds = demonstrations.episode_bounds.tolist()
    chosen = range(len(bounds)) if episodes is None else episodes
    wrong = [number for number in chosen if not 0 <= number < len(bounds)]
    if wrong or not chosen:
        given = f"the demonstrations {wrong}" if wrong else "no demonstration"
        raise ValueError(f"episodes has {given}: choose from 0 to {len(bounds) - 1}")
    return torch.cat([torch.arange(*bounds[number]) for number in chosen])


def _check(policy: Policy, demonstrations: Demonstrations, prior: float) -> None:
    if not 0 < prior < math.inf:
        raise ValueError(f"prior is {prior}: give a positive standard deviation [rad or m]")
    if policy.robot is None or policy.config.action_space in ("raw", "cartesian"):
        raise ValueError(
            f"the policy's action space is {policy.config.action_space!r}: offsets are found with a policy that "
            "chooses joints (ikp, implicit-joint, explicit or explicit-fk)"
        )
    _check_layout(policy.spec, demonstrations.spec)
    with torch.no_grad():
        batch = demonstrations.batch(torch.zeros(1, dtype=torch.long), **policy.batch_options)
        context = policy.encode(batch_to(policy.encoder.check(batch), policy.bounds.low.device))
    if policy.regression(context) is None:
        raise ValueError(
            f"the policy ({policy.config.kind}) has no regression to compare demonstrations with: use ikp, "
            "implicit-joint, explicit or explicit-fk with its default proposal"
        )


def _check_layout(own: DataSpec, other: DataSpec) -> None:
    """Refuse demonstrations whose joint map leads to other dimensions than the policy's."""
    grippers = {"action": "discrete_dims", "state": "measured_discrete_dims"}
    for what, held in grippers.items():
        known, given = getattr(own, f"{what}_names"), getattr(other, f"{what}_names")
        same = all(getattr(own, key) == getattr(other, key) for key in ("joint_dims", held))
        if len(known) != len(given) or not same:
            raise ValueError(
                f"the demonstrations have the {what} {list(given)}, the policy knows {list(known)}: store the joint "
                "map of these data with the options of the policy's training (`ikp data check FOLDER --ignore ... "
                "--gripper ... --store`), or give it (--joint-map FILE)"
            )


def _joined(pieces: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Nested dictionaries of tensors, the rows of one after those of the other; None stays None."""
    made: dict[str, Any] = {}
    for key, value in pieces[0].items():
        parts = [piece[key] for piece in pieces]
        if value is None:
            made[key] = None
        else:
            made[key] = _joined(parts) if isinstance(value, Mapping) else torch.cat(parts)
    return made
