"""The implicit policy in its straightforward form: the reference for correctness and for speed.

Every open implicit behaviour cloning builds its energies like this: the input of each candidate is put together
in full (the observation's features tiled, the dimensions before it, its own value), the kinematics is a chain
of 4x4 matrices for each candidate, a Python loop goes over the dimensions and each has a plain dense network of
its own, in float32, with plain autograd. The mathematics and the weights are those of an `ImplicitPolicy`, so
losses, gradients, energies and actions must agree to rounding; what the policy saves by sharing work between
candidates is the difference in time.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ikp.kinematics import Robot
from ikp.nets import DenseResNet
from ikp.policies import ImplicitPolicy
from ikp.policies.actions import JointTargets
from ikp.policies.link_features import LINK_GAIN, POSITION_SCALE
from ikp.policies.proposal import uniform_negatives


class Measured(NamedTuple):
    """Measured joints (batch, dof) [rad or m] and their far-end features (batch, dof, 9)."""

    joints: Tensor
    poses: Tensor

    def repeat(self, n: int) -> Measured:
        """Every row `n` times."""
        return Measured(self.joints.repeat_interleave(n, 0), self.poses.repeat_interleave(n, 0))


class MatrixChain(nn.Module):
    """Far-end poses of all joints by a chain of 4x4 products, as features.

    Args:
        robot: revolute or prismatic joints that sit at their links' origins and mimic none.
        dtype: of the joint positions.
    """

    origins: Tensor
    skews: Tensor

    def __init__(self, robot: Robot, dtype: torch.dtype) -> None:
        super().__init__()
        joints = [link.joint for link in robot.links if link.joint is not None]
        unfit = [joint.name for joint in joints if joint.mimic or any(joint.anchor)]
        if unfit:
            raise ValueError(
                f"joints {unfit} of {robot.name!r} mimic others or do not turn about their link's origin: the "
                "straightforward form knows neither; take a robot without them"
            )
        self.robot = robot
        axes = torch.tensor([link.joint.axis if link.joint else (0, 0, 1) for link in robot.links])
        self.register_buffer("origins", torch.stack([link.T_parent_joint for link in robot.links]).to(dtype))
        self.register_buffer("skews", skew(axes.to(dtype)))
        self.ends = [_far_end(robot, link) for link in robot.joint_links]
        self.at_tip = [origin == frame and frame in robot.tip_indices for origin, frame in self.ends]

    def forward(self, q: Tensor, link_residual: Tensor | None) -> Tensor:
        """Features (n, dof, 9) at true joint positions (n, dof) [rad or m]: p / 0.3 m, then two columns of R."""
        poses = self.link_poses(q, link_residual)
        features = []
        for origin, frame in self.ends:
            p, R = poses[origin][:, :3, 3], poses[frame][:, :3, :3]
            features.append(torch.cat([p / POSITION_SCALE, R[..., 0], R[..., 1]], -1))
        return torch.stack(features, 1)

    def link_poses(self, q: Tensor, link_residual: Tensor | None) -> list[Tensor]:
        """T_base_link (n, 4, 4) of every link."""
        origins = self.origins
        if link_residual is not None:
            origins = origins @ rigid(
                torch.linalg.matrix_exp(skew(link_residual[:, 3:])), link_residual[:, :3]
            )
        poses: list[Tensor] = []
        dof = 0
        for i, link in enumerate(self.robot.links):
            T = origins[i].expand(len(q), 4, 4)
            if link.parent >= 0:
                T = poses[link.parent] @ T
            if link.joint is not None:
                T = T @ self.motion(i, link.joint.kind, q[:, dof])
                dof += 1
            poses.append(T)
        return poses

    def motion(self, link: int, kind: str, q: Tensor) -> Tensor:
        """(n, 4, 4) of one joint: Rodrigues' formula, or a displacement along the axis."""
        K, eye = self.skews[link], torch.eye(3, dtype=q.dtype, device=q.device)
        if kind == "prismatic":
            axis = torch.stack([K[2, 1], K[0, 2], K[1, 0]])
            return rigid(eye.expand(len(q), 3, 3), q[:, None] * axis)
        sin, cos = q.sin()[:, None, None], q.cos()[:, None, None]
        return rigid(eye + sin * K + (1 - cos) * (K @ K), q.new_zeros(len(q), 3))


