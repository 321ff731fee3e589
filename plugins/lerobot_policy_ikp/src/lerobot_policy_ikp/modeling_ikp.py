"""A policy of ikp with the interface of LeRobot's policies."""

from __future__ import annotations

import copy
from collections import deque
from typing import Any

import torch
from lerobot.datasets.dataset_metadata import LeRobotDatasetMetadata
from lerobot.policies.pretrained import PreTrainedPolicy
from lerobot.utils.constants import ACTION, OBS_ENV_STATE, OBS_STATE
from torch import Tensor, nn
from torch.nn import functional as F

from ikp.spec import Batch, Observation
from ikp.training.optimizer import MovingAverage
from ikp.training.scene_motion import SceneMotion
from ikp.training.state_noise import state_noise
from lerobot_policy_ikp.configuration_ikp import IKPConfig
from lerobot_policy_ikp.preparation import GoalStates, new_policy, trained_policy, training_of


class IKPPolicy(PreTrainedPolicy):
    """A policy of ikp: observations and actions in the data's own units, without LeRobot's normalisation.

    As in `ikp train`, the moving average of the weights acts, and the weights themselves are trained; a checkpoint
    holds both.

    Args:
        config: options; with `frozen` filled in, that policy.
        dataset_meta: the data set, from which a new policy takes its dimensions and scales.
        dataset_stats: not used; scales come from the frames.

    Raises:
        ValueError: there is neither a frozen policy nor a data set, or the two do not fit.
    """

    config_class = IKPConfig
    name = "ikp"

    def __init__(
        self,
        config: IKPConfig,
        dataset_meta: LeRobotDatasetMetadata | None = None,
        dataset_stats: dict[str, dict[str, Tensor]] | None = None,
    ) -> None:
        super().__init__(config)
        self.config: IKPConfig = config
        config.validate_features()
        if config.frozen:
            self.policy, numbers = trained_policy(config, dataset_meta)
        elif dataset_meta is not None:
            self.policy, numbers = new_policy(config, dataset_meta)
        else:
            raise ValueError("a new policy needs a data set: train it (lerobot-train), or give --policy.path")
        for (
            parameter
        ) in self.policy.parameters():  # LeRobot stores weights and optimiser states as they lie in memory
            parameter.data = parameter.data.contiguous()
        self.averaged = copy.deepcopy(self.policy).requires_grad_(False).eval()
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        self.register_buffer("seed", torch.randint(2**31, ()))
        self._average = MovingAverage(self.policy, average=list(self.averaged.parameters()))
        self._motion = None
        if config.frozen["working_height"] is not None:
            height = config.frozen["working_height"]
            self._motion = SceneMotion(self.policy.robot, self.policy.spec, height=height)
        self._noise = None
        if dataset_meta is not None and numbers is not None:
            share = training_of(config, dataset_meta).state_noise
            self._noise = state_noise(numbers, self.policy, share)
        self._goals = None
        if self.policy.plane is not None and dataset_meta is not None and numbers is not None:
            self._goals = GoalStates(numbers, dataset_meta)
        self._cameras = {camera: self._camera_key(camera) for camera in self.policy.spec.camera_names}
        self._window: deque[dict[str, Tensor]] = deque(maxlen=config.n_obs_steps)

    def _camera_key(self, camera: str) -> str:
        """LeRobot's key of a camera."""
        inputs = sorted(self.config.input_features or {})
        found = [
            key for key in (f"observation.images.{camera}", f"observation.{camera}", camera) if key in inputs
        ]
        if not found:
            raise ValueError(
                f"the policy sees the camera {camera!r}, and the inputs are {inputs}: rename one with --rename_map"
            )
        return found[0]

    def train(self, mode: bool = True) -> IKPPolicy:
        """Training or evaluation mode; the averaged policy stays in evaluation mode."""
        super().train(mode)
        self.averaged.eval()
        return self

    def get_optim_params(self) -> dict[str, nn.Parameter]:
        """The trained weights by name."""
        return dict(self.policy.named_parameters())

    def update(self) -> None:
        """Move the averaged weights; LeRobot calls this after every optimiser step."""
        self._average.update(int(self.updates))
        self.updates += 1

    def forward(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """The loss of a batch of demonstrations, and its parts by name."""
        demonstrated = self._demonstrated(batch)
        device = batch[ACTION].device
        # The randomness of a step depends only on what a checkpoint holds, so that a resumed run repeats it.
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(int(self.seed) + int(self.updates))
            if self.training and self._motion is not None:
                demonstrated = self._motion(demonstrated)
            if self.training and self._noise is not None:
                demonstrated = self._noise(demonstrated)
            loss, parts = (self.policy if self.training else self.averaged).loss(demonstrated)
        values = torch.stack([part.float() for part in parts.values()]).tolist()
        return loss, dict(zip(parts, values, strict=True))

    def _demonstrated(self, batch: dict[str, Tensor]) -> Batch:
        """A training batch of ikp, in the model's units."""
        demonstrated: Batch = {**self._observation(batch), "action": batch[ACTION].float()}
        spec = self.policy.spec
        if spec.joint_map is not None and spec.changes_numbers:
            demonstrated["state"] = spec.joint_map.states.to_model(demonstrated["state"])
            demonstrated["action"] = spec.joint_map.actions.to_model(demonstrated["action"])
        if self._goals is not None:
            demonstrated["goal_state"] = self._goals(batch)
        return demonstrated

    @torch.no_grad()
    def predict_action_chunk(self, batch: dict[str, Tensor], **_: Any) -> Tensor:
        """The actions (batch, 1, action) for the newest frames, in the units of the data."""
        newest = {key: batch[key] for key in self._keys}
        self._window.extend([newest] if self._window else [newest] * self._window.maxlen)
        frames = {key: torch.stack([frame[key] for frame in self._window], 1) for key in self._keys}
        return self.averaged.act(self._observation(frames))[:, None]

    def select_action(self, batch: dict[str, Tensor], **_: Any) -> Tensor:
        """The action (batch, action) for the newest frames, in the units of the data."""
        return self.predict_action_chunk(batch)[:, 0]

    def reset(self) -> None:
        """Forget the frames before, at the start of an episode."""
        self._window.clear()

    @property
    def _keys(self) -> list[str]:
        """LeRobot's keys of everything that the policy sees."""
        spec = self.policy.spec
        vectors = [(OBS_STATE, len(spec.recorded_state_names)), (OBS_ENV_STATE, spec.environment_state_dim)]
        return [key for key, size in vectors if size] + list(self._cameras.values())

    def _observation(self, batch: dict[str, Tensor]) -> Observation:
        """An observation of ikp in recorded units, from LeRobot's batch, which has a time axis for several frames."""
        spec = self.policy.spec

        def windows(key: str, axes: int) -> Tensor:
            value = batch[key]
            return value if value.ndim == axes + 2 else value[:, None]

        rows = len(batch[self._keys[0]])
        device = batch[self._keys[0]].device
        no_state = torch.zeros(rows, self.config.n_obs_steps or 1, 0, device=device)
        state = windows(OBS_STATE, 1).float() if spec.recorded_state_names else no_state
        images = {
            camera: _pixels(windows(key, 3), spec.image_shapes[camera][:2])
            for camera, key in self._cameras.items()
        }
        observation: Observation = {"state": state, "images": images}
        if spec.environment_state_dim:
            observation["environment_state"] = windows(OBS_ENV_STATE, 1).float()
        return observation

    @classmethod
    def _load_as_safetensor(
        cls, model: IKPPolicy, model_file: str, map_location: str, strict: bool
    ) -> IKPPolicy:
        """Load the weights; a file that lacks some, or holds others, is an error."""
        return super()._load_as_safetensor(model, model_file, map_location, True)


def _pixels(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Images (batch, time, 3, rows, columns) from 0 to 1, as (batch, time, *size, 3) uint8 from 0 to 255."""
    levels = images.float() * (1.0 if images.dtype == torch.uint8 else 255.0)
    if tuple(images.shape[-2:]) != size:
        flat = F.interpolate(levels.flatten(0, 1), size, mode="bilinear", antialias=True)
        levels = flat.unflatten(0, images.shape[:2])
    return levels.round().clamp(0, 255).to(torch.uint8).movedim(2, -1).contiguous()
