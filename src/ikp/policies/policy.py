"""The base class of all policies, and the `Context` that a policy derives from an observation."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.distributions import Normal

from ikp.indices import as_slice
from ikp.kinematics import Robot
from ikp.nets.modes import evaluation_mode
from ikp.policies.actions import ActionSpace, make_action_space
from ikp.policies.config import PolicyConfig
from ikp.policies.execution import Execution
from ikp.policies.frames import FrameHistory
from ikp.policies.image_plane import OBSERVED_FEATURES, Goal, ImagePlane
from ikp.policies.limits import OF_DATA, JointLimits
from ikp.policies.link_features import CHANGE_SECONDS, LinkPoses
from ikp.policies.motion_heads import ExtraHead, GripperHead, MotionHead
from ikp.policies.normalizer import Bounds, Standardizer
from ikp.policies.observation import EncodedImages, ObservationEncoder, as_tensors
from ikp.policies.residual import KinematicResidual
from ikp.policies.way_points import WayPoints
from ikp.spec import Batch, DataSpec, Observation

AnyBatch = TypeVar("AnyBatch", bound=Mapping)


@dataclass(frozen=True)
class Context:
    """Everything that a policy derives from a batch of observations, computed once and passed on as one object.

    Attributes:
        state: the newest measured state, in the model's units.
        features: the observation as features at unit scale.
        q: measured joints, corrected by the residual [rad or m]; None if the policy uses no link poses.
        far_ends: T_base_farend of every joint at `q`.
        goal: estimated goal of the motion in the image; None without an image plane.
    """

    state: Float[Tensor, "batch state"]
    features: Float[Tensor, "batch context"]
    q: Float[Tensor, "batch dof"] | None = None
    far_ends: Float[Tensor, "batch dof 3 4"] | None = None
    goal: Goal | None = None

    def rows(self, index: Int[Tensor, " kept"]) -> Context:
        """The context of some observations of the batch; an index may repeat."""
        q = None if self.q is None else self.q[index]
        far_ends = None if self.far_ends is None else self.far_ends[index]
        goal = None if self.goal is None else self.goal.rows(index)
        return Context(self.state[index], self.features[index], q, far_ends, goal)


class Policy(nn.Module, ABC):
    """Base class of the implicit and the explicit policy.

    Args:
        robot: the kinematic model; None with `action_space="raw"`.
        spec: sizes, names and roles of the dimensions of observations and actions.
        config: options of the policy.

    Raises:
        ValueError: robot, data and configuration do not match; the message says why.
    """

    def __init__(self, robot: Robot | None, spec: DataSpec, config: PolicyConfig) -> None:
        super().__init__()
        if robot is None and config.action_space != "raw":
            raise ValueError(f"action_space {config.action_space!r} needs a robot: give one, or use 'raw'")
        self.robot, self.spec, self.config = robot, spec, config
        self.joint_dims = as_slice(spec.joint_dims)
        self.frames = self.new_history()
        self.due, count = config.timing.due(spec.fps), config.timing.way_points
        step = make_action_space(
            robot,
            spec,
            config.action_space,
            delta=config.targets == "delta",
            seconds=self.due[0] / spec.fps,
        )
        self.actions = step if count == 1 else WayPoints(step, count)
        self.execution = self.new_execution()
        dims = len(self.actions.names)
        self.limits = None
        if robot is not None and config.action_space != "raw":
            self.limits = JointLimits(robot)
        self.bounds = Bounds(dims)
        self.scale = Standardizer(dims)
        self.encoder = ObservationEncoder(spec, config)
        self.poses = None
        has_plane = config.image_plane is not None
        if robot is not None and (config.has_kinematics or config.observes_poses or has_plane):
            residual = KinematicResidual(robot, config.residuals)
            gain = CHANGE_SECONDS * spec.fps / self.due[0]
            self.poses = LinkPoses(robot, residual, config.ablation.links, change_gain=gain)
        observed = self.poses.observed_size if self.poses is not None and config.observes_poses else 0
        self.context_size = self.encoder.size + observed
        self.plane = None
        if robot is not None and has_plane:
            self.plane = ImagePlane(robot, spec, config)
            self.context_size += OBSERVED_FEATURES
        self.gripper = None
        if spec.discrete_dims:
            self.gripper = GripperHead(self.context_size, dims, spec.discrete_dims, count, width=config.width)
        self.extras = None
        if spec.extra_dims and config.action_space != "raw":
            self.extras = ExtraHead(self.context_size, dims, spec.extra_dims, count, width=config.width)

    @property
    def step(self) -> ActionSpace:
        """The encoding of one way-point."""
        return self.actions.step

    @property
    def dims(self) -> int:
        """Number of dimensions of an encoded action."""
        return len(self.actions.names)

    @property
    def batch_options(self) -> dict[str, Any]:
        """Arguments of `Demonstrations.batch` for the observations and way-points of this policy."""
        timing = self.config.timing
        stride = timing.history_stride(self.spec.fps)
        return {"history": self.config.history, "stride": stride, "due": self.due}

    def new_history(self) -> FrameHistory:
        """The frames that this policy sees in one control loop."""
        return FrameHistory(self.spec, self.config.history, self.config.timing.history_stride(self.spec.fps))

    def new_execution(self) -> Execution:
        """The execution of this policy's decisions in one control loop."""
        joint_map, held, turns = self.spec.joint_map, self.spec.discrete_dims, {}
        if self.robot is not None and self.config.action_space != "raw":
            kinds = zip(self.spec.joint_dims, self.robot.joint_types, strict=True)
            turns = {dim: 2 * math.pi for dim, kind in kinds if kind == "continuous"}
        if joint_map is not None:  # commands are in the recorded units and order
            order, kept = joint_map.actions.order, joint_map.actions.kept
            held = tuple(order[dim] for dim in held)
            turns = {order[dim]: turn / abs(kept[dim].factor) for dim, turn in turns.items()}
        return Execution(self.config.timing, self.spec.fps, held, turns)

    @property
    def follows_gradients(self) -> bool:
        """Whether decisions follow gradients, which the faster inference mode of torch rules out."""
        return False

    @property
    def heads(self) -> dict[str, MotionHead]:
        """The networks that decide the dimensions that are no joints, by the names of their losses."""
        heads = {"gripper": self.gripper, "extras": self.extras}
        return {name: head for name, head in heads.items() if head is not None}

    def fit_scales(
        self,
        state: Float[Tensor, "frames s"],
        action: Float[Tensor, "frames *way_points a"],
        environment_state: Float[Tensor, "frames e"] | None = None,
        goal_state: Float[Tensor, "frames s"] | None = None,
    ) -> None:
        """Set the scales of inputs and the bounds of actions from all frames of the demonstrations.

        Args:
            state: measured states.
            action: demonstrated actions, all way-points of a policy that has several (`Demonstrations.way_points`).
            environment_state: privileged states, if the data have them.
            goal_state: measured state at the next gripper event of each frame; only an image plane needs it.

        Raises:
            ValueError: measured joints are far beyond the robot's limits, or the policy has an image plane and
                `goal_state` is missing.
        """
        self.check_demonstrated(state)
        self.encoder.fit(state, environment_state)
        if self.poses is not None:
            self.poses.fit(state[:, self.joint_dims])
        if self.plane is not None and self.poses is not None:
            if goal_state is None:
                raise ValueError("the image plane needs goal_state (`Demonstrations.goal_state`)")
            self.plane.fit(self.poses, goal_state[:, self.joint_dims])
        self.actions.fit(action)
        values = self.actions.encode(state, action)
        self.fit_actions(values)
        for head in self.heads.values():
            head.fit(self.actions.motions(state, values), action[..., head.dims].flatten(1))

    def fit_actions(self, encoded: Float[Tensor, "frames dims"]) -> None:
        """Set scale and bounds from the encoded actions of the demonstrations."""
        self.bounds.fit(encoded)
        self.scale.fit(encoded)

    def check_demonstrated(self, state: Float[Tensor, "frames s"]) -> None:
        """Refuse demonstrations whose measured joints are in another unit than rad or m.

        Raises:
            ValueError: measured joints are far beyond the robot's limits.
        """
        if self.limits is not None:
            joints = state[:, self.joint_dims]
            self.limits.check_measured(joints, "measured joints of the demonstrations", OF_DATA)

    def encode_images(self, observation: Observation) -> EncodedImages:
        """The part of `encode` that depends on the images alone."""
        return self.encoder.encode_images(observation, None if self.plane is None else self.plane.camera)

    def encode(self, observation: Observation, images: EncodedImages | None = None) -> Context:
        """Compute the context of an observation, the input of decisions and losses.

        Args:
            observation: a batch.
            images: `encode_images` of the observation, where it is known already.
        """
        state, goal = observation["state"][:, -1], None
        images = images or self.encode_images(observation)
        features = self.encoder(observation, images)
        if self.plane is not None:
            assert images.map is not None
            image = observation["images"][self.plane.camera][:, -1]
            goal = self.plane.estimate(images.map, image, self.encoder.state(state))
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
        """The measured joints in the newest frame [rad or m]."""
        return observation["state"][:, -1, self.joint_dims]

    def loss(self, batch: Batch) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """Mean loss over a batch of demonstrations, and its parts by name (detached).

        The policy chooses the precision of each of its parts itself, also where the caller casts automatically.
        """
        with torch.autocast(self.bounds.low.device.type, enabled=False):
            return self._loss(batch)

    @abstractmethod
    def _loss(self, batch: Batch) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """`loss` in full precision."""

    def regression(self, context: Context) -> Normal | None:
        """A regression of standardised encoded actions (batch, dims) inside the policy, if it has one.

        The standard deviation is what the policy predicts, or 1 where it predicts none.
        """
        return None

    @abstractmethod
    def choose(self, context: Context) -> Float[Tensor, "batch dims"]:
        """Choose encoded actions for the context of checked observations."""

    def act(self, observation: Observation | Mapping[str, Any]) -> Float[Tensor, "batch *way_points action"]:
        """Choose actions, in the units and the order of the recorded data.

        The joint map of the specification, if there is one, converts state and action. Joint targets are clamped to the
        robot's limits, which is reported once. A decision runs in evaluation mode, in float32 and in torch's inference
        mode: its result is an ordinary tensor, but what a hook keeps from inside cannot be differentiated.

        Args:
            observation: a batch as `ikp.observation_from_frames` makes it, of tensors or arrays; `select_action` takes
                single frames, and `act_in_model_units` batches of demonstrations.

        Returns:
            (batch, action), or (batch, way_points, action) of a policy that decides several way-points; `config.timing`
            says when they are due, and `select_action` interpolates between them.

        Raises:
            ValueError: a part of the observation is missing, has a wrong shape or dtype, or is not finite; measured
                joints are far beyond the robot's limits; or the action is not finite, also after the joint map.
        """
        received = self.encoder.check(self._to_model(as_tensors(observation, self.bounds.low.device)))
        if self.limits is not None:
            self.limits.check_measured(self.measured_joints(received))
        action = self._decided(received)
        if not torch.isfinite(action).all():
            raise ValueError(
                "the policy's action is not finite: its weights are damaged; train or copy it again"
            )
        if self.limits is not None:
            action[..., self.joint_dims] = self.limits.clamped(action[..., self.joint_dims])
        joint_map = self.spec.joint_map
        if joint_map is None or not self.spec.changes_numbers:
            return action
        recorded = joint_map.actions.to_recorded(action)
        bad = ~torch.isfinite(recorded)
        if bad.any():
            entry = joint_map.action[int(bad.nonzero()[0, -1])]
            raise ValueError(
                f"the joint map's numbers for {entry.name!r} in the action make {float(recorded[bad][0])} of the "
                "policy's action: correct its 'scale' and 'offset', 'open' and 'closed', or 'fill' (--joint-map FILE)"
            )
        return recorded

    def plan(
        self, observation: Observation | Mapping[str, Any]
    ) -> tuple[Float[Tensor, "batch *way_points action"], Float[Tensor, "batch action"]]:
        """The actions of `act`, and the command that keeps the measured joints, for `Execution.follow`.

        The dimensions of this command that are no joints have their value at the first way-point; all have it where
        there are no joints, or where the first way-point is due at once.
        """
        action = self.act(observation)
        rest = action if action.ndim == 2 else action[:, 0]
        if self.due == (1,) or self.limits is None:
            return action, rest
        received, joint_map = self._to_model(as_tensors(observation, rest.device)), self.spec.joint_map
        rest = rest.clone() if joint_map is None else joint_map.actions.to_model(rest)
        rest[:, self.joint_dims] = self.measured_joints(cast(Observation, received))
        return action, rest if joint_map is None else joint_map.actions.to_recorded(rest)

    def _to_model(self, observation: dict[str, Any]) -> dict[str, Any]:
        """A recorded observation in the model's units and order."""
        joint_map = self.spec.joint_map
        if joint_map is None or not self.spec.changes_numbers or "state" not in observation:
            return observation
        if "action" in observation:
            raise ValueError(
                "this is a batch of demonstrations, in the model's units: use policy.act_in_model_units(batch); act "
                "takes observations in the recorded units"
            )
        return observation | {"state": joint_map.states.to_model(observation["state"])}

    def act_in_model_units(
        self, observation: Observation | Mapping[str, Any]
    ) -> Float[Tensor, "batch *way_points action"]:
        """Choose actions for observations in the model's units and order, such as `Demonstrations.batch`.

        Returns:
            Actions in the model's units: joint targets [rad or m] in the order of q, and 0 or 1 for a gripper.

        Raises:
            ValueError: a part of the observation is missing, has a wrong shape or dtype, or is not finite.
        """
        return self._decided(self.encoder.check(observation))

    def _decided(self, observation: Observation) -> Float[Tensor, "batch *way_points action"]:
        # decisions are made in float32, also where the caller casts automatically
        with evaluation_mode(self), torch.autocast(self.bounds.low.device.type, enabled=False):
            if self.follows_gradients:  # inference mode rules gradients out, the caller's as well
                with torch.inference_mode(False), torch.no_grad():
                    action = self._chosen(_each(observation, torch.clone))
            else:
                with torch.inference_mode():
                    action = self._chosen(observation)
        return action.clone()  # the user may differentiate what is computed from it

    def _chosen(self, observation: Observation) -> Float[Tensor, "batch *way_points action"]:
        context = self.encode(observation)
        return self.decode(context, self.choose(context))

    def select_action(self, frame: Mapping[str, Any]) -> Float[Tensor, " action"]:
        """Choose the action for the newest frame of a control loop; the policy stores the frames before it.

        Call `reset` at the start of every episode.

        Args:
            frame: the observation of a Gymnasium or LeRobot loop (`ikp.observation_from_frames` lists the keys).

        Returns:
            (action,), in the units and the order of the recorded data.

        Raises:
            ValueError: a part of the frame is missing, has a wrong shape or type, or is not finite.
        """
        self.frames.add(frame)
        if self.execution.is_due:
            action, rest = (each[0].cpu() for each in self.plan(self.frames.observation))
            self.execution.follow(action, rest)
        return self.execution.next()

    def reset(self) -> None:
        """Forget the stored frames and way-points, at the start of an episode."""
        self.frames.reset()
        self.execution.reset()

    def decode(
        self, context: Context, chosen: Float[Tensor, "batch dims"]
    ) -> Float[Tensor, "batch *way_points action"]:
        """Decode chosen encoded actions to the model's units, and decide the dimensions that are no joints."""
        continuous = self.actions.decode(context.state, chosen)
        action = continuous.new_zeros(*continuous.shape[:-1], self.spec.action_dim)
        action[..., self.actions.action_dims] = continuous
        if not self.heads:
            return action
        seen = self._seen_by_heads(context, chosen)
        for head in self.heads.values():
            action[..., head.dims] = head.values(*seen).reshape(*action.shape[:-1], -1)
        return action

    def _seen_by_heads(self, context: Context, encoded: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return context.features, self.scale(encoded), self.actions.motions(context.state, encoded)

    def _goal_losses(self, context: Context, batch: Batch) -> dict[str, Tensor]:
        """Losses of the estimated goal against the pose at the next gripper event; empty without an image plane."""
        if self.plane is None or self.poses is None or context.goal is None:
            return {}
        if "goal_state" not in batch:
            raise ValueError(
                "the batch lacks 'goal_state': take it with `Demonstrations.batch(..., goals=True)`"
            )
        q = self.poses.residual(batch["goal_state"][:, self.joint_dims])
        return self.plane.losses(context.goal, self.plane.tip(self.poses.far_ends(q)))

    def _head_losses(
        self,
        context: Context,
        demonstrated: Float[Tensor, "batch dims"],
        action: Float[Tensor, "batch *way_points action"],
    ) -> dict[str, Tensor]:
        """Losses of the dimensions that are no joints, given the demonstrated encoded actions."""
        if not self.heads:
            return {}
        seen = self._seen_by_heads(context, demonstrated)
        return {
            name: head.loss(*seen, action[..., head.dims].flatten(1)) for name, head in self.heads.items()
        }


def batch_to(batch: AnyBatch, device: torch.device | str) -> AnyBatch:
    """Move the tensors of a batch to a device, images included."""
    return _each(batch, lambda tensor: tensor.to(device, non_blocking=True))


def _each(batch: AnyBatch, change: Callable[[Tensor], Tensor]) -> AnyBatch:
    """A batch with every tensor changed, images included."""
    changed = {
        key: _each(value, change) if isinstance(value, Mapping) else change(value)
        for key, value in batch.items()
    }
    return cast(AnyBatch, changed)
