"""Forward kinematics of every link, batched and differentiable."""

from __future__ import annotations

from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from ikp.kinematics._compiled import compiled_columns, packed_constants, serves
from ikp.kinematics._functional import functional_frame_columns, transforms_active
from ikp.kinematics._functions import CompiledKinematics, TorchKinematics, terms_of, torch_columns
from ikp.kinematics._plan import plan_of
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
    residual_trained = frames is not None and frames.requires_grad
    differentiated = torch.is_grad_enabled() and (theta.requires_grad or residual_trained)
    if serves(theta) and not residual_trained:
        constants = packed_constants(robot, frames, theta.dtype)
        if differentiated:
            return CompiledKinematics.apply(theta, frames, robot, constants)
        return compiled_columns(theta, robot, constants)
    terms = terms_of(robot, frames, theta.dtype)
    compute = (
        partial(TorchKinematics.apply, theta, frames) if differentiated else partial(torch_columns, theta)
    )
    columns = compute(plan, terms)
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
