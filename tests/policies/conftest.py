"""Small data and policies that the tests of this folder share."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch

from ikp.kinematics import Robot, ur5e
from ikp.nets import EncoderConfig
from ikp.policies import DataSpec, ImplicitPolicy, Policy, PolicyConfig, make_policy, method_config
from ikp.policies.config import Ablations, SearchConfig
from ikp.policies.energy import EnergyWalk
from ikp.policies.policy import Context
from ikp.policies.proposal import uniform_negatives
from ikp.policies.search import search

JOINTS = tuple(f"joint_{i}" for i in range(6))


@pytest.fixture(scope="session")
def robot() -> Robot:
    return ur5e()


def small_spec(*, pixels: bool = False) -> DataSpec:
    return DataSpec(
        action_names=(*JOINTS, "vacuum"),
        state_names=(*JOINTS, "holding"),
        environment_state_names=() if pixels else ("x", "y", "z"),
        image_shapes={"front": (32, 32, 3)} if pixels else {},
        joint_dims=tuple(range(6)),
        discrete_dims=(6,),
    )


def small_config(**changes: object) -> PolicyConfig:
    """A small policy; fields of its search and ablation may be given beside its own."""
    values: dict = {"width": 32, "blocks": 1, "negatives": 8, "bfloat16": False}
    encoder = EncoderConfig(channels=8)
    parts: dict = {"encoder": encoder}
    for part, kind in (("search", SearchConfig), ("ablation", Ablations)):
        if part not in changes:
            names = [field.name for field in fields(kind) if field.name in changes]
            parts[part] = kind(**{name: changes.pop(name) for name in names})
    return PolicyConfig(**{**values, **parts, **changes})


def small_batch(spec: DataSpec, size: int = 12, *, history: int = 1, seed: int = 0) -> dict:
    """Random observations with actions near the measured joints."""
    generator = torch.Generator().manual_seed(seed)
    home = torch.tensor([-0.3, -1.4, 2.0, -2.2, -1.57, -1.8])
    q = home + 0.3 * torch.randn(size, 6, generator=generator)
    holding = (torch.rand(size, 1, generator=generator) > 0.5).float()
    action = torch.cat([q + 0.05 * torch.randn(size, 6, generator=generator), 1 - holding], -1)
    state = torch.cat([q, holding], -1)[:, None].repeat(1, history, 1)
    batch: dict = {"state": state, "action": action, "images": {}}
    if spec.environment_state_dim:
        batch["environment_state"] = torch.randn(size, history, 3, generator=generator)
    for camera, shape in spec.image_shapes.items():
        images = torch.randint(0, 255, (size, history, *shape), generator=generator, dtype=torch.uint8)
        batch["images"][camera] = images
    return batch


@torch.no_grad()
def searched(policy: ImplicitPolicy, context: Context) -> torch.Tensor:
    """The encoded actions that the search finds in torch, whatever the number of rows."""
    walk = policy.pooled_walk(context, EnergyWalk)
    return search(walk, policy.bounds.low.tolist(), policy.bounds.high.tolist(), policy.config.search)


def fitted(robot: Robot, method: str, *, pixels: bool = False, **changes: object) -> tuple[Policy, dict]:
    """A small policy of a method, its scales taken from a batch, and the batch."""
    torch.manual_seed(0)
    spec = small_spec(pixels=pixels)
    residual = changes.pop("residual", None)
    config = method_config(method, small_config(**changes))
    if residual is not None:
        config = replace(config, residual=residual)
    policy = make_policy(robot, spec, config)
    batch = small_batch(spec, history=config.history)
    environment = batch.get("environment_state")
    policy.fit_scales(
        batch["state"][:, -1], batch["action"], None if environment is None else environment[:, -1]
    )
    return policy, batch


@torch.no_grad()
def assert_walk_equals_all_at_once(policy: ImplicitPolicy, batch: dict) -> None:
    """The energies that a search asks for one by one are the teacher-forced ones, residuals and kept rows included."""
    for name, parameter in policy.named_parameters():
        if ".residual." in name:
            parameter.add_(0.03 * torch.randn_like(parameter))
    expert = policy.actions.encode(batch["state"][:, -1], batch["action"])
    candidates = uniform_negatives(policy.bounds.low, policy.bounds.high, len(expert), 8)
    context = policy.encode(batch)
    together = policy.pooled_energies(context, expert)(candidates)
    walk = policy.pooled_walk(context, EnergyWalk)
    rows = torch.tensor([3, 3, 0, 7])
    for j in range(policy.dims):
        alone = walk.energies(j)(candidates[:, j])
        torch.testing.assert_close(alone, together[:, j], atol=1e-5, rtol=1e-4)
        if j == 2:
            walk.keep(rows)
            expert, candidates, together = expert[rows], candidates[rows], together[rows]
        walk.commit(j, expert[:, j])
