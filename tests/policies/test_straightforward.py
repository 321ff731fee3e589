"""The policy against its straightforward form, and its search against exhaustive ones."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path

import pytest
import torch

from ikp.kinematics import iiwa14_dual, ur5e
from ikp.policies import DataSpec, ImplicitPolicy, make_policy
from ikp.policies.config import SearchConfig

from .conftest import searched, small_config

ROOT = Path(__file__).parents[2]
ROBOTS = {"ur5e": ur5e, "iiwa14_dual": iiwa14_dual}
SPACES = [
    ("raw", ()),
    ("joint", ()),
    ("cartesian", ()),
    ("joint+cartesian", ()),
    ("joint+cartesian", ("offset",)),
    ("joint+cartesian", ("dense",)),
    ("joint+cartesian", ("link",)),
    ("joint+cartesian", ("offset", "dense", "link")),
]
NAMES = ["+".join((space, *residual)) for space, residual in SPACES]


def load_straightforward():
    path = ROOT / "benchmarks" / "straightforward.py"
    spec = importlib.util.spec_from_file_location("straightforward", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


straightforward = load_straightforward()


def arm_spec(dof: int, *, pixels: bool = False) -> DataSpec:
    joints = tuple(f"joint_{i}" for i in range(dof))
    return DataSpec(
        action_names=(*joints, "gripper"),
        state_names=(*joints, "holding"),
        environment_state_names=() if pixels else ("x", "y", "z"),
        image_shapes={"front": (32, 32, 3)} if pixels else {},
        joint_dims=tuple(range(dof)),
        discrete_dims=(dof,),
    )


def arm_batch(spec: DataSpec, dtype: torch.dtype, size: int = 5) -> dict:
    """Random joints within the arms' reach, actions near them, everything else random."""
    dof = len(spec.joint_dims)
    q = torch.linspace(-1, 1.2, dof) + 0.4 * torch.randn(size, dof)
    holding = (torch.rand(size, 1) > 0.5).float()
    action = torch.cat([q + 0.1 * torch.randn(size, dof), 1 - holding], -1)
    batch: dict = {"state": torch.cat([q, holding], -1)[:, None], "action": action, "images": {}}
    if spec.environment_state_dim:
        batch["environment_state"] = torch.randn(size, 1, 3)
    batch = {key: value.to(dtype) if torch.is_tensor(value) else value for key, value in batch.items()}
    for camera, shape in spec.image_shapes.items():
        batch["images"][camera] = torch.randint(0, 255, (size, 1, *shape), dtype=torch.uint8)
    return batch


def arm_policy(
    robot_name: str, space: str, *, pixels: bool = False, dtype=torch.float64, **changes
) -> tuple[ImplicitPolicy, dict]:
    """A policy with random weights, residuals included, whose energies have several minima; and a batch."""
    robot = ROBOTS[robot_name]()
    spec = arm_spec(robot.dof, pixels=pixels)
    config = small_config(action_space=space, **changes)
    policy = make_policy(None if space == "raw" else robot, spec, config).to(dtype)
    assert isinstance(policy, ImplicitPolicy)
    batch = arm_batch(spec, dtype)
    environment = batch.get("environment_state")
    policy.fit_scales(
        batch["state"][:, -1], batch["action"], None if environment is None else environment[:, -1]
    )
    with torch.no_grad():
        policy.energies.stack.head.weight.mul_(20)
        for name, parameter in policy.named_parameters():
            if ".residual." in name:
                parameter.add_(0.03 * torch.randn_like(parameter))
    return policy, batch


@torch.no_grad()
def chosen(policy: ImplicitPolicy, batch: dict) -> torch.Tensor:
    """The encoded actions of the policy's search."""
    return searched(policy, policy.encode(batch))


def both_losses(policy: ImplicitPolicy, batch: dict) -> tuple[torch.Tensor, torch.Tensor, torch.nn.Module]:
    """The losses of both forms over the same negatives, gradients computed."""
    reference = straightforward.Straightforward(policy)
    torch.manual_seed(1)
    loss, _ = policy.loss(batch)
    torch.manual_seed(1)
    plain = reference.loss(batch)
    loss.backward()
    plain.backward()
    return loss, plain, reference


