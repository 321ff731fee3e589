"""The base of all policies: a loss over demonstrations, and an action for an observation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ikp.kinematics import Robot
from ikp.policies.actions import JointTargets, RawActions, TipPoses
from ikp.policies.config import PolicyConfig
from ikp.policies.frames import FrameHistory
from ikp.policies.gripper import GripperHead
from ikp.policies.image_plane import OBSERVED_FEATURES, Goal, ImagePlane
from ikp.policies.link_features import LinkPoses
from ikp.policies.normalizer import Bounds, Standardizer
from ikp.policies.observation import ObservationEncoder
from ikp.policies.residual import KinematicResidual
from ikp.spec import Batch, DataSpec, Observation

Actions = JointTargets | TipPoses | RawActions
AnyBatch = TypeVar("AnyBatch", bound=Mapping)


@dataclass(frozen=True)
class Context:
    """Everything that a policy derives from a batch of observations, made once and passed whole.

    Attributes:
        state: the newest measured state, in the data's units.
        features: of the observation, at unit scale.
        q: measured joints with the residual's correction [rad or m]; None where the policy has no link poses.
        far_ends: T_base_farend of every joint at `q`.
        goal: of the motion in the image; None without an image plane.
    """

    state: Float[Tensor, "batch state"]
    features: Float[Tensor, "batch context"]
    q: Float[Tensor, "batch dof"] | None = None
    far_ends: Float[Tensor, "batch dof 3 4"] | None = None
    goal: Goal | None = None

    def rows(self, index: Int[Tensor, " kept"]) -> Context:
        """Some of the observations; one may be repeated."""
        q = None if self.q is None else self.q[index]
        far_ends = None if self.far_ends is None else self.far_ends[index]
        goal = None if self.goal is None else self.goal.rows(index)
        return Context(self.state[index], self.features[index], q, far_ends, goal)


class Policy(nn.Module, ABC):
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
        self.frames = FrameHistory(spec, config.history)
        self.actions = _make_actions(robot, spec, config)
        dims = len(self.actions.names)
        self.bounds = Bounds(dims)
        self.scale = Standardizer(dims)
        self.encoder = ObservationEncoder(spec, config)
        self.poses = None
        has_plane = config.image_plane is not None
        if robot is not None and (config.has_kinematics or config.observes_poses or has_plane):
            residual = KinematicResidual(robot, config.residuals)
            self.poses = LinkPoses(robot, residual, config.ablation.links)
        observed = self.poses.observed_size if self.poses is not None and config.observes_poses else 0
        self.context_size = self.encoder.size + observed
        self.plane = None
        if robot is not None and has_plane:
            self.plane = ImagePlane(robot, spec, config)
            self.context_size += OBSERVED_FEATURES
        self.gripper = None
        if spec.discrete_dims:
            self.gripper = GripperHead(self.context_size, dims, len(spec.discrete_dims), width=config.width)

    @property
    def dims(self) -> int:
        """Number of continuous action variables."""
        return len(self.actions.names)

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
                raise ValueError("the image plane needs goal_state (`Demonstrations.goal_state`)")
            self.plane.fit(self.poses, goal_state[:, list(self.spec.joint_dims)])
        values = self.actions.encode(state, action)
        self.bounds.fit(values)
        self.scale.fit(values)
        if self.gripper is not None:
            self.gripper.fit(self.actions.motions(state, values))

    def encode(self, observation: Observation) -> Context:
        """Everything that decisions and losses need of an observation."""
        state, goal = observation["state"][:, -1], None
        if self.plane is None:
            features = self.encoder(observation)
        else:
            features, maps = self.encoder.with_map(observation, self.plane.camera)
            image = observation["images"][self.plane.camera][:, -1]
            goal = self.plane.estimate(maps, image, self.encoder.state(state))
        if self.poses is None:
            return Context(state, features)
        q = self.poses.residual(self.measured_joints(observation))
        far_ends = self.poses.far_ends(q)
        parts = [features]
        if self.config.observes_poses:
            parts.append(self.poses.observation_features(far_ends))
        if self.plane is not None and goal is not None:
            parts.append(self.plane.observation_features(goal, self.plane.tip(far_ends)))
        return Context(state, torch.cat(parts, -1), q, far_ends, goal)

    def measured_joints(self, observation: Observation) -> Float[Tensor, "batch joints"]:
        """The measured joints of the newest frame [rad or m]."""
        return observation["state"][:, -1, list(self.spec.joint_dims)]

    @abstractmethod
    def loss(self, batch: Batch) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """Mean loss over a batch of demonstrations, and its parts."""

    @abstractmethod
    def choose(self, context: Context) -> Float[Tensor, "batch dims"]:
        """The chosen continuous action variables for checked, encoded observations."""

    @torch.no_grad()
    def act(self, observation: Observation | Mapping[str, Any]) -> Float[Tensor, "batch action"]:
        """Actions in the units of the demonstrations (rad; a discrete dimension is 0 or 1).

        Args:
            observation: a batch, as `ikp.observation_from_frames` makes it; `select_action` takes single frames.

        Raises:
            ValueError: the observation lacks a part, has a wrong shape or dtype or is not finite.
        """
        observation = self.encoder.check(observation)
        was_training = self.training
        if was_training:  # going through all modules takes half a millisecond
            self.eval()
        try:
            context = self.encode(observation)
            return self.decode(context, self.choose(context))
        finally:
            if was_training:
                self.train()

    def select_action(self, frame: Mapping[str, Any]) -> Float[Tensor, " action"]:
        """The action for the newest frame of one control loop; the policy keeps the frames before it.

        Args:
            frame: the observation of a Gymnasium or LeRobot loop (`ikp.observation_from_frames` lists the keys).

        Returns:
            (action,), in the units of the demonstrations. Call `reset` at the start of every episode.

        Raises:
            ValueError: the frame lacks a part, or a part has a wrong shape or type or is not finite.
        """
        self.frames.add(frame)
        return self.act(batch_to(self.frames.observation, self.bounds.low.device))[0]

    def reset(self) -> None:
        """Forget the frames of the last episode."""
        self.frames.reset()

    def decode(self, context: Context, chosen: Float[Tensor, "batch dims"]) -> Float[Tensor, "batch action"]:
        """Action variables as actions in the units of the demonstrations, the discrete dimensions decided."""
        continuous = self.actions.decode(context.state, chosen)
        action = continuous.new_zeros(len(continuous), self.spec.action_dim)
        action[:, self.actions.action_dims] = continuous
        if self.gripper is not None:
            motions = self.actions.motions(context.state, chosen)
            closed = self.gripper(context.features, self.scale(chosen), motions) > 0
            action[:, list(self.spec.discrete_dims)] = closed.to(action.dtype)
        return action

    def _goal_losses(self, context: Context, batch: Batch) -> dict[str, Tensor]:
        """Losses of the goal against the demonstration's next gripper event; nothing without an image plane."""
        if self.plane is None or self.poses is None or context.goal is None:
            return {}
        if "goal_state" not in batch:
            raise ValueError(
                "the batch lacks 'goal_state': take it with `Demonstrations.batch(..., goals=True)`"
            )
        q = self.poses.residual(batch["goal_state"][:, list(self.spec.joint_dims)])
        return self.plane.losses(context.goal, self.plane.tip(self.poses.far_ends(q)))

    def _gripper_loss(self, context: Context, expert: Float[Tensor, "batch dims"], batch: Batch) -> Tensor:
        """Loss of the discrete dimensions given the demonstrated variables."""
        if self.gripper is None:
            return context.features.new_zeros(())
        closed = (batch["action"][:, list(self.spec.discrete_dims)] > 0.5).to(context.features.dtype)
        motions = self.actions.motions(context.state, expert)
        return self.gripper.loss(context.features, self.scale(expert), motions, closed)

    def _disturbed(self, variables: Float[Tensor, "batch dims"]) -> Float[Tensor, "batch dims"]:
        """Demonstrated variables about as exact as the policy's own choices will be (`Ablations.prefix_noise`)."""
        noise = self.config.ablation.prefix_noise
        return variables + noise * self.scale.std * torch.randn_like(variables)


def _make_actions(robot: Robot | None, spec: DataSpec, config: PolicyConfig) -> Actions:
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
