"""Searches against exhaustive grids and walks against all at once, densities against known ones."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Normal

from ikp.policies import DataSpec, ImplicitPolicy, PolicyConfig, implicit, make_policy
from ikp.policies.config import LINKS, Ablations, SearchConfig
from ikp.policies.energy import EnergyWalk
from ikp.policies.langevin import CHAINS, joint_log_density, langevin
from ikp.policies.proposal import LearnedProposal, uniform_negatives
from ikp.policies.search import search

from .conftest import assert_walk_equals_all_at_once, fitted, searched


def log_density(policy: ImplicitPolicy, context, encoded: torch.Tensor) -> torch.Tensor:
    """log p(encoded | context) up to a constant."""
    return joint_log_density(policy.pooled_energies(context, encoded), policy.bounds, encoded)


@pytest.mark.parametrize("links", LINKS)
@pytest.mark.parametrize(
    "residual", [(), ("offset",), ("offset", "drift"), ("offset", "drift", "dense", "link")]
)
def test_a_walk_equals_all_dimensions_at_once(robot, residual, links):
    policy, batch = fitted(robot, "ikp", residual=residual, links=links)
    assert_walk_equals_all_at_once(policy, batch)


def test_only_the_tips_energy_sees_a_pose_where_only_the_tip_is_shown(robot):
    policy, batch = fitted(robot, "ikp", links="tip", observed_poses=False)
    expert = policy.actions.encode(batch["state"][:, -1], batch["action"])
    candidates = uniform_negatives(policy.bounds.low, policy.bounds.high, len(expert), 8)
    context = policy.encode(batch)
    with torch.no_grad():
        before = policy.conditional_energies(context, expert)(candidates)
        policy.poses.residual.offset.value[0] = 0.3  # turns the whole arm about its base
        after = policy.conditional_energies(context, expert)(candidates)
    assert torch.equal(after[:, :5], before[:, :5])
    assert (after[:, 5] - before[:, 5]).abs().min() > 0


def test_energies_of_a_dimension_ignore_later_dimensions(robot):
    policy, batch = fitted(robot, "ikp")
    expert = policy.actions.encode(batch["state"][:, -1], batch["action"])
    candidates = uniform_negatives(policy.bounds.low, policy.bounds.high, len(expert), 8)
    context = policy.encode(batch)
    before = policy.conditional_energies(context, expert)(candidates)
    changed = expert.clone()
    changed[:, 3] += 0.1
    after = policy.conditional_energies(context, changed)(candidates)
    torch.testing.assert_close(after[:, :4], before[:, :4])
    assert (after[:, 4:] - before[:, 4:]).abs().min(-1).values.max() > 0


def test_equal_energies_cost_the_log_of_the_candidates(robot):
    policy, batch = fitted(robot, "implicit-joint", proposal="uniform")
    with torch.no_grad():
        policy.energies.stack.head.weight.zero_()
        policy.energies.stack.head.bias.fill_(3.0)
    _, parts = policy.loss(batch)
    expected = policy.dims * math.log(policy.config.negatives + 1)
    assert float(parts["info_nce"]) == pytest.approx(expected, abs=1e-5)


def test_negatives_fill_the_bounds_evenly(robot):
    policy, _ = fitted(robot, "ikp", negatives=16)
    unit = policy.bounds.to_unit(
        uniform_negatives(policy.bounds.low, policy.bounds.high, 500, 16).transpose(1, 2)
    )
    assert unit.min() >= -1
    assert unit.max() <= 1
    counts = torch.histc(unit[..., 0], bins=16, min=-1, max=1)
    assert torch.allclose(counts, torch.full_like(counts, 500), atol=30)


def test_the_learned_proposal_is_the_density_of_its_draws(robot):
    policy, _ = fitted(robot, "ikp", negatives=64, proposal="learned")
    low, high = torch.full((6,), -3.0), torch.full((6,), 2.0)
    near = Normal(torch.linspace(-1, 1, 6).expand(3000, -1), torch.full((3000, 6), 0.1))
    draws = policy.proposal.sample(near, 64, low, high)[:, 2].flatten()
    edges = torch.linspace(-0.5, 0.1, 7)
    width = float(edges[1] - edges[0])
    found = torch.histogram(draws, edges).hist / len(draws) / width
    fine = torch.linspace(-0.5, 0.1, 601).expand(1, 6, -1)
    one = Normal(near.mean[:1], near.stddev[:1])
    density = policy.proposal.log_density(one, fine, 64, low, high).exp()[0, 2, :600].reshape(6, 100).mean(1)
    torch.testing.assert_close(found, density, atol=0.02, rtol=0.05)


def test_the_standard_deviations_of_a_proposal_do_not_train_what_its_means_are_read_from():
    proposal, context = LearnedProposal(7, 3, width=16, blocks=2), torch.randn(5, 7, requires_grad=True)
    near = proposal(context)
    proposal.loss(near, near.mean.detach()).backward()  # only the likelihood has a gradient here
    assert proposal.log_std.weight.grad.abs().max() > 0
    for tensor in (context, *proposal.network.parameters()):
        assert tensor.grad.abs().max() == 0


def test_a_learned_proposal_starts_from_the_data_and_learns_the_mean(robot):
    policy, batch = fitted(robot, "ikp", proposal="learned", width=64)
    expert = policy.actions.encode(batch["state"][:, -1], batch["action"])
    context = policy.encode(batch).features.detach()
    assert 0.3 < float(policy.proposal(context).stddev.detach().mean()) < 2
    optimizer = torch.optim.AdamW(policy.proposal.parameters(), lr=3e-3)
    for _ in range(200):
        loss = policy.proposal.loss(policy.proposal(context), policy.scale(expert))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    near = policy.proposal(context)
    assert (near.mean - policy.scale(expert)).abs().mean() < 0.2
    assert float(near.stddev.detach().mean()) < 0.3


def test_search_finds_the_exhaustive_minimum_of_each_dimension(robot):
    policy, batch = fitted(robot, "ikp", grid=64, refinements=2, window=0.0)
    policy.eval()
    context = policy.encode(batch)
    chosen = searched(policy, context)
    unit = torch.linspace(0, 1, 20_001)
    grid = policy.bounds.low[:, None] + unit * (policy.bounds.high - policy.bounds.low)[:, None]
    with torch.no_grad():
        energies = policy.pooled_energies(context, chosen)
        least = energies(grid.expand(len(chosen), -1, -1)).amin(-1)
        found = energies(chosen[..., None])[..., 0]
    assert (found - least).max() < 1e-4


def test_a_beam_never_ends_less_likely_than_the_greedy_choice(robot):
    policy, batch = fitted(robot, "implicit-joint", width=64, window=0.0)
    policy.eval()
    context = policy.encode(batch)
    greedy = log_density(policy, context, searched(policy, context))
    beamed, _ = fitted(robot, "implicit-joint", width=64, beam=6, window=0.0)
    beamed.load_state_dict(policy.state_dict())
    wide = log_density(beamed, context, searched(beamed.eval(), context))
    assert (wide >= greedy - 0.05).all()


def test_density_gradient_through_the_kinematics_equals_finite_differences(robot):
    policy, batch = fitted(robot, "ikp")
    policy.double().eval()
    batch = {key: value.double() if torch.is_tensor(value) else value for key, value in batch.items()}
    context = policy.encode(batch)
    context = context.rows(torch.arange(2))
    expert = policy.actions.encode(batch["state"][:2, -1], batch["action"][:2])
    leaf = expert.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(log_density(policy, context, leaf).sum(), leaf, retain_graph=True)
    step = 1e-8  # the energies are piecewise linear: a longer one often meets a kink
    for j in range(policy.dims):
        shift = torch.zeros_like(expert)
        shift[:, j] = step
        with torch.no_grad():
            high = log_density(policy, context, expert + shift)
            low = log_density(policy, context, expert - shift)
        torch.testing.assert_close(gradient[:, j], (high - low) / (2 * step), atol=1e-5, rtol=1e-4)


def train_raw(sample, steps: int = 700, **changes) -> ImplicitPolicy:
    """A raw policy trained on actions that do not depend on the observation."""
    torch.manual_seed(0)
    first = sample(4000)
    names = tuple(f"a{i}" for i in range(first.shape[1]))
    spec = DataSpec(action_names=names, state_names=("s",))
    config = PolicyConfig(
        action_space="raw",
        width=64,
        blocks=1,
        bfloat16=False,
        ablation=Ablations(prefix_noise=0.0),
        **changes,
    )
    policy = make_policy(None, spec, config)
    policy.fit_scales(torch.zeros(4000, 1), first)
    optimizer = torch.optim.AdamW(policy.parameters(), lr=3e-3)
    for _ in range(steps):
        loss, _ = policy.loss({"state": torch.zeros(256, 1, 1), "action": sample(256), "images": {}})
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return policy.eval()


def two_humps(count: int) -> torch.Tensor:
    """a0 is +-1 with noise 0.25 (70 % positive); a1 = a0 / 2 with noise 0.2."""
    sign = torch.where(torch.rand(count) < 0.7, 1.0, -1.0)
    a0 = sign + 0.25 * torch.randn(count)
    return torch.stack([a0, 0.5 * a0 + 0.2 * torch.randn(count)], -1)


def hump(x: torch.Tensor, mean: float, std: float) -> torch.Tensor:
    return torch.exp(-0.5 * ((x - mean) / std) ** 2) / (std * math.sqrt(2 * math.pi))


@pytest.mark.parametrize("proposal", ["uniform", "learned"])
def test_energies_recover_known_conditional_densities(proposal):
    policy = train_raw(two_humps, negatives=32, proposal=proposal)
    context = policy.encode({"state": torch.zeros(1, 1, 1)})
    low, high = policy.bounds.low, policy.bounds.high
    unit = torch.linspace(0, 1, 400)
    grid = (low[:, None] + unit * (high - low)[:, None])[None]
    prefix = torch.tensor([[1.0, 0.0]])
    with torch.no_grad():
        energy = policy.conditional_energies(context, prefix)(grid)[0]
    cell = (high - low) / 399
    found = torch.softmax(-energy, -1) / cell[:, None]
    known = torch.stack(
        [0.7 * hump(grid[0, 0], 1, 0.25) + 0.3 * hump(grid[0, 0], -1, 0.25), hump(grid[0, 1], 0.5, 0.2)]
    )
    total_variation = 0.5 * ((found - known).abs() * cell[:, None]).sum(-1)
    assert (total_variation < 0.12).all(), total_variation


def test_a_window_prefers_the_probable_neighbourhood_to_the_narrow_peak():
    """30 % in a peak of width 0.01, 70 % spread over width 0.3: the peak is denser, the spread more probable."""

    class Known:
        xp = torch

        def __init__(self) -> None:
            self.chosen = torch.zeros(1, 1)

        def energies(self, j):
            return lambda x: -(0.3 * hump(x, 0.0, 0.01) + 0.7 * hump(x, 0.6, 0.1) + 1e-12).log()

        def commit(self, j, values):
            self.chosen = values[:, None]

        def keep(self, rows):
            raise AssertionError("there is no beam")

    sharp, wide = (
        search(Known(), [-1.0], [1.0], SearchConfig(grid=201, window=window)) for window in (0.0, 0.04)
    )
    torch.testing.assert_close(sharp, torch.tensor([[0.0]]), atol=1e-3, rtol=0)
    torch.testing.assert_close(wide, torch.tensor([[0.6]]), atol=1e-2, rtol=0)


def test_the_window_finds_a_peak_between_grid_points(robot):
    policy, batch = fitted(robot, "ikp", proposal="uniform")
    low, high = policy.bounds.low, policy.bounds.high
    peak = low + 0.4137 * (high - low)

    class Known(EnergyWalk):
        def energies(self, j):
            return lambda x: 0.5 * ((x.expand(12, -1) - peak[j]) / (0.004 * (high[j] - low[j]))) ** 2

    with torch.no_grad():
        walk = Known(policy.energies, policy.conditioning(policy.encode(batch)))
        found = search(walk, low.tolist(), high.tolist(), policy.config.search)
    assert ((found - peak) / (high - low)).abs().max() < 5e-4  # a twentieth of a cell of the grid


def test_search_and_langevin_find_the_mode_of_a_known_density():
    policy = train_raw(two_humps)
    context = policy.encode({"state": torch.zeros(3, 1, 1)})
    expected = torch.tensor([1.0, 0.5]).expand(3, -1)
    torch.testing.assert_close(searched(policy, context), expected, atol=0.15, rtol=0)
    torch.manual_seed(0)
    tiled = context.rows(torch.arange(3).repeat_interleave(8))
    found = langevin(
        lambda prefix: policy.pooled_energies(tiled, prefix), policy.bounds, searched(policy, context)
    )
    torch.testing.assert_close(found, expected, atol=0.15, rtol=0)
    with torch.no_grad():
        assert (
            log_density(policy, context, found)
            >= log_density(policy, context, searched(policy, context)) - 0.02
        ).all()


def test_langevin_is_a_choice_of_the_configuration(robot):
    policy, batch = fitted(robot, "ikp", search=SearchConfig(method="langevin"))
    action = policy.act(batch)
    assert torch.isfinite(action).all()
    assert not torch.equal(action, fitted(robot, "ikp")[0].act(batch))


def test_langevin_regresses_once_and_follows_the_pooled_energies(robot, monkeypatch):
    policy, batch = fitted(robot, "ikp", search=SearchConfig(method="langevin"))
    context, calls, given = policy.eval().encode(batch), [], {}
    policy.proposal.register_forward_hook(lambda *_: calls.append(1))
    monkeypatch.setattr(
        implicit, "langevin", lambda energies, _, start: given.update(energies=energies) or start
    )
    prefix = policy.choose(context)
    assert len(calls) == 1
    tiled = torch.arange(len(prefix)).repeat_interleave(CHAINS)
    candidates = policy.bounds.low[:, None] + torch.rand(len(tiled), prefix.shape[1], 5) * 0.1
    expected = policy.pooled_energies(context.rows(tiled), prefix[tiled])(candidates)
    assert torch.allclose(given["energies"](prefix[tiled])(candidates), expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(
        policy.conditional_energies(context.rows(tiled), prefix[tiled])(candidates), expected
    )
