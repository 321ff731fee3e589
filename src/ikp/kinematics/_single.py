"""Forward kinematics of one configuration in Python floats.

A control loop asks for one configuration at a time. A tensor operation on three numbers costs as much as thirty
products of Python floats, so this is several times faster than the same recurrence in `ikp.kinematics._columns`.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence

import torch
from torch import Tensor

from ikp.kinematics._plan import Plan, Terms

Column = tuple[float, float, float]

_BASE: tuple[Column, ...] = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (0.0, 0.0, 0.0))


def single_frame_columns(theta: Tensor, plan: Plan, terms: Sequence[Sequence[Terms]]) -> Tensor:
    """Frames of all nodes (node, 4, 4, 1) from joint positions (1, dof) on the CPU, computed in float64."""
    q = theta.tolist()[0]
    frames: list[Sequence[Column]] = [()] * len(plan.nodes)
    for i in plan.order:
        node, own = plan.nodes[i], terms[i]
        parent = frames[node.parent] if node.parent >= 0 else _BASE
        columns = [_combined(own[k], parent) for k in range(3)]
        position = _plus(parent[3], _combined(own[3], parent)) if own[3] else parent[3]
        if node.dof >= 0:
            moved = q[node.dof] * node.multiplier
            if node.prismatic:
                x, y, z = columns[node.column]
                position = _plus(position, (x * moved, y * moved, z * moved))
            else:
                a, b = (node.column + 1) % 3, (node.column + 2) % 3
                columns[a], columns[b] = _turned(columns[a], columns[b], math.cos(moved), math.sin(moved))
        frames[i] = (*columns, position)
    numbers = array("d" if theta.dtype == torch.float64 else "f")
    for x, y, z, p in frames:
        numbers.extend((*x, 0.0, *y, 0.0, *z, 0.0, *p, 1.0))
    return torch.frombuffer(numbers, dtype=theta.dtype).view(len(frames), 4, 4, 1)


def _combined(terms: Terms, parent: Sequence[Column]) -> Column:
    """Sum of factor * parent[column] over `terms`."""
    column, factor = terms[0]
    x, y, z = parent[column]
    if len(terms) == 1:
        return (x, y, z) if factor == 1.0 else (factor * x, factor * y, factor * z)
    x, y, z = factor * x, factor * y, factor * z
    for column, factor in terms[1:]:
        dx, dy, dz = parent[column]
        x, y, z = x + factor * dx, y + factor * dy, z + factor * dz
    return x, y, z


def _plus(a: Column, b: Column) -> Column:
    return a[0] + b[0], a[1] + b[1], a[2] + b[2]


def _turned(a: Column, b: Column, cos: float, sin: float) -> tuple[Column, Column]:
    """(cos * a + sin * b, cos * b - sin * a)."""
    (ax, ay, az), (bx, by, bz) = a, b
    return (
        (cos * ax + sin * bx, cos * ay + sin * by, cos * az + sin * bz),
        (cos * bx - sin * ax, cos * by - sin * ay, cos * bz - sin * az),
    )
