"""The implicit policy: the action of least energy (paper, Sec. III-B and IV-B).

Training is InfoNCE with teacher forcing: all candidates of dimension j share the demonstrated values of the dimensions
before it, and only dimension j varies, so that -E_j is a conditional log-density up to a constant. Inference is
autoregressive decoding, dimension by dimension, greedily or with a beam, and way-point by way-point
(`ikp.policies.segments`); with a learned proposal its regression is pooled with the energies (`ikp.policies.pooling`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.distributions import Normal

from ikp.kinematics import Robot
from ikp.nets.modes import evaluation_mode
from ikp.policies._numpy_walk import NumpyWalk, is_quick
from ikp.policies.config import PolicyConfig
from ikp.policies.energy import ActionEnergies, Conditioning, Energies, EnergyWalk
from ikp.policies.image_plane import TIP_FEATURES
from ikp.policies.langevin import CHAINS, langevin
from ikp.policies.link_features import LINK_FEATURES, LinkInputs
from ikp.policies.policy import Context, Policy
from ikp.policies.pooling import Pool, PooledWalk
from ikp.policies.proposal import LearnedProposal, uniform_negatives
from ikp.policies.search import Walk, search
from ikp.policies.segments import Segment, SegmentScales
from ikp.spec import Batch, DataSpec, Observation


class ImplicitPolicy(Policy):
    """Energies E_j(o, a_0..a_j), one per action dimension; with a robot, E_j also sees the pose of link j.

    `Policy` describes arguments and errors, and `PolicyConfig` the options.
    """

    def __init__(self, robot: Robot | None, spec: DataSpec, config: PolicyConfig) -> None:
        super().__init__(robot, spec, config)
        link_features = LINK_FEATURES if config.has_kinematics else 0
        link_features += TIP_FEATURES if config.sees_candidates_from_goal else 0
        dims, count = len(self.step.names), config.timing.way_points
        self.segments, features = None, self.context_size
        if count > 1:
            self.segments = SegmentScales(count, dims)
            features += self.segments.features
            if self.poses is not None and config.has_kinematics:
                features += self.poses.observed_size
        self.energies = ActionEnergies(
            dims, features, link_features=link_features, width=config.width, blocks=config.blocks
        )
        self.proposal = None
        if config.proposal == "learned":
            self.proposal = LearnedProposal(
                self.context_size, self.dims, width=config.width, blocks=config.blocks
            )

    @property
    def follows_gradients(self) -> bool:
        return self.config.search.method == "langevin"

    def fit_actions(self, encoded: Float[Tensor, "frames dims"]) -> None:
        super().fit_actions(encoded)
        if self.segments is not None:
            self.segments.fit(encoded)

    def _loss(self, batch: Batch) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """InfoNCE summed over dimensions, plus the losses of `heads`, learned proposal and goal.

        With several way-points, each example trains the energies of one of them, drawn at random.
        """
        context = self.encode(batch)
        demonstrated = self.actions.encode(context.state, batch["action"])
        others = self._head_losses(context, demonstrated, batch["action"])
        regression, others["proposal"] = self.regression(context), demonstrated.new_zeros(())
        if self.proposal is not None and regression is not None:
            likely = self.proposal.loss(regression, self.scale(demonstrated))
            others["proposal"] = likely / self.config.timing.way_points
        others |= self._goal_losses(context, batch)
        per_dim = self._info_nce(*self._trained_segments(context, demonstrated, regression))
        names = [f"info_nce/{name}" for name in self.step.names]
        parts = dict(zip(names, per_dim.detach(), strict=True))
        total = sum(others.values(), per_dim.sum())
        parts |= {"info_nce": per_dim.sum(), **others}
        return total, {name: value.detach() for name, value in parts.items()}

    def _trained_segments(
        self, context: Context, demonstrated: Float[Tensor, "batch dims"], regression: Normal | None
    ) -> tuple[Segment, Float[Tensor, "batch step"]]:
        """A segment of each example, and its demonstrated step."""
        if self.segments is None:
            return self._segment(context, regression), demonstrated
        k = torch.randint(self.segments.count, (len(demonstrated),), device=demonstrated.device)
        start, end = self.segments.ends(k, demonstrated)
        # the way-point before is not exact at inference either
        noise = self.config.ablation.prefix_noise * self.segments.of(k)[0].std * torch.randn_like(start)
        start = torch.where((k > 0)[:, None], start + noise, start)
        return self._segment(context, regression, k, start), end - start

    def _info_nce(self, segment: Segment, step: Float[Tensor, "batch step"]) -> Float[Tensor, " step"]:
        """The loss of each dimension of demonstrated steps."""
        scale, count = segment.conditioning.scale, self.config.negatives
        # the choices that condition later dimensions at inference are not exact either
        prefix = step + self.config.ablation.prefix_noise * scale.std * torch.randn_like(step)
        low, high = scale(segment.low), scale(segment.high)
        if self.proposal is None or segment.near is None:
            negatives = uniform_negatives(low, high, len(step), count)
        else:
            negatives = self.proposal.sample(segment.near, count, low, high)
        standard = torch.cat([scale(step)[..., None], negatives], -1)
        logits = -self._energies(segment, prefix)(standard * scale.std[..., None] + scale.mean[..., None])
        if self.proposal is not None and segment.near is not None:
            logits = logits - self.proposal.log_density(segment.near, standard, count, low, high)
        return (torch.logsumexp(logits, -1) - logits[..., 0]).mean(0)

    def conditional_energies(self, context: Context, prefix: Float[Tensor, "batch dims"]) -> Energies:
        """Energies E_j of any candidates, given the dimensions of the prefix before j.

        The part that all candidates share is computed once, in this call.

        Args:
            context: `encode` of the observations.
            prefix: encoded actions; dimension j depends on their dimensions 0..j-1.

        Returns:
            A function from candidates (batch, dims, n), in the units of encoded actions, to energies of that shape;
            lower is better.
        """
        return self._of_way_points(context, prefix, pooled=False)

    def pooled_energies(self, context: Context, prefix: Float[Tensor, "batch dims"]) -> Energies:
        """`conditional_energies`, pooled with the regression of the learned proposal: decisions minimise these."""
        return self._of_way_points(context, prefix, pooled=True)

    def pooled_walk(
        self,
        context: Context,
        kind: type[NumpyWalk | EnergyWalk] | None = None,
        segment: Segment | None = None,
    ) -> Walk:
        """`pooled_energies` of one dimension after another.

        Args:
            context: `encode` of the observations.
            kind: the class of the energies' walk; by default the faster one.
            segment: the segment, if the policy has several way-points.
        """
        segment = segment or self._segment(context, self.regression(context))
        conditioning = segment.conditioning
        if kind is None:
            kind = NumpyWalk if is_quick(conditioning) else EnergyWalk
        walk = kind(self.energies, conditioning)
        pool = self._pool(segment, walk.xp)
        return walk if pool is None else PooledWalk(walk, pool)

    @torch.no_grad()
    def choose(self, context: Context) -> Float[Tensor, "batch dims"]:
        """Encoded actions of least pooled energy, by grid search or by Langevin dynamics."""
        settings, regression, found = self.config.search, self.regression(context), []
        start = context.features.new_zeros(len(context.state), len(self.step.names))
        for k in range(self.config.timing.way_points):
            segment = self._segment(context, regression, k, start)
            walk = self.pooled_walk(context, segment=segment)
            step = search(walk, segment.low.tolist(), segment.high.tolist(), settings)
            start = start + torch.as_tensor(step, dtype=start.dtype, device=start.device)
            found.append(start)
        chosen = torch.cat(found, -1)
        if settings.method == "grid":
            return chosen
        # a single way-point (PolicyConfig): of what a step needs, only the prefix differs from the step before
        rows = torch.arange(len(chosen), device=chosen.device).repeat_interleave(CHAINS)
        segment, pool = (
            self._segment(context.rows(rows), None),
            self._pool(self._segment(context, regression)),
        )
        if pool is None:
            return langevin(partial(self._energies, segment), self.bounds, chosen)
        pool.keep(rows)

        def pooled(prefix: Tensor) -> Energies:
            energies = self._energies(segment, prefix)
            return lambda candidates: pool(energies(candidates), candidates)

        return langevin(pooled, self.bounds, chosen)

    @torch.no_grad()
    def decision_slices(
        self, observation: Observation, points: int = 200
    ) -> tuple[Float[Tensor, "batch dims n"], Float[Tensor, "batch dims n"], Float[Tensor, "batch dims"]]:
        """Pooled energies along each dimension, with the dimensions before it at the policy's choice.

        Returns:
            values: a grid over the bounds, in the units of encoded actions.
            energies: `pooled_energies` at the values.
            chosen: the encoded action that the policy chooses.
        """
        self.encoder.check(observation)
        with evaluation_mode(self):
            context = self.encode(observation)
            chosen = self.choose(context)
            unit = torch.linspace(0, 1, points, device=chosen.device)
            values = self.bounds.low[:, None] + unit * (self.bounds.high - self.bounds.low)[:, None]
            values = values.expand(len(chosen), -1, -1)
            return values, self.pooled_energies(context, chosen)(values), chosen

    def conditioning(self, context: Context) -> Conditioning:
        """The conditioning of the energies of a single way-point on the observations."""
        shift, links = self.step.shift(context.state), self._link_inputs(context)
        return Conditioning(context.features, self.scale, shift, links)

    def _segment(
        self,
        context: Context,
        regression: Normal | None,
        k: Int[Tensor, " batch"] | int = 0,
        start: Float[Tensor, "batch step"] | None = None,
    ) -> Segment:
        """The segment to way-point k, or to one way-point for each row, from the encoded way-point before."""
        if self.segments is None or start is None:
            return Segment(self.conditioning(context), self.bounds.low, self.bounds.high, regression)
        scale, low, high = self.segments.of(k)
        shift, links = self.step.shift(context.state) + start, None
        features = [context.features, self.segments.start_features(k, start, self.scale)]
        if self.poses is not None and self.config.has_kinematics:
            q = self.poses.residual(shift)
            far_ends = self.poses.far_ends(q)
            features.append(self.poses.observation_features(far_ends))
            links = self._link_inputs(replace(context, q=q, far_ends=far_ends))
        near = None if regression is None else self.segments.near(k, start, regression, self.scale)
        return Segment(Conditioning(torch.cat(features, -1), scale, shift, links), low, high, near)

    def way_point_segments(
        self, context: Context, prefix: Float[Tensor, "batch dims"]
    ) -> Iterator[tuple[Segment, Float[Tensor, "batch step"], Float[Tensor, "batch step"]]]:
        """The segments between the way-points of `prefix`, their starts and their steps."""
        regression, parts = self.regression(context), prefix.chunk(self.config.timing.way_points, -1)
        start = torch.zeros_like(parts[0])
        for k, end in enumerate(parts):
            yield self._segment(context, regression, k, start), start, end - start
            start = end

    def _of_way_points(
        self, context: Context, prefix: Float[Tensor, "batch dims"], *, pooled: bool
    ) -> Energies:
        parts = []
        for segment, start, step in self.way_point_segments(context, prefix):
            pool = self._pool(segment) if pooled else None
            parts.append((self._energies(segment, step), pool, start[..., None]))

        def energies(candidates: Tensor) -> Tensor:
            found = []
            for (energy, pool, start), each in zip(parts, candidates.chunk(len(parts), 1), strict=True):
                found.append(
                    energy(each - start) if pool is None else pool(energy(each - start), each - start)
                )
            return torch.cat(found, 1)

        return energies

    def _energies(self, segment: Segment, prefix: Float[Tensor, "batch step"]) -> Energies:
        low = torch.bfloat16 if self.config.bfloat16 and self.training else None
        return self.energies.conditional(segment.conditioning, prefix, dtype=low)

    def _link_inputs(self, context: Context) -> LinkInputs | None:
        if self.poses is None or not self.config.has_kinematics:
            return None
        assert context.q is not None
        assert context.far_ends is not None
        features = self.poses.candidate_features(context.far_ends)
        if self.plane is not None and context.goal is not None:
            features = features.appended(self.plane.candidate_features(context.far_ends, context.goal))
        return LinkInputs(self.poses, context.q, features)

    def regression(self, context: Context) -> Normal | None:
        """The learned proposal's regression of all way-points; None for uniform negatives."""
        return None if self.proposal is None else self.proposal(context.features)

    def _pool(self, segment: Segment, xp: Any = torch) -> Pool | None:
        weight = self.config.search.regression
        if segment.near is None or not weight:
            return None
        return Pool(segment.near, segment.conditioning.scale, weight, xp)
