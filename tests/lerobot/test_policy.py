"""`lerobot-train --policy.type=ikp`: training, resuming, checkpoints, and policies from one format to the other."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import fields, replace
from pathlib import Path

import pytest

pytest.importorskip("lerobot", reason="LeRobot has an environment of its own: make lerobot")

import torch
from draccus.utils import ParsingError
from lerobot.configs.policies import PreTrainedConfig
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.policies.factory import make_policy, make_pre_post_processors
from safetensors.torch import load_file, save_file

import ikp
from ikp.training.config import TrainConfig
from ikp.training.optimizer import make_optimizers, schedule
from lerobot_env_ikp import IKPEnvConfig
from lerobot_policy_ikp import IKPConfig, IKPPolicy, export_policy, import_policy, modeling_ikp
from lerobot_policy_ikp.configuration_ikp import FIXED
from lerobot_policy_ikp.exchange import pretrained_folder

from .conftest import SMALL, command, run, training

FRESH = """
import sys, torch
from lerobot.utils.import_utils import register_third_party_plugins
register_third_party_plugins()
from lerobot.configs.policies import PreTrainedConfig
from lerobot.policies.factory import get_policy_class, make_pre_post_processors

folder, frame, out = sys.argv[1:]
config = PreTrainedConfig.from_pretrained(folder)
policy = get_policy_class(config.type).from_pretrained(folder, config=config)
before, after = make_pre_post_processors(config, folder)
torch.save(after(policy.select_action(before(torch.load(frame)))), out)
"""


def dataset(root, **options):
    return LeRobotDataset(f"local/{root.name}", root=root, **options)


def weights(run_folder, step="last"):
    return load_file(run_folder / "checkpoints" / step / "pretrained_model" / "model.safetensors")


def frame_of(data, index):
    """A frame of a data set as a robot's loop gives it to LeRobot's pipelines, without the action."""
    return {key: value for key, value in data[index].items() if key.startswith("observation")}


def test_a_killed_training_resumes_as_if_it_had_not_been_killed(trained, pixel_demonstrations, tmp_path):
    out = tmp_path / "killed"
    arguments = training(pixel_demonstrations, out, "--save_freq=4", *SMALL)
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command("lerobot-train", *arguments), stdout=log, stderr=log)
        first, second = (out / "checkpoints" / name for name in ("000004", "000008"))
        deadline = time.monotonic() + 240
        while not (out / "checkpoints/last").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert first.exists(), (tmp_path / "log").read_text()[-3000:]
    shutil.rmtree(second, ignore_errors=True)
    run("lerobot-train", f"--config_path={first}/pretrained_model/train_config.json", "--resume=true")
    for key, value in weights(trained, "000008").items():
        assert torch.equal(value, weights(out, "000008")[key]), key
    assert weights(out)["updates"] == 8


def test_a_fresh_process_acts_in_the_units_of_the_data(trained, pixel_demonstrations, tmp_path):
    data = dataset(pixel_demonstrations)
    frame, out = tmp_path / "frame.pt", tmp_path / "action.pt"
    torch.save(frame_of(data, 5), frame)
    folder = pretrained_folder(trained)
    subprocess.run([sys.executable, "-c", FRESH, folder, frame, out], check=True)
    action = torch.load(out)[0]
    joints = data[5]["observation.state"][:6]
    assert action.shape == (7,)
    assert (action[:6] - joints).abs().max() < 0.5, "targets near the measured joints [rad]"
    assert action[6] in (0.0, 1.0)
    own = import_policy(trained, tmp_path / "own")
    numbers = {key.removeprefix("observation."): value for key, value in torch.load(frame).items()}
    image = numbers.pop("images.front")
    assert torch.equal(ikp.load_policy(own).select_action({**numbers, "front": image}), action)


def test_a_checkpoint_needs_no_other_file(trained):
    """Neither the data set nor a robot's file: everything is in config.json, as plain JSON."""
    config = json.loads((pretrained_folder(trained) / "config.json").read_text())
    policy = config["frozen"]["policy"]
    assert ikp.Robot.from_dict(policy["robot"]).dof == 6
    assert policy["spec"]["action_names"][0] == "shoulder_pan_joint.pos"
    assert policy["provenance"]["task"]["env_id"] == "ikp/Insertion-v0"


