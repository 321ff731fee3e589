"""Forward kinematics of a batch and its gradient, on a struct of arrays.

Frames are stored as (node, column, row, configuration), with the columns x, y, z and p of T_base_node. A revolute
joint mixes two columns of its parent's frame by cos and sin. The other columns are sums of the parent's columns with
constant factors, most of them 0, 1 or -1, so no 4x4 product is needed. All operations are elementwise, which autocast
and TF32 settings cannot round.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ikp.indices import as_slice
from ikp.kinematics._plan import Plan, Terms
from ikp.kinematics.rotations import cross


def frame_columns(theta: Tensor, plan: Plan, terms: Sequence[Sequence[Terms]]) -> Tensor:
    """Frames of all nodes (node, 4, 4, n) from joint positions (n, dof).

    `terms` are the nodes' constant frames, from :func:`column_terms`.
    """
    nodes, n = len(plan.nodes), theta.shape[0]
    out = theta.new_empty(nodes, 4, 4, n)
    out[:, :3, 3].zero_()
    out[:, 3, 3].fill_(1.0)
    flat = out.view(nodes * 4, 4, n)[:, :3].unbind(0)
    base = plan.base(theta)[:, :3].expand(4, 3, n).unbind(0)
    position = _node_positions(theta, plan)
    cos, sin = position.cos().unbind(0), position.sin().unbind(0)
    for i in plan.order:
        node, target, own = plan.nodes[i], flat[4 * i : 4 * i + 4], terms[i]
        parent = flat[4 * node.parent : 4 * node.parent + 4] if node.parent >= 0 else base
        _combine(target[3], own[3], parent, start=parent[3])
        a, b, k = (node.column + 1) % 3, (node.column + 2) % 3, node.column
        _combine(target[k], own[k], parent)
        row = plan.position_row[i]
        if node.dof >= 0 and not node.prismatic:
            _turn(target[a], target[b], own[a], own[b], parent, cos[row], sin[row])
            continue
        _combine(target[a], own[a], parent)
        _combine(target[b], own[b], parent)
        if node.prismatic:
            target[3].addcmul_(target[k], position[row])
    return out


def _node_positions(theta: Tensor, plan: Plan) -> Tensor:
    """Angle or displacement (moving node, n) of each moving node about or along its axis."""
    dofs = [plan.nodes[i].dof for i in plan.moving]
    factors = [plan.nodes[i].multiplier for i in plan.moving]
    transposed = theta.t().contiguous() if dofs == list(range(theta.shape[1])) else theta.t()[dofs]
    return transposed if all(f == 1.0 for f in factors) else transposed * theta.new_tensor(factors)[:, None]


def _combine(out: Tensor, terms: Terms, parent: Sequence[Tensor], start: Tensor | None = None) -> None:
    """out = start + sum of factor * parent[column] over `terms`."""
    if start is None and terms[0][1] == 1.0:
        start, terms = parent[terms[0][0]], terms[1:]
    if start is None and terms[0][1] == -1.0:
        torch.neg(parent[terms[0][0]], out=out)  # a third of the time of a product with a number
    elif start is None:
        torch.mul(parent[terms[0][0]], terms[0][1], out=out)
    elif terms:
        torch.add(start, parent[terms[0][0]], alpha=terms[0][1], out=out)
    else:
        out.copy_(start)
    for column, factor in terms[1:]:
        out.add_(parent[column], alpha=factor)


def _turn(
    out_a: Tensor, out_b: Tensor, a: Terms, b: Terms, parent: Sequence[Tensor], cos: Tensor, sin: Tensor
) -> None:
    """out_a = cos * a + sin * b and out_b = cos * b - sin * a; a and b are sums of the parent's columns."""
    if len(a) == 1 and len(b) == 1:
        ((column_a, factor_a),), ((column_b, factor_b),) = a, b
        old_a, old_b = parent[column_a], parent[column_b]
        torch.mul(old_a, _scaled(cos, factor_a), out=out_a)
        torch.mul(old_b, _scaled(cos, factor_b), out=out_b)
        out_a.addcmul_(old_b, sin, value=factor_b)
        out_b.addcmul_(old_a, sin, value=-factor_a)
        return
    _combine(out_a, a, parent)
    _combine(out_b, b, parent)
    turned = out_a * cos
    turned.addcmul_(out_b, sin)
    out_b.mul_(cos).addcmul_(out_a, sin, value=-1.0)
    out_a.copy_(turned)


def _scaled(row: Tensor, factor: float) -> Tensor:
    if factor == 1.0:
        return row
    return row.neg() if factor == -1.0 else row * factor


