"""Several way-points as one encoded action."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ikp.policies.actions import ActionSpace, Encoded, State


class WayPoints(ActionSpace):
    """Encodes every way-point by the same action space, each relative to the measured state, one after another.

    Args:
        space: encodes one way-point.
        count: number of way-points.
    """

    def __init__(self, space: ActionSpace, count: int) -> None:
        names = [f"{name}@{k + 1}" for k in range(count) for name in space.names]
        super().__init__(space.action_dims, names)
        self.space, self.count = space, count

    @property
    def step(self) -> ActionSpace:
        return self.space

    def fit(self, action: Float[Tensor, "frames way_points action"]) -> None:
        self.space.fit(action.flatten(0, 1))

    def encode(self, state: State, action: Float[Tensor, "batch way_points action"]) -> Encoded:
        return self._one_after_another(self.space.encode(self._repeated(state), action.flatten(0, 1)))

    def decode(self, state: State, encoded: Encoded) -> Float[Tensor, "batch way_points continuous"]:
        """The continuous dimensions; the inverse kinematics of a way-point starts from the one before."""
        found, start = [], None
        for part in encoded.chunk(self.count, -1):
            start = self.space.decode(state, part, start)
            found.append(start)
        return torch.stack(found, 1)

    def motions(self, state: State, encoded: Encoded) -> Encoded:
        rows = encoded.reshape(len(encoded) * self.count, -1)
        return self._one_after_another(self.space.motions(self._repeated(state), rows))

    def shift(self, state: State) -> Encoded:
        return self.space.shift(state).repeat(1, self.count)

    def _repeated(self, state: State) -> Float[Tensor, "rows state"]:
        return state.repeat_interleave(self.count, 0)

    def _one_after_another(self, rows: Float[Tensor, "rows step"]) -> Encoded:
        return rows.reshape(len(rows) // self.count, -1)