class Straightforward(nn.Module):
    """The same policy as the one given, computed the straightforward way; its weights are copies.

    Args:
        policy: where structure and weights come from. Its inference must be `search`.
    """

    def __init__(self, policy: ImplicitPolicy) -> None:
        super().__init__()
        if policy.plane is not None:
            raise ValueError("the straightforward form has no image plane: set image_plane=None")
        if policy.config.search.method != "grid":
            raise ValueError(
                f"the search is {policy.config.search.method!r}: the straightforward form has 'grid'"
            )
        self.config, self.dims = policy.config, policy.dims
        self.shared = copy.deepcopy(policy)
        del self.shared.energies
        self.chain = None
        if policy.poses is not None:
            self.chain = MatrixChain(policy.poses.robot, policy.bounds.low.dtype)
        self.networks = nn.ModuleList([plain_energy(policy, j) for j in range(self.dims)])

    def loss(self, batch: Mapping[str, Any]) -> Tensor:
        """InfoNCE, gripper and proposal, as `ImplicitPolicy.loss`; draws the same negatives from the same seed."""
        policy, action = self.shared, batch["action"]
        expert = policy.actions.encode(batch["state"][:, -1], action)
        context, measured = self.observe(batch)
        prefix = expert + self.config.ablation.prefix_noise * policy.scale.std * torch.randn_like(expert)
        low, high = policy.scale(policy.bounds.low), policy.scale(policy.bounds.high)
        positive, count = policy.scale(expert), self.config.negatives
        total = context.new_zeros(())
        if policy.gripper is not None:
            closed = self.gripper_logits(context, expert, batch["state"][:, -1])
            discrete = action[:, list(policy.spec.discrete_dims)]
            total = nn.functional.binary_cross_entropy_with_logits(closed, discrete)
        near = None
        if policy.proposal is None:
            negatives = uniform_negatives(low, high, len(expert), count)
        else:
            near = policy.proposal(context)
            negatives = policy.proposal.sample(near, count, low, high)
            total = total + policy.proposal.loss(near, positive)
        standard = torch.cat([positive[..., None], negatives], -1)
        candidates = standard * policy.scale.std[:, None] + policy.scale.mean[:, None]
        logits = -self.energies(context, measured, prefix, candidates)
        if policy.proposal is not None and near is not None:
            logits = logits - policy.proposal.log_density(near, standard, count, low, high)
        target = torch.zeros(len(expert), dtype=torch.long, device=logits.device)
        for j in range(self.dims):
            total = total + nn.functional.cross_entropy(logits[:, j], target)
        return total

    def gripper_logits(self, context: Tensor, values: Tensor, state: Tensor) -> Tensor:
        """Logits of the discrete dimensions, given the action variables."""
        policy = self.shared
        assert policy.gripper is not None
        motions = policy.actions.motions(state, values) / policy.gripper.spread.std
        fine = [torch.tanh(20 * motions), torch.tanh(5 * motions)]
        return policy.gripper.net(torch.cat([context, policy.scale(values), *fine], -1))

    def observe(self, observation: Mapping[str, Any]) -> tuple[Tensor, Measured | None]:
        """The context; with link poses also the measured joints and their poses."""
        policy = self.shared
        features = policy.encoder(observation)
        if self.chain is None or policy.poses is None:
            return features, None
        joints = policy.measured_joints(observation)
        poses = self.chain(policy.poses.residual(joints), policy.poses.residual.link_residual)
        if self.config.observes_poses:
            seen = (poses - policy.poses.center)[:, self.shown_joints()]
            features = torch.cat([features, seen.flatten(1)], -1)
        return features, Measured(joints, poses) if self.config.has_kinematics else None

    def shown_joints(self) -> list[int]:
        """Joints whose far end is shown: all, or those that end at a tip."""
        at_tip = [] if self.chain is None else self.chain.at_tip
        return [j for j, tip in enumerate(at_tip) if tip or self.config.ablation.links == "all"]

    def energies(
        self, context: Tensor, measured: Measured | None, prefix: Tensor, candidates: Tensor
    ) -> Tensor:
        """E_j of candidates (batch, dims, n), each dimension given the prefix (batch, dims) before it."""
        rows = [self.energy(j, context, measured, prefix, candidates[:, j]) for j in range(self.dims)]
        return torch.stack(rows, 1)

    def energy(
        self, j: int, context: Tensor, measured: Measured | None, prefix: Tensor, candidates: Tensor
    ) -> Tensor:
        """E_j of candidates (batch, n) of dimension j alone."""
        batch, n = candidates.shape
        values = prefix[:, None].repeat(1, n, 1)
        values[..., j] = candidates
        tiled = context[:, None].expand(batch, n, -1).flatten(0, 1)
        actions = self.action_features(values.flatten(0, 1), None if measured is None else measured.repeat(n))
        inputs = torch.cat([tiled, actions[:, : j + 1].flatten(1)], -1)
        return self.networks[j](inputs).reshape(batch, n)

    def action_features(self, values: Tensor, measured: Measured | None) -> Tensor:
        """Per row and dimension the standardised value, and with kinematics the centred far-end pose and its change.

        Args:
            values: action variables (rows, dims) in their own units.
            measured: joints and poses of the same rows, None without kinematics.
        """
        policy = self.shared
        own = policy.scale(values)[..., None]
        if self.chain is None or policy.poses is None or measured is None:
            return own
        residual = policy.poses.residual
        is_delta = isinstance(policy.actions, JointTargets) and policy.actions.delta
        target = measured.joints + values if is_delta else values
        pose = self.chain(residual(target), residual.link_residual)
        link = torch.cat([pose - policy.poses.center, policy.poses.change_gain * (pose - measured.poses)], -1)
        hidden = [j for j in range(self.dims) if j not in self.shown_joints()]
        return torch.cat(
            [own, (LINK_GAIN * link).index_fill(1, torch.tensor(hidden, dtype=torch.long), 0.0)], -1
        )

    @torch.no_grad()
    def choose(self, observation: Mapping[str, Any]) -> Tensor:
        """The chosen action variables (batch, dims), as `ImplicitPolicy.choose`."""
        return self.search(*self.observe(observation))

    def search(self, context: Tensor, measured: Measured | None) -> Tensor:
        """Dimension by dimension a grid and finer grids, `beam` prefixes kept by their log-density."""
        batch, beam = len(context), self.config.search.beam
        prefixes, scores = context.new_zeros(batch, 1, self.dims), context.new_zeros(batch, 1)
        for j in range(self.dims):
            kept = prefixes.shape[1]
            tiled = context.repeat_interleave(kept, 0)
            seen = None if measured is None else measured.repeat(kept)
            values, density = self.best_values(j, tiled, seen, prefixes.flatten(0, 1))
            count = values.shape[1]
            extended = prefixes.repeat_interleave(count, 1)
            extended[..., j] = values.reshape(batch, -1)
            total = scores.repeat_interleave(count, 1) + density.reshape(batch, -1)
            scores, order = total.topk(min(beam, total.shape[1]), 1)
            prefixes = extended.gather(1, order[..., None].expand(-1, -1, self.dims))
        return prefixes[:, 0]

    def pooled(
        self, j: int, context: Tensor, measured: Measured | None, prefix: Tensor, candidates: Tensor
    ) -> Tensor:
        """Energies of dimension j pooled with the regression of the learned proposal, as a decision sees them."""
        energy, weight = self.energy(j, context, measured, prefix, candidates), self.config.search.regression
        if self.shared.proposal is None or not weight:
            return energy
        near, scale = self.shared.proposal(context), self.shared.scale
        standard = (candidates - scale.mean[j]) / scale.std[j]
        z = (standard - near.mean[:, j, None]) / near.stddev[:, j, None]
        return (1 - weight) * energy + weight * z.square() / 2

    def best_values(
        self, j: int, context: Tensor, measured: Measured | None, prefix: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The `beam` best values of dimension j and their log-densities (rows, kept), best first."""
        config, bounds = self.config.search, self.shared.bounds
        low, high = float(bounds.low[j]), float(bounds.high[j])
        grid = torch.linspace(low, high, config.grid, dtype=context.dtype, device=context.device)
        energy = self.pooled(j, context, measured, prefix, grid.expand(len(context), -1))
        log_partition = torch.logsumexp(-energy, 1, keepdim=True)
        reach = (high - low) / (config.grid - 1)
        if config.window:
            energy = smoothed(energy, config.window * (config.grid - 1))
            reach = 2 * config.window * (high - low)
        index, repeats = lowest_local_minima(energy, config.beam)
        best, least = grid[index], energy.gather(1, index)
        if config.window:
            best = best + (grid[1] - grid[0]) * vertex(energy, index)
        points = max(config.grid // 3, 3)
        for _ in range(config.refinements):
            offsets = torch.linspace(-reach, reach, points, dtype=grid.dtype, device=grid.device)
            fine = (best[..., None] + offsets).clamp(low, high)
            fine_energy = self.pooled(j, context, measured, prefix, fine.flatten(1)).reshape(fine.shape)
            if config.window:
                logits = -fine_energy - 0.5 * (offsets / (reach / 2)) ** 2
                best, least = (logits.softmax(-1) * fine).sum(-1), -logits.logsumexp(-1)
            else:
                least, at = fine_energy.min(-1)
                best = fine.gather(-1, at[..., None])[..., 0]
                reach = 2 * reach / (points - 1)
        return best, (-least - log_partition).masked_fill(repeats, -torch.inf)


def smoothed(energy: Tensor, cells: float) -> Tensor:
    """-log of the density (rows, n) under a Gaussian of `cells` grid cells, zero outside the grid."""
    n, reach = energy.shape[1], max(1, round(3 * cells))
    distance = torch.arange(n, device=energy.device)[:, None] - torch.arange(n, device=energy.device)
    weight = torch.exp(-0.5 * (distance.to(energy.dtype) / cells) ** 2) * (distance.abs() <= reach)
    steps = torch.arange(-reach, reach + 1, dtype=energy.dtype, device=energy.device)
    weight = weight / torch.exp(-0.5 * (steps / cells) ** 2).sum()
    near = energy.neg().softmax(1) @ weight
    return -near.clamp_min(1e-30).log() - energy.neg().logsumexp(1, keepdim=True)


def vertex(energy: Tensor, index: Tensor) -> Tensor:
    """Where the parabola through (-1, left), (0, minimum), (1, right) has its least value; 0 at an end of the grid."""
    padded = torch.nn.functional.pad(energy, (1, 1), value=float("nan"))
    left, middle, right = (padded.gather(1, index + k) for k in (0, 1, 2))
    square, linear = (left + right) / 2 - middle, (right - left) / 2
    return (-linear / (2 * square).clamp_min(1e-6)).clamp(-0.5, 0.5).nan_to_num(0.0)


def lowest_local_minima(energy: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Indices (rows, count) of the lowest points without a lower neighbour, and where they repeat the best one.

    There may be fewer than `count`; a repeated one must not take a place in the beam.
    """
    if count == 1:
        index = energy.argmin(1, keepdim=True)
        return index, torch.zeros_like(index, dtype=torch.bool)
    chosen, repeats = [], []
    for row in energy.tolist():
        edges = [float("inf"), *row, float("inf")]
        minima = [i for i in range(len(row)) if row[i] <= edges[i] and row[i] <= edges[i + 2]]
        ranked = sorted(minima, key=lambda i: row[i])[:count]
        missing = min(count, len(row)) - len(ranked)
        chosen.append(ranked + ranked[:1] * missing)
        repeats.append([False] * len(ranked) + [True] * missing)
    return torch.tensor(chosen, device=energy.device), torch.tensor(repeats, device=energy.device)


@torch.no_grad()
def plain_energy(policy: ImplicitPolicy, j: int) -> DenseResNet:
    """The network of dimension j over full inputs, with copies of the policy's weights."""
    layers = dense_layers(dict(policy.named_parameters()), policy, j)
    inputs = layers[0][0].shape[1]
    network = DenseResNet(inputs, 1, width=policy.config.width, blocks=policy.config.blocks)
    for linear, (weight, bias) in zip(linears(network), layers, strict=True):
        linear.weight.data, linear.bias.data = weight.clone(), bias.clone()
    return network


def dense_layers(values: Mapping[str, Tensor], policy: ImplicitPolicy, j: int) -> list[tuple[Tensor, Tensor]]:
    """(weight, bias) of each layer of energy j as a plain network has them.

    Args:
        values: by the policy's parameter names, the parameters or what has their shapes (gradients).
        policy: its structure.
        j: dimension.
    """
    own = values["energies.first_layer.own"][j]
    before = values["energies.first_layer.prefix"][j, : j * len(own)]
    first = torch.cat([values["energies.first_layer.context"][j], before, own])
    layers = [(first.T.contiguous(), values["energies.first_layer.bias"][j, 0])]
    names = [f"blocks.{b}.layers.{k}" for b in range(policy.config.blocks) for k in range(3)]
    for name in (*names, "head"):
        weight, bias = values[f"energies.stack.{name}.weight"][j], values[f"energies.stack.{name}.bias"][j, 0]
        layers.append((weight.T.contiguous(), bias))
    return layers


def linears(network: nn.Module) -> list[nn.Linear]:
    """The dense layers of a network, in order."""
    return [module for module in network.modules() if isinstance(module, nn.Linear)]


def skew(v: Tensor) -> Tensor:
    """(..., 3, 3) with skew(v) @ u = v x u."""
    x, y, z = v.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*v.shape, 3)


def rigid(R: Tensor, p: Tensor) -> Tensor:
    """(n, 4, 4) from rotations (n, 3, 3) and positions (n, 3)."""
    last = torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=R.dtype, device=R.device).expand(len(R), 1, 4)
    return torch.cat([torch.cat([R, p[..., None]], -1), last], 1)


def _far_end(robot: Robot, link: int) -> tuple[int, int]:
    """The links that give a joint's far end its position and its rotation.

    The position is the next moving link's origin, with the rotation of the joint's own link, or the tip's pose.
    """
    end = link
    while end not in robot.tip_indices and robot.children(end):
        end = robot.children(end)[0]
        if robot.links[end].joint is not None:
            return end, link
    return end, end