def test_the_averaged_weights_act_and_the_others_are_trained(trained):
    policy = IKPPolicy.from_pretrained(pretrained_folder(trained))
    trained_names = {name for name, parameter in policy.named_parameters() if parameter.requires_grad}
    assert trained_names == {f"policy.{name}" for name in policy.get_optim_params()}
    pairs = zip(policy.policy.parameters(), policy.averaged.parameters(), strict=True)
    assert any(not torch.equal(*pair) for pair in pairs)
    assert torch.equal(policy.policy.bounds.low, policy.averaged.bounds.low)


def test_the_optimizer_is_that_of_ikp_train(tiny, demonstrations):
    """One optimiser for LeRobot takes the steps of the several that `ikp train` has, also after it is stored."""
    data = ikp.load_dataset(demonstrations, progress=False)
    robot = ikp.load_robot("ur5e")
    policies = []
    for _ in range(2):
        torch.manual_seed(0)
        policies.append(ikp.make_policy(robot, data.spec, tiny.policy))
        policies[-1].fit_scales(data.state, data.action, data.environment_state)
    config = IKPConfig(device="cpu", recipe="tiny")
    joined = config.get_optimizer_preset().build(dict(policies[0].named_parameters()))
    plan = config.get_scheduler_preset().build(joined, 4)
    parts = make_optimizers(policies[1], TrainConfig())
    for step in range(4):
        for group in (group for part in parts for group in part.param_groups):
            group["lr"] = group["base_lr"] * schedule(step / 4)
        for policy, optimizers in zip(policies, ([joined], parts), strict=True):
            torch.manual_seed(step)
            policy.loss(data.batch(torch.arange(8)))[0].backward()
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad()
        plan.step()
        if step == 1:
            joined.load_state_dict(joined.state_dict())
        for name, parameter in policies[0].named_parameters():
            assert torch.equal(parameter, policies[1].get_parameter(name)), (step, name)


def test_a_policy_of_ikp_train_becomes_a_checkpoint(tiny, pixel_demonstrations, tmp_path):
    data = ikp.load_dataset(pixel_demonstrations, progress=False)
    policy = ikp.make_policy(ikp.load_robot("ur5e"), data.spec, tiny.policy)
    policy.fit_scales(data.state, data.action, data.environment_state)
    ikp.save_policy(policy, tmp_path / "own", provenance={"recipe": "standard", "method": "ikp"})
    done = subprocess.run(
        [sys.executable, "-m", "lerobot_policy_ikp", "export", tmp_path / "own", tmp_path / "checkpoint"],
        check=True,
    )
    assert done.returncode == 0
    config = PreTrainedConfig.from_pretrained(tmp_path / "checkpoint")
    config.pretrained_path = tmp_path / "checkpoint"
    meta = dataset(pixel_demonstrations).meta
    exported = make_policy(config, ds_meta=meta).eval()  # as lerobot-train does to train it further
    before, after = make_pre_post_processors(config, tmp_path / "checkpoint")
    loader = torch.utils.data.DataLoader(dataset(pixel_demonstrations), batch_size=4)
    batch = next(iter(loader))
    with torch.inference_mode():
        actions = after(exported.select_action(before(batch)))
    assert torch.equal(actions, policy.act(data.batch(torch.arange(4))))
    back = import_policy(tmp_path / "checkpoint", tmp_path / "back")
    for name, value in ikp.load_policy(back).state_dict().items():
        assert torch.equal(value, policy.state_dict()[name])
    with pytest.raises(FileExistsError, match="choose another folder"):
        export_policy(tmp_path / "own", tmp_path / "checkpoint")