def assert_equal_gradients(policy: ImplicitPolicy, reference: torch.nn.Module, **tolerance: float) -> None:
    found = {name: parameter.grad for name, parameter in policy.named_parameters()}
    assert all(gradient is not None for gradient in found.values())
    shared = {name: parameter.grad for name, parameter in reference.shared.named_parameters()}
    stacked = [name for name in found if name.startswith("energies.")]
    assert sorted(found) == sorted([*shared, *stacked])
    for name, gradient in shared.items():
        torch.testing.assert_close(found[name], gradient, **tolerance, msg=lambda m, n=name: f"{n}: {m}")
    for j in range(policy.dims):
        layers = straightforward.dense_layers(found, policy, j)
        for linear, (weight, bias) in zip(
            straightforward.linears(reference.networks[j]), layers, strict=True
        ):
            torch.testing.assert_close(weight, linear.weight.grad, **tolerance)
            torch.testing.assert_close(bias, linear.bias.grad, **tolerance)
        own = policy.energies.first_layer.own.shape[1]
        assert (
            policy.energies.first_layer.prefix.grad[j, j * own :] == 0
        ).all()  # what a dimension must not see


@pytest.mark.parametrize("proposal", ["uniform", "learned"])
@pytest.mark.parametrize(("space", "residual"), SPACES, ids=NAMES)
@pytest.mark.parametrize("robot", ROBOTS)
def test_losses_and_gradients_equal_the_straightforward_form(robot, space, residual, proposal):
    policy, batch = arm_policy(robot, space, residual=residual, proposal=proposal)
    loss, plain, reference = both_losses(policy, batch)
    torch.testing.assert_close(loss, plain, rtol=1e-10, atol=1e-10)
    assert_equal_gradients(policy, reference, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("residual", [(), ("offset", "dense", "link")], ids=["nominal", "corrected"])
@pytest.mark.parametrize("robot", ROBOTS)
def test_the_tips_poses_alone_equal_the_straightforward_form(robot, residual):
    policy, batch = arm_policy(robot, "joint+cartesian", residual=residual, links="tip", window=0.04)
    every, _ = arm_policy(robot, "joint+cartesian", residual=residual)
    hidden = policy.dims - len(policy.robot.tip_names)
    assert every.context_size - policy.context_size == 9 * hidden
    loss, plain, reference = both_losses(policy, batch)
    torch.testing.assert_close(loss, plain, rtol=1e-10, atol=1e-10)
    assert_equal_gradients(policy, reference, rtol=1e-7, atol=1e-9)
    policy.eval()
    scale = policy.bounds.high - policy.bounds.low
    torch.testing.assert_close(
        chosen(policy, batch) / scale, reference.choose(batch) / scale, rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("robot", ROBOTS)
@pytest.mark.parametrize("space", ["joint", "joint+cartesian"])
def test_absolute_targets_equal_the_straightforward_form(robot, space):
    policy, batch = arm_policy(robot, space, residual=(), targets="absolute")
    loss, plain, reference = both_losses(policy, batch)
    torch.testing.assert_close(loss, plain, rtol=1e-10, atol=1e-10)
    assert_equal_gradients(policy, reference, rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(chosen(policy, batch), reference.choose(batch), rtol=0, atol=1e-5)


@pytest.mark.parametrize("robot", ROBOTS)
def test_single_precision_from_pixels_equals_the_straightforward_form(robot):
    policy, batch = arm_policy(
        robot, "joint+cartesian", pixels=True, dtype=torch.float32, residual=("offset",)
    )
    loss, plain, reference = both_losses(policy, batch)
    torch.testing.assert_close(loss, plain, rtol=1e-5, atol=1e-4)
    assert_equal_gradients(policy, reference, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("space", "residual"), SPACES, ids=NAMES)
@pytest.mark.parametrize("robot", ROBOTS)
def test_energies_and_context_in_single_precision_equal_the_straightforward_form(robot, space, residual):
    policy, batch = arm_policy(robot, space, residual=residual, dtype=torch.float32)
    policy.eval()
    reference = straightforward.Straightforward(policy)
    context, measured = reference.observe(batch)
    tolerance = {"rtol": 1e-4, "atol": 5e-5}
    torch.testing.assert_close(policy.encode(batch).features, context, **tolerance)
    expert = policy.actions.encode(batch["state"][:, -1], batch["action"])
    unit = torch.rand(*expert.shape, 9)
    low, high = policy.bounds.low[:, None], policy.bounds.high[:, None]
    candidates = low + unit * (high - low)
    fast = policy.conditional_energies(policy.encode(batch), expert)(candidates)
    plain = reference.energies(context, measured, expert, candidates)
    assert plain.std(-1).mean() > 0.1
    torch.testing.assert_close(fast, plain, **tolerance)


@pytest.mark.parametrize(("robot", "window"), [("ur5e", 0.0), ("ur5e", 0.04), ("iiwa14_dual", 0.04)])
@pytest.mark.parametrize(("space", "residual"), SPACES, ids=NAMES)
def test_chosen_actions_equal_the_straightforward_form(robot, space, residual, window):
    policy, batch = arm_policy(robot, space, residual=residual, window=window)
    policy.eval()
    plain = straightforward.Straightforward(policy).choose(batch)
    found = chosen(policy, batch)
    scale = policy.bounds.high - policy.bounds.low
    assert (found.std(0) / scale).max() > 0.05  # the choice depends on the observation
    torch.testing.assert_close(found / scale, plain / scale, rtol=0, atol=1e-6)


@pytest.mark.parametrize("space", ["joint", "joint+cartesian"])
def test_single_precision_acts_the_same_from_pixels(space):
    residual = ("offset",) if space == "joint+cartesian" else ()
    policy, batch = arm_policy("ur5e", space, residual=residual, pixels=True, dtype=torch.float32)
    policy.eval()

    def command(given: dict) -> torch.Tensor:
        plain = straightforward.Straightforward(policy).choose(given)
        return policy.actions.decode(given["state"][:, -1], plain)

    plain, spread = command(batch), torch.zeros(())
    for _ in range(6):  # how far the last digit of the state moves a decision: some minima are flat
        last_digit = 1 + 2e-7 * (torch.rand_like(batch["state"]) - 0.5)
        moved = command({**batch, "state": batch["state"] * last_digit})
        spread = torch.maximum(spread, (moved - plain).abs())
    off = (policy.act(batch)[:, :6] - plain).abs()
    assert (off <= 2e-5 + 2 * spread).all(), off - 2 * spread
    assert (off <= 2e-5).float().mean() > 0.9


@pytest.mark.parametrize(
    ("space", "residual", "window"),
    [("raw", (), 0.0), ("raw", (), 0.04), ("joint+cartesian", ("dense", "link"), 0.0)],
)
def test_a_beam_chooses_the_same_actions(space, residual, window):
    policy, batch = arm_policy("ur5e", space, residual=residual, window=window, beam=4)
    policy.eval()
    scale = policy.bounds.high - policy.bounds.low
    plain = straightforward.Straightforward(policy).choose(batch)
    torch.testing.assert_close(chosen(policy, batch) / scale, plain / scale, rtol=0, atol=1e-6)


def briefly_trained(**changes) -> tuple[ImplicitPolicy, dict]:
    """A kinematic policy after 100 steps on random demonstrations, and 32 frames of them."""
    spec = arm_spec(6)
    batch = arm_batch(spec, torch.float32, size=512)
    policy = make_policy(ur5e(), spec, small_config(window=0.0, **changes))
    assert isinstance(policy, ImplicitPolicy)
    policy.fit_scales(batch["state"][:, -1], batch["action"], batch["environment_state"][:, -1])
    optimizer = torch.optim.AdamW(policy.parameters(), lr=3e-3)
    for step in range(100):
        rows = slice(64 * (step % 8), 64 * (step % 8) + 64)
        loss, _ = policy.loss(
            {key: value[rows] if torch.is_tensor(value) else value for key, value in batch.items()}
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    few = {key: value[:32] if torch.is_tensor(value) else value for key, value in batch.items()}
    return policy.eval(), few


def final_cell(config: SearchConfig) -> float:
    """Distance of neighbouring candidates in the last refinement without a window, as a share of the bounds."""
    return (2 / (config.fine_points - 1)) ** config.refinements / (config.grid - 1)


def test_the_search_finds_what_an_exhaustive_one_finds():
    policy, batch = briefly_trained()
    with torch.no_grad():
        context = policy.encode(batch)
        chosen = searched(policy, context)
        low, high = policy.bounds.low[:, None], policy.bounds.high[:, None]
        fine = (low + torch.linspace(0, 1, 4001) * (high - low)).expand(len(chosen), -1, -1)
        energies = policy.pooled_energies(context, chosen)
        exhaustive, at = energies(fine).min(-1, keepdim=True)
        best, cell = fine.gather(-1, at), final_cell(policy.config.search) * (high - low)
        beside = torch.cat([best - cell, best + cell], -1).clamp(low, high)
        explained = (energies(beside) - exhaustive).amax(-1).clamp_min(0)
        lost = energies(chosen[..., None])[..., 0] - exhaustive[..., 0]
    # Two dips within one cell of the coarse grid can hide the lower one: rare, and the energies then hardly differ.
    assert (lost > explained + 1e-5).float().mean() < 0.02
    assert lost.max() < 0.02


def test_the_default_grid_resolves_a_twentieth_of_a_degree():
    fastest_step = float(ur5e().velocity.max()) / arm_spec(6).fps  # both ways, and the bounds' margin
    degrees = math.degrees(2 * 1.1 * fastest_step * final_cell(SearchConfig(window=0.0)))
    assert degrees < 0.05
