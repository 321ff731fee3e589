"""Training is deterministic, resumable to the same result, and says what is wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ikp.interrupts import sigterm_interrupts
from ikp.kinematics import Camera, ur5e
from ikp.policies import ImagePlaneConfig, Policy, load_policy, make_policy
from ikp.training.config import OPTIMIZERS, TrainConfig
from ikp.training.dependence import dependence
from ikp.training.optimizer import RESIDUAL_LEARNING_RATE, MovingAverage, make_optimizers, schedule
from ikp.training.probe import perception_probe
from ikp.training.trainer import batch_indices, train
from ikp.training.validation import action_errors, frames_at_once

from .tiny import CONFIG, tiny_demonstrations, tiny_policy


def losses(out: Path) -> dict[int, float]:
    """Training loss by step; where a step was run again after a resume, the last one."""
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line["train"]["loss"] for line in lines if "train" in line}


class Stop(Exception):
    pass


def test_the_same_seed_gives_the_same_losses_and_weights(tmp_path):
    data = tiny_demonstrations()
    for name in ("a", "b"):
        train(tiny_policy(data), data, CONFIG, out=tmp_path / name)
    assert losses(tmp_path / "a") == losses(tmp_path / "b")
    a, b = (load_policy(tmp_path / name / "policy").state_dict() for name in ("a", "b"))
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert losses(tmp_path / "a")[40] < losses(tmp_path / "a")[5]


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path):
    data = tiny_demonstrations()
    whole = train(tiny_policy(data), data, CONFIG, out=tmp_path / "whole")

    def stop(policy: Policy, step: int, seconds: float) -> None:
        if step == 30:
            raise Stop

    with pytest.raises(Stop):
        train(tiny_policy(data), data, CONFIG, out=tmp_path / "parts", callback=stop)
    parts = train(tiny_policy(data, seed=5), data, CONFIG, out=tmp_path / "parts", resume=True)
    assert parts.steps == whole.steps == 40
    assert losses(tmp_path / "whole") == losses(tmp_path / "parts")
    expected, found = whole.policy.state_dict(), parts.policy.state_dict()
    assert all(torch.equal(expected[key], found[key]) for key in expected)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_keeps_a_state_and_loses_nothing(tmp_path, number):
    data = tiny_demonstrations()
    config = replace(CONFIG, checkpoint_every=1000)
    whole = train(tiny_policy(data), data, config, out=tmp_path / "whole")

    def stop(policy: Policy, step: int, seconds: float) -> None:
        if step == 30:
            signal.raise_signal(number)

    with sigterm_interrupts(), pytest.raises(KeyboardInterrupt):
        train(tiny_policy(data), data, config, out=tmp_path / "parts", callback=stop)
    assert [path.name for path in (tmp_path / "parts" / "state").iterdir()] == ["step-00000030.safetensors"]
    parts = train(tiny_policy(data, seed=5), data, config, out=tmp_path / "parts", resume=True)
    assert losses(tmp_path / "whole") == losses(tmp_path / "parts")
    expected, found = whole.policy.state_dict(), parts.policy.state_dict()
    assert all(torch.equal(expected[key], found[key]) for key in expected)


def test_a_killed_run_resumes_to_the_same_weights(tmp_path):
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from tiny import CONFIG, tiny_demonstrations, tiny_policy\n"
        "from dataclasses import replace\n"
        "from ikp.training.trainer import train\n"
        "data = tiny_demonstrations()\n"
        "config = replace(CONFIG, steps=400, checkpoint_every=20)\n"
        "train(tiny_policy(data), data, config, out=sys.argv[2], resume=True)\n"
    )
    here = str(Path(__file__).parent)
    command = [sys.executable, "-c", script, here]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([*command, str(tmp_path / "whole")], check=True, env=environment, capture_output=True)
    process = subprocess.Popen(
        [*command, str(tmp_path / "killed")],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    state = tmp_path / "killed" / "state"
    deadline = time.monotonic() + 120
    while len(list(state.glob("step-*"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "killed" / "policy").exists()
    subprocess.run([*command, str(tmp_path / "killed")], check=True, env=environment, capture_output=True)
    whole, killed = (load_policy(tmp_path / name / "policy").state_dict() for name in ("whole", "killed"))
    assert all(torch.equal(whole[key], killed[key]) for key in whole)


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    data = tiny_demonstrations()
    policy = tiny_policy(data)
    with torch.no_grad():
        policy.energies.stack.head.weight.fill_(torch.nan)
    with pytest.raises(FloatingPointError, match="not finite at step 0.*no state was kept before"):
        train(policy, data, CONFIG, out=tmp_path / "run")


def test_a_time_budget_ends_the_run(tmp_path, capsys):
    data = tiny_demonstrations()
    config = TrainConfig(steps=100_000, minutes=0.02, batch_size=8, held_out=0.2, threads=1)
    result = train(tiny_policy(data), data, config, out=tmp_path / "run")
    assert 1 < result.steps < 100_000
    assert 1.0 < result.seconds < 10
    shown = [line for line in capsys.readouterr().err.split("\r") if "training" in line and " 0/" not in line]
    assert shown
    assert not any("/100000 " in line for line in shown), "the bar's total is what the clock allows"


def test_epochs_show_every_frame_once():
    pool = torch.arange(100, 164)
    epoch = torch.cat([batch_indices(pool, 16, step, seed=3) for step in range(4)])
    assert torch.equal(epoch.sort().values, pool)
    again = torch.cat([batch_indices(pool, 16, step, seed=3) for step in range(4, 8)])
    assert not torch.equal(epoch, again)


def test_schedule_rises_and_decays_to_zero():
    assert schedule(0.0) < 0.1
    assert schedule(0.02) == pytest.approx(1.0)
    assert schedule(1.0) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_residuals_learn_slowly_and_do_not_decay(name):
    data = tiny_demonstrations(2)
    policy = tiny_policy(data)
    optimizers = make_optimizers(policy, TrainConfig(optimizer=name))
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    offset = policy.poses.residual.offset.value
    (group,) = [g for g in groups if any(p is offset for p in g["params"])]
    assert group["lr"] == RESIDUAL_LEARNING_RATE
    assert group["weight_decay"] == 0
    assert sum(len(g["params"]) for g in groups) == len(list(policy.parameters()))


def test_muon_takes_the_matrices_and_no_residual():
    data = tiny_demonstrations(2)
    policy = tiny_policy(data)
    _, taken = make_optimizers(policy, TrainConfig(optimizer="muon"))
    by_muon = {id(p) for group in taken.param_groups for p in group["params"]}
    names = {name for name, p in policy.named_parameters() if id(p) in by_muon}
    assert {
        "energies.first_layer.context",
        "energies.first_layer.own",
        "energies.stack.blocks.0.layers.0.weight",
    } <= names
    assert {"encoder.images.front.head.summary.0.weight", "proposal.network.0.weight"} <= names
    assert not any(".residual." in name or name.endswith("bias") for name in names)
    with pytest.raises(ValueError, match="optimizer is 'sgd'"):
        TrainConfig(optimizer="sgd")


def test_the_average_follows_the_weights():
    data = tiny_demonstrations(2)
    policy = tiny_policy(data)
    average = MovingAverage(policy, 0.5)
    before = [p.detach().clone() for p in policy.parameters()]
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(1.0)
    average.update(step=10_000)
    for old, mean in zip(before, average.average, strict=True):
        torch.testing.assert_close(mean, old + 0.5)


def test_scales_of_the_inputs_are_recorded_and_a_tiny_one_is_warned_of(tmp_path):
    data = tiny_demonstrations()
    torch.manual_seed(0)
    policy = tiny_policy(data)
    policy.encoder.images["front"].head.register_forward_hook(lambda module, inputs, found: 0.01 * found)
    with pytest.warns(UserWarning, match="'front' 0.0"):
        train(policy, data, replace(CONFIG, steps=1), out=tmp_path / "run")
    first = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[0])
    scales = first["input_scales"]
    assert set(scales) == {"state", "environment_state", "front", "action", "observed poses", "link poses"}
    assert scales["state"] == pytest.approx(1.0, abs=0.2)
    assert scales["action"] == pytest.approx(1.0, abs=0.2)


def test_a_policy_with_an_image_plane_trains(tmp_path):
    data = tiny_demonstrations()
    camera = Camera.look_at((-1.5, 0.0, 1.5), (-0.5, 0.0, 0.1), fovy=25.0, width=16, height=16)
    spec = replace(data.spec, cameras={"front": camera})
    policy = make_policy(ur5e(), spec, replace(tiny_policy(data).config, image_plane=ImagePlaneConfig()))
    result = train(policy, data, replace(CONFIG, steps=3), out=tmp_path / "run")
    assert result.steps == 3
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert lines[0]["input_scales"]["goal"] > 0


def test_large_images_are_validated_a_few_at_a_time(tmp_path, monkeypatch):
    data = tiny_demonstrations()
    sizes: list[int] = []

    def errors(policy: Policy, batch: dict) -> dict[str, float]:
        sizes.append(len(batch["action"]))
        return {}

    monkeypatch.setattr("ikp.training.trainer.action_errors", errors)
    config = replace(CONFIG, steps=1, validate_every=1)
    history = tiny_policy(data).config.history
    for name, images in (("few", 7), ("all", 1000)):
        monkeypatch.setattr("ikp.training.validation.IMAGES_OF_A_BATCH", images * history * 16 * 16 * 3)
        train(tiny_policy(data), data, config, out=tmp_path / name)
    assert sizes == [7, 7, 96, 24]


def test_large_images_are_seen_a_few_at_a_time_and_decide_the_same(monkeypatch):
    data = tiny_demonstrations()
    policy = tiny_policy(data).eval()
    batch = data.batch(torch.arange(30), **policy.batch_options)
    at_once = action_errors(policy, batch)
    seen: list[int] = []
    parts = policy.encoder.parts

    def spied(observation, images=None):
        seen.append(len(observation["state"]))
        return parts(observation, images)

    monkeypatch.setattr(policy.encoder, "parts", spied)
    monkeypatch.setattr("ikp.training.validation.IMAGES_AT_ONCE", 7 * policy.config.history * 16 * 16 * 3 + 5)
    assert action_errors(policy, batch) == pytest.approx(at_once, rel=1e-4)
    assert seen == [7, 7, 7, 7, 2]
    perception_probe(policy, data, *data.split(0.2))
    dependence(policy, data, *data.split(0.2))
    assert max(seen) == 7
    monkeypatch.setattr("ikp.training.validation.IMAGES_AT_ONCE", 1)
    assert frames_at_once(policy) == 1


def test_images_on_disk_are_read_ahead_of_their_step(tmp_path, monkeypatch):
    data = replace(tiny_demonstrations(), on_disk=True)
    policy = tiny_policy(data)
    ahead: list[set[int]] = []
    monkeypatch.setattr(
        "ikp.data.demonstrations.read_ahead", lambda images, frames: ahead.append(set(frames))
    )
    config = replace(CONFIG, steps=3)
    result = train(policy, data, config, out=tmp_path / "run")
    assert result.steps == 3
    training, _ = data.split(config.held_out, seed=config.seed)
    options = {key: policy.batch_options[key] for key in ("history", "stride")}
    windows = [
        data.window(batch_indices(training, config.batch_size, step, config.seed), **options)
        for step in (1, 2, 3)
    ]
    assert ahead == [set(window.flatten().tolist()) for window in windows]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"action_names": ("hip", *(f"joint_{i}" for i in range(1, 6)), "vacuum")}, "action_names"),
        ({"state_names": (*(f"joint_{i}" for i in range(6)), "grip")}, "state_names"),
        ({"environment_state_names": ("g0",)}, "environment_state_names"),
        ({"image_shapes": {"front": (32, 32, 3)}}, "image_shapes"),
        ({"fps": 30.0}, "fps"),
        ({"action_names": (*(f"joint_{i}_deg" for i in range(6)), "vacuum")}, "action_names"),
    ],
)
def test_a_policy_of_other_data_is_refused(tmp_path, changes, named):
    data = tiny_demonstrations()
    policy = make_policy(ur5e(), replace(data.spec, **changes), tiny_policy(data).config)
    with pytest.raises(ValueError, match=f"{named}.*ikp.make_policy"):
        train(policy, data, CONFIG, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