def test_frames_before_the_newest_are_kept_and_repeated_at_the_start(tiny, demonstrations, tmp_path):
    """With a history, training batches and a control loop show the policy the same frames."""
    meta = dataset(demonstrations).meta
    config = IKPConfig(device="cpu", recipe="tiny", n_obs_steps=3)
    policy = make_policy(config, ds_meta=meta).eval()
    assert config.observation_delta_indices == [-2, -1, 0]
    windows = dataset(demonstrations, delta_timestamps={"observation.state": [-0.2, -0.1, 0.0]})
    single = dataset(demonstrations)
    for index in range(4):
        frame = {key: value[None] for key, value in frame_of(single, index).items()}
        policy.select_action(frame)
        seen = torch.stack([frame["observation.state"] for frame in policy._window], 1)
        assert torch.equal(seen[0], windows[index]["observation.state"])
    policy.reset()
    assert policy.predict_action_chunk(frame).shape == (1, 1, 7)
    assert torch.equal(policy._window[0]["observation.state"], frame["observation.state"])


def test_images_are_resized(tiny, pixel_demonstrations):
    meta = dataset(pixel_demonstrations).meta
    policy = make_policy(IKPConfig(device="cpu", recipe="tiny", image_size="48x64"), ds_meta=meta)
    assert policy.policy.spec.image_shapes == {"front": (48, 64, 3)}
    small = ikp.load_dataset(pixel_demonstrations, image_size=(48, 64), progress=False).images["front"]
    batch = {key: value[None] for key, value in frame_of(dataset(pixel_demonstrations), 3).items()}
    seen = policy._observation(batch)["images"]["front"]
    assert (seen[0, 0].int() - small[3].int()).abs().max() <= 1, "as load_dataset resizes them"