def subtree_wrenches(columns: Tensor, grad: Tensor, plan: Plan, first: int) -> Tensor:
    """Wrench (6, node, n) of a gradient on each node from `first` on, summed over the node's subtree.

    `grad` (node, 4, 4, n) is the gradient of the loss with respect to `columns`. It acts as a force on the origin of
    each frame and on the ends of its axes. The wrench is force, then moment about the base origin; the moment is the
    sum of column x gradient over the four columns.
    """
    x, y, z = (rows.unbind(1) for rows in columns[first:, :, :3].unbind(2))
    gx, gy, gz = (rows.unbind(1) for rows in grad[first:, :, :3].unbind(2))
    moment = [_cross_sum(y, z, gy, gz), _cross_sum(z, x, gz, gx), _cross_sum(x, y, gx, gy)]
    wrench = torch.stack([gx[3], gy[3], gz[3], *moment])
    rows = [wrench.select(1, i) for i in range(wrench.shape[1])]
    for i in reversed(plan.order):
        parent = plan.nodes[i].parent
        if parent >= first:
            rows[parent - first].add_(rows[i - first])
    return wrench


def _cross_sum(
    a: Sequence[Tensor], b: Sequence[Tensor], ga: Sequence[Tensor], gb: Sequence[Tensor]
) -> Tensor:
    """Sum over the columns of a * gb - b * ga, one component of a cross product, in one buffer."""
    total = (a[0] * gb[0]).addcmul_(b[0], ga[0], value=-1.0)
    for k in range(1, len(a)):
        total.addcmul_(a[k], gb[k]).addcmul_(b[k], ga[k], value=-1.0)
    return total


def joint_gradient(columns: Tensor, wrench: Tensor, plan: Plan, first: int) -> Tensor:
    """Gradient (n, dof) with respect to the joints: the power of the subtree's wrench along the joint's motion.

    `wrench` holds the nodes from `first` on.
    """
    nodes = [plan.nodes[i] for i in plan.moving]
    fx, fy, fz, mx, my, mz = wrench[:, as_slice(plan.moving, first)].unbind(0)
    px, py, pz = columns[as_slice(plan.moving), 3, :3].unbind(1)
    work = [_less_cross(mx, py, pz, fy, fz), _less_cross(my, pz, px, fz, fx), _less_cross(mz, px, py, fx, fy)]
    if any(node.prismatic for node in nodes):
        prismatic = torch.tensor([node.prismatic for node in nodes], device=columns.device)[:, None]
        work = [torch.where(prismatic, f, m) for f, m in zip((fx, fy, fz), work, strict=True)]
    ax, ay, az = _axes(columns, plan).unbind(1)
    power = (ax * work[0]).addcmul_(ay, work[1]).addcmul_(az, work[2])
    if [node.dof for node in nodes] == list(range(len(nodes))) and all(n.multiplier == 1.0 for n in nodes):
        return power.t()
    result: dict[int, Tensor] = {}
    for node, row in zip(nodes, power.unbind(0), strict=True):
        share = row * node.multiplier
        result[node.dof] = result[node.dof] + share if node.dof in result else share
    return torch.stack([result[j] for j in range(len(result))]).t()


def _less_cross(m: Tensor, pa: Tensor, pb: Tensor, fa: Tensor, fb: Tensor) -> Tensor:
    """One component of m - p x f."""
    return torch.addcmul(m, pa, fb, value=-1.0).addcmul_(pb, fa)


def _axes(columns: Tensor, plan: Plan) -> Tensor:
    """Axes (moving node, 3, n) of the joints."""
    axes = [plan.nodes[i].column for i in plan.moving]
    if len(set(axes)) == 1:
        return columns[as_slice(plan.moving), axes[0], :3]
    return columns[list(plan.moving), axes, :3]


def frame_gradient(columns: Tensor, frames: Tensor, wrench: Tensor, plan: Plan) -> Tensor:
    """Gradient (node, 4, 4) with respect to the constant frames, summed over configurations.

    `wrench` holds all nodes. The gradient is correct for changes that keep the frames rigid, as residuals do.
    """
    force, moment = wrench[:3].transpose(0, 1), wrench[3:].transpose(0, 1)
    parent = torch.cat([columns, plan.base(columns).expand(1, 4, 4, columns.shape[-1])])
    parent = parent[[node.parent for node in plan.nodes], :, :3]  # -1 picks the base
    joint_origin = parent[:, 3] + (parent[:, :3] * frames[:, :3, 3, None, None]).sum(1)
    about_joint = moment - cross(joint_origin, force, dim=1)
    force_in_parent = (parent[:, :3] * force[:, None]).sum((2, 3))
    moment_in_parent = (parent[:, :3] * about_joint[:, None]).sum((2, 3))
    rotation = 0.5 * cross(moment_in_parent[..., None].expand(-1, 3, 3), frames[:, :3, :3], dim=1)
    upper = torch.cat([rotation, force_in_parent[..., None]], dim=-1)
    return torch.cat([upper, torch.zeros_like(upper[:, :1])], dim=1)
