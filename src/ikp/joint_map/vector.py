"""Conversion of one recorded vector, an action or a state, to the model's numbers and back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from ikp.joint_map.dimension import EXTRA, GRIPPER, IGNORED, JOINT, ROLES, Dimension


class _Numbers(NamedTuple):
    """The numbers of a conversion.

    Attributes:
        order: (model's dimensions,) recorded dimension of each.
        factor, shift: (model's dimensions,) float64, model = factor * recorded + shift.
        discrete: (model's dimensions,) whether it is a gripper.
        fill: (recorded dimensions,) float64, numbers of the ignored ones.
    """

    order: Tensor
    factor: Tensor
    shift: Tensor
    discrete: Tensor
    fill: Tensor


@dataclass(frozen=True)
class VectorMap:
    """The map of one recorded vector, an action or a state.

    The model's vector holds the joints in the robot's order, then grippers, then extras; without joints it keeps the
    recorded order.

    Attributes:
        dimensions: one entry per recorded dimension, in the recorded order.
        joints: the robot's joints, in the order of q.
        grippers: names of the grippers, in the model's order.
        commands: whether gripper values are commands, of which the model sees 0 or 1; measured ones may lie between.
    """

    dimensions: tuple[Dimension, ...]
    joints: tuple[str, ...] = ()
    grippers: tuple[str, ...] = ()
    commands: bool = False

    @cached_property
    def order(self) -> tuple[int, ...]:
        """The recorded dimension of each of the model's."""
        of_role = {role: [i for i, d in enumerate(self.dimensions) if d.role == role] for role in ROLES}
        if not self.joints:
            return tuple(i for i, d in enumerate(self.dimensions) if d.role != IGNORED)
        place = {name: number for number, name in enumerate((*self.joints, *self.grippers))}
        named = of_role[JOINT] + of_role[GRIPPER]
        return (*sorted(named, key=lambda i: place[self.dimensions[i].joint]), *of_role[EXTRA])

    @cached_property
    def kept(self) -> tuple[Dimension, ...]:
        """The entries of the model's dimensions, in the model's order."""
        return tuple(self.dimensions[i] for i in self.order)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the model's dimensions."""
        return tuple(d.model_name for d in self.kept)

    @cached_property
    def is_identity(self) -> bool:
        """Whether recorded and model's numbers are the same, in the same order."""
        straight = self.order == tuple(range(len(self.dimensions)))
        return straight and all(d.factor == 1 and d.shift == 0 for d in self.dimensions)

    def to_model(self, recorded: Tensor) -> Tensor:
        """(..., recorded dimensions) to (..., model's dimensions), computed in float64, in the precision given.

        Raises:
            ValueError: the last dimension has another size.
        """
        self._check(recorded, len(self.dimensions), "recorded")
        numbers = self._numbers(recorded.device)
        model = recorded.index_select(-1, numbers.order).double() * numbers.factor + numbers.shift
        return _like(self._decided(model, numbers.discrete), recorded)

    def to_recorded(self, model: Tensor) -> Tensor:
        """(..., model's dimensions) to (..., recorded dimensions), the inverse; ignored ones get their `fill`.

        Raises:
            ValueError: the last dimension has another size.
        """
        self._check(model, len(self.order), "the model's")
        numbers = self._numbers(model.device)
        kept = (self._decided(model.double(), numbers.discrete) - numbers.shift) / numbers.factor
        fill = numbers.fill.expand(*model.shape[:-1], -1)
        return _like(fill.index_copy(-1, numbers.order, kept), model)

    def _decided(self, model: Tensor, discrete: Tensor) -> Tensor:
        """Commands of grippers as exactly 0 or 1."""
        return torch.where(discrete, (model > 0.5).double(), model) if self.commands else model

    def _numbers(self, device: torch.device) -> _Numbers:
        """The numbers of the conversion on a device, made at the first call."""
        if device not in self._numbers_on:
            self._numbers_on[device] = self._made(device)
        return self._numbers_on[device]

    @cached_property
    def _numbers_on(self) -> dict[torch.device, _Numbers]:
        return {}

    @torch.inference_mode(False)  # a tensor that is kept must serve training too
    def _made(self, device: torch.device) -> _Numbers:
        def doubles(values: Iterable[float]) -> Tensor:
            return torch.tensor(list(values), dtype=torch.float64, device=device)

        return _Numbers(
            order=torch.tensor(self.order, dtype=torch.long, device=device),
            factor=doubles(d.factor for d in self.kept),
            shift=doubles(d.shift for d in self.kept),
            discrete=torch.tensor([d.role == GRIPPER for d in self.kept], dtype=torch.bool, device=device),
            fill=doubles(d.fill for d in self.dimensions),
        )

    def _check(self, values: Tensor, size: int, what: str) -> None:
        if not values.ndim or values.shape[-1] != size:
            raise ValueError(
                f"{'an action' if self.commands else 'a state'} has the shape {tuple(values.shape)}: expected "
                f"{size} numbers in the last dimension, {what} ({', '.join(d.name for d in self.dimensions)})"
            )


def _like(values: Tensor, given: Tensor) -> Tensor:
    """The values in the precision of the given tensor; float32 where that holds whole numbers."""
    return values.to(given.dtype if given.is_floating_point() else torch.float32)