def test_way_points_are_refused(tiny, demonstrations, tmp_path):
    """LeRobot's loop has no place for decisions at another rate than the frames'."""
    data = ikp.load_dataset(demonstrations, progress=False)
    chosen = tiny.with_policy(way_points=2).policy_for("explicit")
    ikp.save_policy(ikp.make_policy(ikp.load_robot("ur5e"), data.spec, chosen), tmp_path / "own")
    with pytest.raises(ValueError, match="way_points=2.*one action per frame.*without --way-points"):
        export_policy(tmp_path / "own", tmp_path / "checkpoint")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"recipe": "slow"}, "slow"),
        ({"method": "raw", "image_plane": True}, "image-plane is for methods that choose joints"),
        (
            {"method": "explicit", "residual": ["offset"]},
            "residual is for the methods ikp, two-step and flow",
        ),
        ({"normalization_mapping": {"STATE": "MEAN_STD"}}, "leave the option out"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        IKPConfig(device="cpu", **options)


def test_a_trained_policy_is_not_changed_by_options(trained, demonstrations):
    folder = pretrained_folder(trained)
    with pytest.raises(ParsingError) as refused:
        PreTrainedConfig.from_pretrained(folder, cli_overrides=["--width=64"])
    assert "width is 64, and the trained policy was made with 32" in str(refused.value.__cause__)
    config = PreTrainedConfig.from_pretrained(folder)
    config.input_features.pop("observation.images.front")
    with pytest.raises(ValueError, match=r"sees the camera 'front', and the inputs are"):
        IKPPolicy(config)
    with pytest.raises(ValueError, match="a new policy needs a data set"):
        IKPPolicy(IKPConfig(device="cpu", output_features=config.output_features))


def test_weights_that_are_missing_are_an_error(trained, tmp_path):
    folder = shutil.copytree(pretrained_folder(trained), tmp_path / "damaged")
    stored = load_file(folder / "model.safetensors")
    stored.pop("averaged.bounds.low")
    save_file(stored, folder / "model.safetensors")
    with pytest.raises(RuntimeError, match="averaged.bounds.low"):
        IKPPolicy.from_pretrained(folder)


def test_the_options_of_the_page_exist():
    """docs/lerobot.md names options of the policy and of the environment as they are."""
    page = (Path(__file__).parents[2] / "docs/lerobot.md").read_text()
    options = re.findall(r"--(policy|env)\.(\w+)", page)
    known = {
        "policy": {field.name for field in fields(IKPConfig)},
        "env": {field.name for field in fields(IKPEnvConfig)},
    }
    known = {kind: names | {"type", "path", "discover_packages_path"} for kind, names in known.items()}
    assert len(options) > 20
    assert not [f"{kind}.{name}" for kind, name in options if name not in known[kind]]


def test_the_options_of_ikp_train_exist():
    """Each choice of robot, data and policy has an option; a trained policy keeps its value."""
    from ikp.cli.data import ArmOptions, DataOptions
    from ikp.cli.train import PolicyOptions

    lerobots = {"data", "out", "episodes"}  # --dataset.root, --output_dir, --dataset.episodes
    wanted = {option.name for group in (ArmOptions, DataOptions, PolicyOptions) for option in fields(group)}
    wanted = wanted - lerobots - {"history", "action_rate", "way_points"} | {"n_obs_steps"}
    assert wanted <= {option.name for option in fields(IKPConfig)}
    assert wanted - {"joint_map"} <= set(FIXED)


def test_an_image_plane_learns_from_the_next_gripper_event(tiny, pixel_demonstrations):
    """The label of a frame is looked up by its place in the data set, also where LeRobot takes some episodes only."""
    config = IKPConfig(device="cpu", recipe="tiny", image_plane=True)
    policy = make_policy(config, ds_meta=dataset(pixel_demonstrations).meta).train()
    before, _ = make_pre_post_processors(config)
    chosen = dataset(pixel_demonstrations, episodes=[1, 2])
    batch = before(next(iter(torch.utils.data.DataLoader(chosen, batch_size=8, shuffle=True))))
    goals = ikp.load_dataset(pixel_demonstrations, images=False).goal_state
    assert torch.equal(policy._demonstrated(batch)["goal_state"], goals[batch["index"]])
    loss, parts = policy(batch)
    loss.backward()
    assert all(parameter.grad is not None for parameter in policy.get_optim_params().values())
    assert any(name.startswith("goal") for name in parts), sorted(parts)


def test_moved_scenes_are_those_of_the_recipe(tiny, pixel_demonstrations):
    meta = dataset(pixel_demonstrations).meta
    batch = next(iter(torch.utils.data.DataLoader(dataset(pixel_demonstrations), batch_size=16)))
    losses = {}
    for moved in (None, True, False):
        torch.manual_seed(0)
        policy = make_policy(IKPConfig(device="cpu", recipe="tiny", moved_scenes=moved), ds_meta=meta)
        losses[moved] = policy.train()(batch)[0].item()
    assert losses[None] == losses[True], "insertion may be moved, and the recipe says so"
    assert losses[False] != losses[True]


def test_noise_on_measured_joints_is_that_of_the_recipe(tiny, pixel_demonstrations, monkeypatch):
    meta = dataset(pixel_demonstrations).meta
    batch = next(iter(torch.utils.data.DataLoader(dataset(pixel_demonstrations), batch_size=16)))
    losses = []
    for share in (0.0, 0.3, 0.3):
        config = IKPConfig(device="cpu", recipe="tiny")
        trained = replace(config.train_config("insertion"), state_noise=share)
        monkeypatch.setattr(modeling_ikp, "training_of", lambda config, meta, trained=trained: trained)
        torch.manual_seed(0)
        losses.append(make_policy(config, ds_meta=meta).train()(batch)[0].item())
    assert losses[0] != losses[1] == losses[2]
