"""What every policy is: a loss over demonstrations, and an action for an observation."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, TypeVar, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ikp.kinematics import Robot
from ikp.policies.actions import JointTargets, RawActions, TipPoses
from ikp.policies.config import PolicyConfig
from ikp.policies.features import LinkPoses
from ikp.policies.gripper import GripperHead
from ikp.policies.image_plane import OBSERVED_FEATURES, Goal, ImagePlane
from ikp.policies.normalizer import Bounds, Standardizer
from ikp.policies.observation import Batch, Observation, ObservationEncoder
from ikp.policies.residual import KinematicResidual
from ikp.spec import DataSpec

Variables = JointTargets | TipPoses | RawActions
AnyBatch = TypeVar("AnyBatch", bound=Mapping)


class Policy(nn.Module):
    """Base of the implicit and the explicit policy.

    Args:
        robot: the kinematic model; None with `action_space="raw"`.
        spec: sizes, names and roles of observation and action.
        config: the policy's choices.

    Raises:
        ValueError: robot, data and configuration do not fit; the message says how.
    """

    def __init__(self, robot: Robot | None, spec: DataSpec, config: PolicyConfig) -> None:
        super().__init__()
        if robot is None and config.action_space != "raw":
            raise ValueError(f"action_space {config.action_space!r} needs a robot: give one, or use 'raw'")
        self.robot, self.spec, self.config = robot, spec, config
        self.variables = _make_variables(robot, spec, config)
        dims = len(self.variables.names)
        self.bounds = Bounds(dims)
        self.scale = Standardizer(dims)
        self.encoder = ObservationEncoder(spec, config)
        self.poses = None
        if robot is not None and (config.has_kinematics or config.observes_poses or config.has_image_plane):
            self.poses = LinkPoses(robot, KinematicResidual(robot, config.residual), config.links)
        observed = self.poses.observed_size if self.poses is not None and config.observes_poses else 0
        self.context_size = self.encoder.size + observed
        self.plane = None
        if robot is not None and config.has_image_plane:
            self.plane = ImagePlane(robot, spec, config)
            self.context_size += OBSERVED_FEATURES if config.image_plane.inputs else 0
        self.gripper = None
        if spec.discrete_dims:
            self.gripper = GripperHead(self.context_size, dims, len(spec.discrete_dims), config)

    @property
    def dims(self) -> int:
        """Number of continuous action variables."""
        return len(self.variables.names)

    def fit_scales(
        self,
        state: Float[Tensor, "frames s"],
        action: Float[Tensor, "frames a"],
        environment_state: Float[Tensor, "frames e"] | None = None,
        goal_state: Float[Tensor, "frames s"] | None = None,
    ) -> None:
        """Take the scales of inputs and the bounds of actions from all frames of the demonstrations.

        Raises:
            ValueError: the policy has an image plane and `goal_state`, the measured state at each frame's next
                gripper event, is missing.
        """
        self.encoder.fit(state, environment_state)
        if self.poses is not None:
            self.poses.fit(state[:, list(self.spec.joint_dims)])
        if self.plane is not None and self.poses is not None:
            if goal_state is None:
                raise ValueError("action_space with 'image' needs goal_state (`Demonstrations.goal_state`)")
            self.plane.fit(self.poses, goal_state[:, list(self.spec.joint_dims)])
        values = self.variables.encode(state, action)
        self.bounds.fit(values)
        self.scale.fit(values)
        if self.gripper is not None:
            self.gripper.fit(self.variables.motions(state, values))

    def context(
        self, observation: Observation, poses: Float[Tensor, "batch poses"] | None = None
    ) -> Float[Tensor, "batch context"]:
        """Features of the observation, with the link poses of the measured joints where the method sees them.

        Args:
            observation: what the policy sees.
            poses: `LinkPoses.observe` of the measured joints, where it is known already.
        """
        return self.observe(observation, poses)[0]

    def observe(
        self, observation: Observation, poses: Float[Tensor, "batch poses"] | None = None
    ) -> tuple[Float[Tensor, "batch context"], Goal | None]:
        """The `context`, and the goal in the image for a policy with an image plane."""
        features, goal = self._encode(observation)
        parts = [features]
        if self.poses is not None and self.config.observes_poses:
            shown = self.poses.observe(self.measured_joints(observation)) if poses is None else poses
            parts.append(shown)
        if goal is not None and self.config.image_plane.inputs:
            assert self.plane is not None
            assert self.poses is not None
            tip = self.plane.tip(self.poses, self.measured_joints(observation))
            parts.append(self.plane.observe(goal, tip))
        return (torch.cat(parts, -1) if len(parts) > 1 else features), goal

    def _encode(self, observation: Observation) -> tuple[Float[Tensor, "batch features"], Goal | None]:
        """The encoder's features, and the goal that an image plane reads from its feature map."""
        if self.plane is None:
            return self.encoder(observation), None
        features, maps = self.encoder.with_map(observation, self.plane.camera)
        image, state = observation["images"][self.plane.camera][:, -1], observation["state"][:, -1]
        return features, self.plane.estimate(maps, image, self.encoder.state(state))

    def measured_joints(self, observation: Observation) -> Float[Tensor, "batch joints"]:
        """The measured joints of the newest frame [rad or m]."""
        return observation["state"][:, -1, list(self.spec.joint_dims)]

    @abstractmethod
    def loss(self, batch: Batch) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """Mean loss over a batch of demonstrations (the observation plus `action` (B, A)), and its parts."""

    @abstractmethod
    def choose(
        self, observation: Observation, context: Float[Tensor, "batch context"]
    ) -> Float[Tensor, "batch dims"]:
        """The chosen continuous action variables for a checked observation and its `context`."""

    @torch.no_grad()
    def act(self, observation: Observation | Mapping[str, Any]) -> Float[Tensor, "batch action"]:
        """Actions in the units of the demonstrations (rad; a discrete dimension is 0 or 1).

        Raises:
            ValueError: the observation lacks a part, has a wrong shape or dtype or is not finite.
        """
        observation = self.encoder.check(observation)
        was_training = self.training
        if was_training:  # going through all modules takes half a millisecond
            self.eval()
        try:
            context = self.context(observation)
            chosen = self.choose(observation, context)
            state = observation["state"][:, -1]
            continuous = self.variables.decode(state, chosen)
            action = continuous.new_zeros(len(continuous), self.spec.action_dim)
            action[:, self.variables.action_dims] = continuous
            if self.gripper is not None:
                closed = self.gripper(context, self.scale(chosen), self.variables.motions(state, chosen)) > 0
                action[:, list(self.spec.discrete_dims)] = closed.to(action.dtype)
            return action
        finally:
            if was_training:
                self.train()

    def _goal_losses(self, goal: Goal | None, batch: Batch) -> dict[str, Tensor]:
        """What the demonstration's next gripper event says about the goal; nothing without an image plane."""
        if self.plane is None or self.poses is None or goal is None or not self.config.image_plane.labels:
            return {}
        if "goal_state" not in batch:
            raise ValueError(
                "the batch lacks 'goal_state': take it with `Demonstrations.batch(..., goals=True)`"
            )
        tip = self.plane.tip(self.poses, batch["goal_state"][:, list(self.spec.joint_dims)])
        return self.plane.losses(goal, tip)

    def _gripper_loss(self, context: Tensor, expert: Tensor, prefix: Tensor, batch: Batch) -> Tensor:
        """Of the discrete dimensions given the demonstrated variables (batch, dims), exact or as a prefix is."""
        if self.gripper is None:
            return context.new_zeros(())
        seen = expert if self.config.fine_motion else prefix
        closed = (batch["action"][:, list(self.spec.discrete_dims)] > 0.5).to(context.dtype)
        motions = self.variables.motions(batch["state"][:, -1], seen)
        return self.gripper.loss(context, self.scale(seen), motions, closed)

    def _disturbed(self, variables: Float[Tensor, "batch dims"]) -> Float[Tensor, "batch dims"]:
        """Demonstrated variables as exact as the policy's own choices will be (`PolicyConfig.prefix_noise`)."""
        return variables + self.config.prefix_noise * self.scale.std * torch.randn_like(variables)


def _make_variables(robot: Robot | None, spec: DataSpec, config: PolicyConfig) -> Variables:
    delta = config.targets == "delta"
    if config.action_space == "raw" or robot is None:
        return RawActions(spec)
    if config.action_space == "cartesian":
        return TipPoses(spec, robot, delta=delta)
    return JointTargets(spec, robot, delta=delta)


def batch_to(batch: AnyBatch, device: torch.device | str) -> AnyBatch:
    """The batch's tensors on a device, images included."""
    moved = {
        key: batch_to(value, device) if isinstance(value, Mapping) else value.to(device, non_blocking=True)
        for key, value in batch.items()
    }
    return cast(AnyBatch, moved)
