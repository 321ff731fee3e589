"""A policy and the numbers of the LeRobot data set that it learns from: a new one, or a trained one that goes on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from lerobot.datasets.dataset_metadata import LeRobotDatasetMetadata
from torch import Tensor

from ikp.cli.words import named_options
from ikp.data import DatasetError, Demonstrations, load_dataset
from ikp.data.index import dim_names
from ikp.data.joint_maps import stored_joint_map
from ikp.data.layout import ACTION, MAP_KEY, STATE
from ikp.data.metadata import read_info
from ikp.kinematics import Camera
from ikp.policies import Policy, describe_policy, make_policy, policy_from_description
from ikp.runs import load_matched, task_of_data
from ikp.training.config import TrainConfig
from ikp.training.scene_motion import working_height
from lerobot_policy_ikp.configuration_ikp import IKPConfig

SAME = 1e-3
"""Largest difference of two readings of a joint [rad or m] that count as the same."""
OTHER_MAP = (
    "give the joint map of these data (--policy.joint_map=FILE, which `ikp data check FOLDER --robot ARM --save FILE` "
    "writes), or train a new policy"
)


def new_policy(config: IKPConfig, metadata: LeRobotDatasetMetadata) -> tuple[Policy, Demonstrations]:
    """Create a policy for a data set, with scales from all of its frames, and freeze it in the configuration.

    Returns:
        The policy, and the numbers of the data set in the model's units.

    Raises:
        ValueError: the policy needs a robot and there is none, or it does not fit the data.
        DatasetError: the data set cannot be read.
    """
    root = Path(metadata.root)
    options = config.data(root)
    models = named_options(options.camera, "--policy.camera", "front=camera.json")
    train = training_of(config, metadata)
    robot, numbers, task = load_matched(
        root,
        config.policy_config,
        train,
        robot=config.arm.load_robot(),
        cameras={name: Camera.load(path) for name, path in models.items()},
        task=options.task,
        loading={**options.loading, **config.arm.loading, **frames_on_disk(metadata)},
    )
    policy = make_policy(robot, numbers.spec, config.policy_config)
    goals = numbers.goal_state if policy.plane is not None else None
    policy.fit_scales(numbers.state, numbers.action, numbers.environment_state, goals)
    height = None
    if train.moved_scenes:
        height = 0.0 if robot is None else working_height(robot, numbers)
    provenance = {"recipe": config.recipe, "method": config.method, "task": vars(task) if task else None}
    described = describe_policy(policy, provenance=provenance)
    config.freeze(described, working_height=height, data=_fingerprint(numbers, root))
    return policy, numbers


def training_of(config: IKPConfig, metadata: LeRobotDatasetMetadata) -> TrainConfig:
    """The training of a configuration on a data set, by its recipe and the task of the data.

    Raises:
        ValueError: the task of the data is not registered.
    """
    root = Path(metadata.root)
    task = task_of_data(root, config.data(root).task)
    return config.train_config(task.env_id if task else None)


def trained_policy(
    config: IKPConfig, metadata: LeRobotDatasetMetadata | None
) -> tuple[Policy, Demonstrations | None]:
    """Make the policy that is frozen in a configuration, with the joint map that is given in place of its own.

    Args:
        config: freezes the given joint map and the data set with the policy.
        metadata: the data set from which it goes on learning; None to act.

    Returns:
        The policy with new weights, and the numbers of the data set in the model's units.

    Raises:
        ValueError: the configuration is damaged; or the data set has other dimensions or other units.
        DatasetError: the data set cannot be read.
    """
    described, height, data = (config.frozen[key] for key in ("policy", "working_height", "data"))
    where = "the configuration of the checkpoint"
    policy = policy_from_description(described, where, joint_map=config.joint_map)
    numbers = None
    if metadata is not None:
        numbers = _further_numbers(policy, config, metadata)
        data = _fingerprint(numbers, Path(metadata.root))
    described = describe_policy(policy, provenance=described["provenance"])
    config.freeze(described, working_height=height, data=data)
    return policy, numbers


def _further_numbers(policy: Policy, config: IKPConfig, metadata: LeRobotDatasetMetadata) -> Demonstrations:
    """The numbers of a data set from which a trained policy goes on learning, refused in units that it does not know.

    They are compared with what the data set says by itself, unless a joint map is given or they are those of before.
    """
    root, spec = Path(metadata.root), policy.spec
    features = read_info(root)["features"]
    for key, names in ((ACTION, spec.recorded_action_names), (STATE, spec.recorded_state_names)):
        found = dim_names(features, key)
        if found != names:
            raise ValueError(
                f"{key} of the data set has the dimensions {list(found)}, the trained policy knows {list(names)}: "
                + OTHER_MAP
            )
    roles = {"joint_dims": spec.joint_dims, "discrete_dims": spec.discrete_dims}
    said = roles if spec.joint_map is None else {"joint_map": spec.joint_map}
    numbers = load_dataset(root, **said, **frames_on_disk(metadata))
    if spec.joint_map is None and numbers.spec.changes_numbers:
        raise ValueError(
            f"{root} needs a joint map, and the trained policy takes numbers as they are: {OTHER_MAP}"
        )
    try:
        policy.check_demonstrated(numbers.state)
    except ValueError as error:
        raise ValueError(f"{root}: {error} (here --policy.joint_map=FILE)") from None
    if config.joint_map is None and _fingerprint(numbers, root) != config.frozen["data"]:
        _check_reading(policy, config, numbers, metadata)
    return numbers


def _check_reading(
    policy: Policy, config: IKPConfig, numbers: Demonstrations, metadata: LeRobotDatasetMetadata
) -> None:
    """Refuse a data set that by its own map, units, names or values has other numbers than by the policy's map.

    Raises:
        ValueError: a joint or a gripper differs.
        DatasetError: its own map is one of another robot.
    """
    root = Path(metadata.root)
    is_stored = stored_joint_map(read_info(root)) is not None
    hints = (
        {} if is_stored else replace(config.arm, units=()).loading
    )  # a stored map counts only without hints
    try:
        alone = load_dataset(root, robot=policy.robot, **hints, **frames_on_disk(metadata))
    except DatasetError:
        if is_stored:
            raise
        return  # the data do not say enough: the policy's map stands
    parts = [("action", "joint_dims"), ("action", "discrete_dims")]
    if policy.robot is not None:
        parts.append(("state", "joint_dims"))
    for what, role in parts:
        dims = list(getattr(numbers.spec, role))
        known = getattr(numbers, what)[:, dims]
        found = getattr(alone, what)[:, list(getattr(alone.spec, role))]
        if known.shape != found.shape or not known.numel():
            continue
        difference = (known - found).abs()
        if difference.max() > SAME:
            frame, place = divmod(int(difference.argmax()), len(dims))
            name = getattr(numbers.spec, f"{what}_names")[dims[place]]
            raise ValueError(
                f"{root}: the {what} {name!r} of frame {frame} is {found[frame, place]:.4g} as the data set reads by "
                f"itself, and {known[frame, place]:.4g} by the joint map of the trained policy, so its unit or zero is "
                f"another: {OTHER_MAP}"
            )


def _fingerprint(numbers: Demonstrations, root: Path) -> str:
    """A text that is the same for the same states and actions, of which the data set says the same."""
    features = read_info(root)["features"]
    stored = [features.get(key, {}).get(said) for key in (ACTION, STATE) for said in (MAP_KEY, "units")]
    digest = sha256(json.dumps(stored, sort_keys=True).encode())
    for values in (numbers.state, numbers.action):
        digest.update(values.numpy().tobytes())
    return digest.hexdigest()[:16]


class GoalStates:
    """The measured state at the next gripper event of every frame, the label that an image plane learns from.

    Args:
        numbers: states and gripper events of all frames.
        metadata: their data set.
    """

    def __init__(self, numbers: Demonstrations, metadata: LeRobotDatasetMetadata) -> None:
        self._states = numbers.goal_state
        first = torch.nonzero(numbers.frame_index == 0).flatten()
        episodes = numbers.episode_index[first]
        starts = torch.tensor(metadata.episodes["dataset_from_index"])
        self._shift = torch.zeros(len(starts), dtype=torch.int64)
        self._shift[episodes] = first - starts[episodes]

    def __call__(self, batch: Mapping[str, Tensor]) -> Tensor:
        """The labels (batch, state) of LeRobot's batch, in the model's units."""
        rows = batch["index"].cpu().flatten() + self._shift[batch["episode_index"].cpu().flatten()]
        return self._states[rows].to(batch["index"].device)


def frames_on_disk(metadata: LeRobotDatasetMetadata) -> dict[str, Any]:
    """Arguments of `ikp.load_dataset` for the numbers of all episodes whose file is there."""
    root = Path(metadata.root)
    here = [e for e in range(metadata.total_episodes) if (root / metadata.get_data_file_path(e)).exists()]
    return {"episodes": here, "images": False, "progress": False}
