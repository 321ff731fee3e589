"""Forward kinematics of every link, batched and differentiable.

The backward pass needs only the poses: the gradient with respect to a joint is the moment about (or the force along)
its axis that the gradients of all frames below it exert.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ikp.kinematics._columns import frame_columns, frame_gradient, joint_gradient, subtree_wrenches
from ikp.kinematics._functional import functional_frame_columns, transforms_active
from ikp.kinematics._plan import Plan, Terms, column_terms, nominal_terms, plan_of
from ikp.kinematics._single import single_frame_columns
from ikp.kinematics.robot import Robot
from ikp.kinematics.rotations import compose, exp_rotation


def forward_kinematics(
    robot: Robot,
    q: Float[Tensor, "... dof"],
    *,
    q_offset: Float[Tensor, "... dof"] | None = None,
    link_residual: Float[Tensor, "link 6"] | None = None,
) -> Float[Tensor, "... link 4 4"]:
    """Poses T_base_link of every link, in the order of `robot.link_names`.

    Args:
        robot: the robot; "base" is the frame that its root link's transform is given in.
        q: joint positions (..., dof), rad or m, float32 or float64; any leading dimensions, or none.
        q_offset: (..., dof) added to `q`, broadcast with it: q_true - q_measured.
        link_residual: (link, 6) correction of every link's fixed transform, in the joint's frame:
            translation (m), then rotation vector (rad). ``T_parent_joint`` becomes
            ``T_parent_joint @ [exp(r[3:]) | r[:3]]``.

    Returns:
        (..., link, 4, 4) in the dtype of `q`; a view whose configurations are innermost in memory. Twice
        differentiable in `q`, `q_offset` and `link_residual`, by backward and by forward-mode derivatives,
        and under the transforms of `torch.func`.

    Raises:
        ValueError: when an input is no tensor, or its shape or dtype does not fit the robot.
    """
    theta = joint_positions(robot, q, q_offset)
    poses = link_columns(robot, theta, link_residual=link_residual).permute(3, 0, 2, 1)
    return poses if theta.ndim == 2 else poses.reshape(*theta.shape[:-1], *poses.shape[1:])


def joint_positions(robot: Robot, q: Tensor, q_offset: Tensor | None = None) -> Float[Tensor, "... dof"]:
    """``q + q_offset``. Raises ValueError when a type, shape or dtype does not fit the robot."""
    given = (("q", q),) if q_offset is None else (("q", q), ("q_offset", q_offset))
    for name, value in given:
        check_tensor(name, value)
        if value.ndim == 0 or value.shape[-1] != robot.dof:
            raise ValueError(
                f"{name} has the shape {tuple(value.shape)}; its last dimension must be the {robot.dof} "
                f"joints of {robot.name!r}: {', '.join(robot.joint_names)}"
            )
        if value.dtype not in (torch.float32, torch.float64):
            raise ValueError(f"{name} is {value.dtype}; kinematics needs float32 or float64: convert it")
    return q if q_offset is None else q + q_offset.to(q)


def check_tensor(name: str, value: object) -> None:
    """Raise ValueError for anything but a tensor, such as an array or a list."""
    if not isinstance(value, Tensor):
        raise ValueError(f"{name} is a {type(value).__name__}; give a torch tensor: torch.as_tensor({name})")


def link_columns(
    robot: Robot, theta: Float[Tensor, "... dof"], *, link_residual: Tensor | None = None
) -> Float[Tensor, "link 4 4 n"]:
    """The poses as a struct of arrays (link, column, row, n), with the leading dimensions flattened to n."""
    theta = theta if theta.ndim == 2 else theta.reshape(-1, robot.dof)
    plan = plan_of(robot)
    frames = None
    if link_residual is not None:
        frames = plan.frames(residual_origins(robot, link_residual.to(theta)))
    if transforms_active():
        constant = plan.frames(plan.origins).to(theta) if frames is None else frames
        return functional_frame_columns(theta, constant, plan)[: len(robot.links)]
    terms = nominal_terms(robot, theta.dtype) if frames is None else column_terms(frames, theta.dtype)
    if torch.is_grad_enabled() and (theta.requires_grad or (frames is not None and frames.requires_grad)):
        columns = _Kinematics.apply(theta, frames, plan, terms)
    else:
        columns = _frames(theta, plan, terms)
    return columns if len(plan.nodes) == len(robot.links) else columns[: len(robot.links)]


def residual_origins(robot: Robot, link_residual: Float[Tensor, "link 6"]) -> Float[Tensor, "link 4 4"]:
    """T_parent_joint of every link with its residual applied; see :func:`forward_kinematics`."""
    links = len(robot.links)
    if link_residual.shape != (links, 6):
        raise ValueError(
            f"link_residual has the shape {tuple(link_residual.shape)}; {robot.name!r} needs ({links}, 6): a "
            "translation and a rotation vector for each link"
        )
    shift = torch.cat([exp_rotation(link_residual[:, 3:]), link_residual[:, :3, None]], dim=-1)
    bottom = torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=shift.dtype, device=shift.device)
    shift = torch.cat([shift, bottom.expand(links, 1, 4)], dim=-2)
    return compose(plan_of(robot).origins.to(shift), shift)


def _frames(theta: Tensor, plan: Plan, terms: Sequence[Sequence[Terms]]) -> Tensor:
    """Frames of all nodes (node, 4, 4, n) from joint positions (n, dof), by the faster of two implementations."""
    if theta.shape[0] == 1 and theta.device.type == "cpu" and not torch.compiler.is_compiling():
        return single_frame_columns(theta, plan, terms)
    return frame_columns(theta, plan, terms)


class _Kinematics(torch.autograd.Function):
    """Frames of all nodes (node, 4, 4, n) from joint positions (n, dof) and the nodes' constant frames."""

    @staticmethod
    def forward(ctx: Any, theta: Tensor, frames: Tensor | None, plan: Any, terms: Any) -> Tensor:
        columns = _frames(theta, plan, terms)
        ctx.plan = plan
        ctx.save_for_backward(columns, frames)
        return columns

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        columns, frames = ctx.saved_tensors
        grad = grad if grad.stride(-1) == 1 else grad.contiguous()
        # frames that no joint moves affect only the gradient of the constant frames
        first = 0 if ctx.needs_input_grad[1] else ctx.plan.first_moved
        wrench = subtree_wrenches(columns, grad, ctx.plan, first)
        d_theta = d_frames = None
        if ctx.needs_input_grad[0]:
            d_theta = joint_gradient(columns, wrench, ctx.plan, first)
        if ctx.needs_input_grad[1]:
            d_frames = frame_gradient(columns, frames, wrench, ctx.plan)
        return d_theta, d_frames, None, None
