"""Forward kinematics as functions that autograd can differentiate.

The backward pass needs only the poses: the gradient with respect to a joint is the moment about (or the force along)
its axis that the gradients of all frames below it exert.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ikp.kinematics._columns import frame_columns, frame_gradient, joint_gradient, subtree_wrenches
from ikp.kinematics._compiled import compiled_columns, compiled_gradient, serves
from ikp.kinematics._functional import transforms_active
from ikp.kinematics._plan import Plan, Terms, column_terms, nominal_terms, plan_of
from ikp.kinematics._single import single_frame_columns
from ikp.kinematics.robot import Robot


def terms_of(robot: Robot, frames: Tensor | None, dtype: torch.dtype) -> Sequence[Sequence[Terms]]:
    """Terms of the constant frames (node, 4, 4); None for the robot's own without residuals."""
    return nominal_terms(robot, dtype) if frames is None else column_terms(frames, dtype)


def torch_columns(theta: Tensor, plan: Plan, terms: Sequence[Sequence[Terms]]) -> Tensor:
    """Frames of all nodes (node, 4, 4, n) from joint positions (n, dof), by the faster of two implementations."""
    if theta.shape[0] == 1 and theta.device.type == "cpu" and not torch.compiler.is_compiling():
        return single_frame_columns(theta, plan, terms)
    return frame_columns(theta, plan, terms)


class TorchKinematics(torch.autograd.Function):
    """Frames of all nodes (node, 4, 4, n) from joint positions (n, dof) and the nodes' constant frames."""

    @staticmethod
    def forward(ctx: Any, theta: Tensor, frames: Tensor | None, plan: Any, terms: Any) -> Tensor:
        columns = torch_columns(theta, plan, terms)
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


class CompiledKinematics(torch.autograd.Function):
    """Frames of the links (link, 4, 4, n) from joint positions (n, dof), on the CPU by the extension."""

    @staticmethod
    def forward(ctx: Any, theta: Tensor, frames: Tensor | None, robot: Any, constants: bytes) -> Tensor:
        ctx.robot, ctx.constants = robot, constants
        ctx.save_for_backward(theta, frames)
        return compiled_columns(theta, robot, constants)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        theta, frames = ctx.saved_tensors
        if serves(grad) and not torch.is_grad_enabled() and not transforms_active():
            return compiled_gradient(theta, ctx.robot, ctx.constants, grad), None, None, None
        # the gradient is to be differentiated itself, or is not a plain tensor
        plan = plan_of(ctx.robot)
        columns = TorchKinematics.apply(theta, frames, plan, terms_of(ctx.robot, frames, theta.dtype))
        links = len(ctx.robot.links)
        grad = torch.cat([grad, grad.new_zeros(len(plan.nodes) - links, *grad.shape[1:])])
        wrench = subtree_wrenches(columns, grad, plan, plan.first_moved)
        return joint_gradient(columns, wrench, plan, plan.first_moved), None, None, None
