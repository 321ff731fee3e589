"""What a demonstration was about to do, told by its own later frames: no privileged state, no annotation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Int
from torch import Tensor

if TYPE_CHECKING:
    from ikp.data.demonstrations import Demonstrations

CLOSED = 0.5
"""A gripper's value above this counts as closed."""


def next_events(demonstrations: Demonstrations) -> Int[Tensor, " frame"]:
    """For each frame the next gripper event of its episode: the first later frame at which a gripper has switched.

    Without a later event, and in tasks without a gripper, it is the episode's last frame.
    """
    gripper = gripper_states(demonstrations)
    device = gripper.device
    events = torch.zeros(len(gripper), dtype=torch.bool, device=device)
    events[1:] = (gripper[1:] != gripper[:-1]).any(-1)
    first, after = demonstrations.episode_bounds.to(device).unbind(1)
    events[first] = False  # a switch between two episodes is none
    last = torch.repeat_interleave(after - 1, after - first)
    at = torch.nonzero(events).flatten()
    if not len(at):
        return last
    following = torch.searchsorted(at, torch.arange(len(gripper), device=device), right=True)
    found = at[following.clamp(max=len(at) - 1)]
    return torch.where(following < len(at), torch.minimum(found, last), last)


def gripper_states(demonstrations: Demonstrations) -> Bool[Tensor, "frame grippers"]:
    """Whether each gripper is closed: as measured where the state has its dimension, else as commanded."""
    spec = demonstrations.spec
    measured = [dim for dim in spec.discrete_dims if dim < spec.state_dim]
    commanded = [dim for dim in spec.discrete_dims if dim >= spec.state_dim]
    return torch.cat([demonstrations.state[:, measured], demonstrations.action[:, commanded]], 1) > CLOSED
