"""A new policy for a LeRobot data set: its robot, its dimensions and its scales, from the files of the data set."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lerobot.datasets.dataset_metadata import LeRobotDatasetMetadata
from torch import Tensor

from ikp.cli.data import DataOptions
from ikp.cli.words import named_options
from ikp.data import load_dataset
from ikp.kinematics import Camera
from ikp.policies import Policy, describe_policy, make_policy
from ikp.runs import load_matched, task_of_data
from ikp.training.scene_motion import working_height
from lerobot_policy_ikp.configuration_ikp import IKPConfig


def new_policy(config: IKPConfig, metadata: LeRobotDatasetMetadata) -> Policy:
    """Create a policy for a data set, with scales from all of its frames, and freeze it in the configuration.

    Raises:
        ValueError: the policy needs a robot and there is none, or it does not fit the data.
        DatasetError: the data set cannot be read.
    """
    root = Path(metadata.root)
    size, cameras = config.image_size, None if config.cameras is None else tuple(config.cameras)
    options = DataOptions(
        root, root, cameras=cameras, image_size=size, camera=tuple(config.camera), task=config.task
    )
    models = named_options(options.camera, "--policy.camera", "front=camera.json")
    task = task_of_data(root, config.task)
    train = config.train_config(task.env_id if task else None)
    robot, numbers, task = load_matched(
        root,
        config.policy_config,
        train,
        robot=config.arm.load_robot(),
        cameras={name: Camera.load(path) for name, path in models.items()},
        task=config.task,
        loading={**options.loading, **config.arm.loading, **frames_on_disk(metadata)},
    )
    policy = make_policy(robot, numbers.spec, config.policy_config)
    goals = numbers.goal_state if policy.plane is not None else None
    policy.fit_scales(numbers.state, numbers.action, numbers.environment_state, goals)
    height = None
    if train.moved_scenes:
        height = 0.0 if robot is None else working_height(robot, numbers)
    provenance = {"recipe": config.recipe, "method": config.method, "task": vars(task) if task else None}
    config.freeze(describe_policy(policy, provenance=provenance), working_height=height)
    return policy


class GoalStates:
    """The measured state at the next gripper event of every frame, the label that an image plane learns from.

    Args:
        policy: gives the joint map and the roles of the dimensions.
        metadata: the data set.
    """

    def __init__(self, policy: Policy, metadata: LeRobotDatasetMetadata) -> None:
        spec = policy.spec
        roles = {"joint_dims": spec.joint_dims, "discrete_dims": spec.discrete_dims}
        said = roles if spec.joint_map is None else {"joint_map": spec.joint_map}
        numbers = load_dataset(metadata.root, **said, **frames_on_disk(metadata))
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
