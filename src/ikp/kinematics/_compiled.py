"""Forward kinematics and its gradient on the CPU in one pass over memory, by the extension `ikp.kinematics._native`.

The extension is built when ikp is installed, if a C compiler is there. It computes what `ikp.kinematics._columns`
computes, for every robot; only the order of the work differs. `native` is None without it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ikp.kinematics._plan import Plan, plan_of
from ikp.kinematics.robot import Robot

try:
    from ikp.kinematics import _native
except ImportError:
    _native = None
native: Any = _native

_NODES_PER_THREAD = 16384
"""Frames that pay for starting a thread: each takes some ten nanoseconds."""


def serves(*tensors: Tensor) -> bool:
    """Whether the extension is there and can read these tensors: plain ones on the CPU, not traced by a compiler."""
    return native is not None and not torch.compiler.is_compiling() and all(map(_readable, tensors))


def _readable(tensor: Tensor) -> bool:
    return (
        type(tensor) in (Tensor, torch.nn.Parameter)
        and tensor.device.type == "cpu"
        and not tensor.is_neg()
        and torch._C._has_storage(tensor)  # none while a transform batches or wraps it
    )


def compiled_columns(theta: Tensor, robot: Robot, constants: bytes) -> Tensor:
    """Frames of the links (link, 4, 4, n) from joint positions (n, dof) and :func:`packed_constants`."""
    columns = torch.empty(len(robot.links), 4, 4, theta.shape[0], dtype=theta.dtype)
    native.forward(*_job(theta, robot, constants, columns))
    return columns


def compiled_gradient(theta: Tensor, robot: Robot, constants: bytes, grad: Tensor) -> Tensor:
    """Gradient (n, dof) with respect to the joints, from that with respect to the frames of the links."""
    grad = grad if grad.stride(-1) == 1 else grad.contiguous()
    d_theta = torch.empty(theta.shape, dtype=theta.dtype)
    native.backward(*_job(theta, robot, constants, d_theta), grad.data_ptr(), *grad.stride()[:3])
    return d_theta


def packed_constants(robot: Robot, frames: Tensor | None, dtype: torch.dtype) -> bytes:
    """The constant frames (node, 4, 4) of all nodes as the extension reads them; None for those without residuals."""
    if frames is None:
        return _nominal_constants(robot, dtype)
    return _packed(plan_of(robot), frames.detach(), dtype)


@lru_cache(maxsize=256)
@torch.inference_mode(False)
def _nominal_constants(robot: Robot, dtype: torch.dtype) -> bytes:
    plan = plan_of(robot)
    return _packed(plan, plan.frames(plan.origins), dtype)


def _packed(plan: Plan, frames: Tensor, dtype: torch.dtype) -> bytes:
    rows = torch.cat([frames[:, :3].mT.flatten(1), plan.multipliers.to(frames)], dim=1)
    return rows.to(dtype).numpy().tobytes()


@lru_cache(maxsize=256)
def _packed_nodes(robot: Robot) -> bytes:
    """The nodes in an order of visits that starts with those that no joint moves."""
    plan = plan_of(robot)
    rows = []
    for i in sorted(plan.order, key=lambda i: i in plan.moved):
        node = plan.nodes[i]
        kind = 0 if node.dof < 0 else 2 if node.prismatic else 1
        rows.append((i, node.parent, node.dof, node.column, kind, i in plan.moved))
    return np.array(rows, dtype=np.intc).tobytes()


def _job(theta: Tensor, robot: Robot, constants: bytes, out: Tensor) -> tuple[object, ...]:
    n, dofs = theta.shape
    nodes = _packed_nodes(robot)
    work = n * len(plan_of(robot).nodes)
    threads = min(torch.get_num_threads(), work // _NODES_PER_THREAD) if work > _NODES_PER_THREAD else 1
    double = theta.dtype == torch.float64
    pointers = (theta.data_ptr(), *theta.stride(), n, out.data_ptr())
    return (nodes, constants, double, len(robot.links), dofs, *pointers, threads)
