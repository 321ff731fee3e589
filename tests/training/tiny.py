"""Tiny demonstrations, policies and trainings that the tests of this folder share."""

from __future__ import annotations

import torch

from ikp.data import Demonstrations
from ikp.kinematics import ur5e
from ikp.nets import EncoderConfig
from ikp.policies import DataSpec, Policy, PolicyConfig, make_policy
from ikp.policies.config import SearchConfig
from ikp.training.config import TrainConfig

CONFIG = TrainConfig(
    steps=40, batch_size=16, validate_every=15, checkpoint_every=10, log_every=5, held_out=0.2, threads=1
)


def tiny_demonstrations(episodes: int = 10, length: int = 12) -> Demonstrations:
    """Joint motions towards a goal shown as the environment state, with 16x16 images."""
    generator = torch.Generator().manual_seed(0)
    joints = tuple(f"joint_{i}" for i in range(6))
    spec = DataSpec(
        (*joints, "vacuum"), (*joints, "holding"), ("g0", "g1"), {"front": (16, 16, 3)},
        joint_dims=tuple(range(6)), discrete_dims=(6,),
    )  # fmt: skip
    home = torch.tensor([-0.3, -1.4, 2.0, -2.2, -1.57, -1.8])
    goal = torch.randn(episodes, 1, 2, generator=generator)
    q = home + 0.2 * torch.randn(episodes, 1, 6, generator=generator) * torch.linspace(1, 0, length)[:, None]
    holding = (torch.arange(length) > length // 2).float().expand(episodes, -1)[..., None]
    step = -0.2 * (q - home)
    step[..., :2] += 0.05 * goal
    frames = episodes * length
    return Demonstrations(
        spec=spec,
        state=torch.cat([q, holding], -1).reshape(frames, 7),
        action=torch.cat([q + step, holding], -1).reshape(frames, 7),
        environment_state=goal.expand(-1, length, -1).reshape(frames, 2),
        images={"front": torch.randint(0, 255, (frames, 16, 16, 3), generator=generator, dtype=torch.uint8)},
        episode_index=torch.arange(episodes).repeat_interleave(length),
        frame_index=torch.arange(length).repeat(episodes),
        success=torch.ones(episodes, dtype=torch.bool),
    )


def tiny_policy(data: Demonstrations, seed: int = 0) -> Policy:
    torch.manual_seed(seed)
    search = SearchConfig(grid=8)
    encoder = EncoderConfig(channels=8)
    config = PolicyConfig(width=16, blocks=1, negatives=4, search=search, encoder=encoder)
    return make_policy(ur5e(), data.spec, config)
