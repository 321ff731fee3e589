"""The contract between data, tasks and policies: the specification of a data set, observations and batches."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from numbers import Integral
from typing import Any, NotRequired, TypedDict

from jaxtyping import Float, UInt8
from torch import Tensor

from ikp.joint_map import EXTRA, GRIPPER, JOINT, Dimension, JointMap
from ikp.joint_map.names import plain_name
from ikp.kinematics import Camera, Robot
from ikp.words import shortened

_SAME = ("image_shapes", "fps", "joint_dims", "discrete_dims", "extra_dims")
"""Attributes of a specification that are equal in a policy and its data, beside names."""


class Observation(TypedDict):
    """The input of a policy: for each environment (a row of the batch) its last `history` frames, oldest first.

    Units and dimensions are those of the data set as recorded for `Policy.act`, and those of the model (`DataSpec`)
    in batches of demonstrations; the two differ where the data set has a `JointMap` that changes numbers. Any mapping
    with these keys is accepted, and further keys are ignored. `ikp.policies.observation_from_frames` makes an
    observation from the frames of a control loop.

    Keys:
        state: (batch, history, state_dim) float32, the measured state, such as joints [rad or m]; state_dim may be 0.
        images: camera name to (batch, history, height, width, 3) uint8, RGB from 0 to 255; empty without cameras.
        environment_state: (batch, history, environment_state_dim) float32, the privileged state; only where the
            specification has one.
    """

    state: Float[Tensor, "batch history state"]
    images: Mapping[str, UInt8[Tensor, "batch history height width 3"]]
    environment_state: NotRequired[Float[Tensor, "batch history environment_state"]]


class Batch(Observation):
    """A training batch: observations, and what the demonstration did at the newest frame of each.

    Keys, beside those of `Observation`:
        action: (batch, action_dim) float32, in the model's units; (batch, way_points, action_dim) for a policy that
            decides several way-points at once.
        goal_state: (batch, state_dim) float32, the measured state at the next gripper event; only from
            `Demonstrations.batch(..., goals=True)`.
    """

    action: Float[Tensor, "batch *way_points action"]
    goal_state: NotRequired[Float[Tensor, "batch state"]]


@dataclass(frozen=True)
class DataSpec:
    """Names, sizes and roles of a data set's observations and actions.

    Attributes:
        action_names: one name per action dimension.
        state_names: one name per dimension of the measured state; empty without a state.
        environment_state_names: one name per dimension of the privileged state (object poses in the robot's base
            frame); empty without one.
        image_shapes: camera name to (height, width, channels), pixels.
        fps: frames per second, which is also the rate of the actions [Hz].
        joint_dims: the action dimensions that are robot joint targets, in the order of the robot's q
            [rad or m]. Where a robot model is used, the same dimensions of the state are the measured joints.
        discrete_dims: the action dimensions that are either 0 or 1 (a gripper).
        history: frames per observation, oldest first.
        cameras: camera name to its model in the robot's base frame, for the cameras whose model is known.
        joint_map: how recorded numbers become the model's, to which all other attributes refer: joints in the order of
            q, then grippers, then the rest. None where the recorded numbers are the model's.

    Raises:
        ValueError: a size, name, rate or dimension is invalid; the message names it.
    """

    action_names: tuple[str, ...]
    state_names: tuple[str, ...] = ()
    environment_state_names: tuple[str, ...] = ()
    image_shapes: Mapping[str, tuple[int, int, int]] = field(default_factory=dict)
    fps: float = 10.0
    joint_dims: tuple[int, ...] = ()
    discrete_dims: tuple[int, ...] = ()
    history: int = 1
    cameras: Mapping[str, Camera] = field(default_factory=dict)
    joint_map: JointMap | None = None

    def __post_init__(self) -> None:
        for name in ("action_names", "state_names", "environment_state_names"):
            object.__setattr__(self, name, _names(name, getattr(self, name)))
        if not self.action_names:
            raise ValueError("action_names is empty: name at least one action dimension")
        if not isinstance(self.image_shapes, Mapping):
            raise ValueError(
                f"image_shapes is {self.image_shapes!r}: give (height, width, 3) by the name of the camera"
            )
        shapes = {str(camera): _image_shape(camera, shape) for camera, shape in self.image_shapes.items()}
        object.__setattr__(self, "image_shapes", shapes)
        if not (math.isfinite(self.fps) and self.fps > 0):
            raise ValueError(f"fps is {self.fps}: it must be a positive number of frames per second")
        for name in ("joint_dims", "discrete_dims"):
            object.__setattr__(self, name, _dims(name, getattr(self, name), len(self.action_names)))
        shared = sorted(set(self.joint_dims) & set(self.discrete_dims))
        if shared:
            raise ValueError(f"action dimensions {shared} are in joint_dims and in discrete_dims: choose one")
        if self.history < 1:
            raise ValueError(f"history is {self.history}: an observation holds at least 1 frame")
        object.__setattr__(self, "cameras", dict(self.cameras))
        unknown = sorted(set(self.cameras) - set(shapes))
        if unknown:
            raise ValueError(
                f"cameras {unknown} have a model but no images: there are images of {sorted(shapes)}"
            )
        if self.joint_map is not None:
            _check_map(self, self.joint_map)

    @property
    def action_dim(self) -> int:
        """Number of action dimensions."""
        return len(self.action_names)

    @property
    def state_dim(self) -> int:
        """Number of dimensions of the measured state."""
        return len(self.state_names)

    @property
    def environment_state_dim(self) -> int:
        """Number of dimensions of the privileged state, 0 without one."""
        return len(self.environment_state_names)

    @property
    def camera_names(self) -> tuple[str, ...]:
        """Names of the cameras, in the order of the data set."""
        return tuple(self.image_shapes)

    @property
    def changes_numbers(self) -> bool:
        """Whether recorded numbers differ from the model's."""
        return self.joint_map is not None and not self.joint_map.is_identity

    @property
    def recorded_action_names(self) -> tuple[str, ...]:
        """Names of the action's dimensions in the data set."""
        return self.action_names if self.joint_map is None else tuple(d.name for d in self.joint_map.action)

    @property
    def recorded_state_names(self) -> tuple[str, ...]:
        """Names of the state's dimensions in the data set."""
        return self.state_names if self.joint_map is None else tuple(d.name for d in self.joint_map.state)

    @property
    def measured_discrete_dims(self) -> tuple[int, ...]:
        """The dimensions of `discrete_dims` that the state measures, in the same place."""
        dims = tuple(dim for dim in self.discrete_dims if dim < self.state_dim)
        if self.joint_map is None:
            return dims
        return tuple(dim for dim in dims if self.joint_map.states.kept[dim].role == GRIPPER)

    @property
    def extra_dims(self) -> tuple[int, ...]:
        """The action dimensions that a joint map names as numbers that move no joint, such as a gripper's width."""
        if self.joint_map is None or not self.joint_map.joints:
            return ()
        return tuple(i for i, d in enumerate(self.joint_map.actions.kept) if d.role == EXTRA)

    def recorded_map(self, robot: Robot) -> JointMap:
        """The joint map of the recording; where it has none, the one that changes nothing, with the data's names.

        Args:
            robot: the robot whose joints `joint_dims` are.
        """
        if self.joint_map is not None:
            return self.joint_map
        joints = dict(zip(self.joint_dims, JointMap.identity(robot).action, strict=True))

        def entries(names: Sequence[str], grippers: Sequence[int]) -> tuple[Dimension, ...]:
            made = []
            for dim, name in enumerate(names):
                other = (
                    Dimension(name, GRIPPER, self.action_names[dim])
                    if dim in grippers
                    else Dimension(name, EXTRA)
                )
                made.append(replace(joints[dim], name=name) if dim in joints else other)
            return tuple(made)

        action = entries(self.action_names, self.discrete_dims)
        state = entries(self.state_names, self.measured_discrete_dims)
        return JointMap(robot.joint_names, action, state)

    def with_joint_map(self, joint_map: JointMap) -> "DataSpec":
        """The specification of the same recording after its numbers went through a joint map.

        Raises:
            ValueError: the map is one of other dimensions.
        """
        joint_map.check_names(self.recorded_action_names, self.recorded_state_names, "the data set")
        joints, discrete = _map_dims(joint_map)
        return replace(
            self,
            action_names=joint_map.actions.names,
            state_names=joint_map.states.names,
            joint_dims=joints,
            discrete_dims=discrete,
            joint_map=joint_map,
        )

    def to_json(self) -> dict[str, Any]:
        """The specification as a dict of plain JSON values."""
        plain = {
            key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()
        }
        plain["image_shapes"] = {camera: list(shape) for camera, shape in self.image_shapes.items()}
        plain["cameras"] = {name: camera.to_json() for name, camera in self.cameras.items()}
        plain["joint_map"] = self.joint_map.to_json() if self.joint_map is not None else None
        return plain

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "DataSpec":
        """Rebuild a specification written by `to_json`.

        Raises:
            ValueError: an unknown or missing key, or a value that `DataSpec` refuses.
        """
        allowed = list(cls.__dataclass_fields__)
        unknown = sorted(set(values) - set(allowed))
        if unknown:
            raise ValueError(f"unknown keys {unknown} in a data specification: allowed are {allowed}")
        if "action_names" not in values:
            raise ValueError("a data specification needs the key 'action_names'")
        values = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
        shapes = {camera: tuple(shape) for camera, shape in values.get("image_shapes", {}).items()}
        cameras = {name: Camera.from_json(camera) for name, camera in values.get("cameras", {}).items()}
        joint_map = values.get("joint_map")
        changed = {
            "image_shapes": shapes,
            "cameras": cameras,
            "fps": float(values.get("fps", 10.0)),
            "joint_map": None if joint_map is None else JointMap.from_json(joint_map),
        }
        return cls(**(values | changed))


def check_same_data(policy: DataSpec, data: DataSpec) -> None:
    """Refuse to train a policy on data of other dimensions, images or rate than it was made for.

    Args:
        policy: specification that the policy was made with.
        data: specification of the demonstrations.

    Raises:
        ValueError: they differ; names may differ in words that say nothing, such as `pos`, not in quantity or unit.
    """
    for what in ("action_names", "state_names", "environment_state_names", *_SAME):
        made, given = getattr(policy, what), getattr(data, what)
        if what in _SAME:
            differ = made != given
        else:
            differ = [plain_name(name) for name in made] != [plain_name(name) for name in given]
        if differ:
            raise ValueError(
                f"the policy was made for data whose {what} is {made}, and that of these data is {given}: make a "
                "policy for these data (ikp.make_policy(robot, dataset.spec)), or load them for its robot "
                "(ikp.load_dataset(folder, robot=robot))"
            )


def _check_map(spec: DataSpec, joint_map: JointMap) -> None:
    for what, names, made in (
        ("action", spec.action_names, joint_map.actions.names),
        ("state", spec.state_names, joint_map.states.names),
    ):
        if names != made:
            raise ValueError(
                f"{what}_names is {list(names)}, the joint map makes {list(made)}: use `DataSpec.with_joint_map`"
            )
    joints, discrete = _map_dims(joint_map)
    for what, dims, made in (
        ("joint_dims", spec.joint_dims, joints if joint_map.joints else spec.joint_dims),
        ("discrete_dims", tuple(sorted(spec.discrete_dims)), discrete),
    ):
        if dims != made:
            raise ValueError(
                f"{what} is {list(dims)}, the joint map makes {list(made)}: use `DataSpec.with_joint_map`"
            )


def _map_dims(joint_map: JointMap) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The action dimensions that a joint map makes joints, and those that it makes grippers."""
    roles = [d.role for d in joint_map.actions.kept]
    discrete = tuple(i for i, role in enumerate(roles) if role == GRIPPER)
    if not joint_map.joints:  # without a robot the roles of the continuous dimensions stay open
        return tuple(i for i, role in enumerate(roles) if role != GRIPPER), discrete
    return tuple(i for i, role in enumerate(roles) if role == JOINT), discrete


def _names(what: str, names: Sequence[str]) -> tuple[str, ...]:
    if isinstance(names, str):
        raise ValueError(f"{what} is the string {names!r}: give a list of names")
    result = tuple(str(name) for name in names)
    repeated = sorted({name for name in result if result.count(name) > 1})
    if repeated:
        raise ValueError(f"{what} holds {repeated} more than once: names must differ")
    return result


def _image_shape(camera: str, shape: Sequence[int]) -> tuple[int, int, int]:
    sizes = tuple(int(size) for size in shape)
    if len(sizes) != 3 or min(sizes) < 1 or sizes[2] != 3:
        raise ValueError(f"camera {camera!r} has the shape {sizes}: it must be (height, width, 3)")
    return sizes


def _dims(what: str, dims: Sequence[int], action_dim: int) -> tuple[int, ...]:
    given = tuple(dims) if isinstance(dims, Iterable) and not isinstance(dims, str) else (dims,)
    is_whole = all(isinstance(dim, Integral) and not isinstance(dim, bool) for dim in given)
    result = tuple(int(dim) for dim in given) if is_whole else ()
    wrong = [dim for dim in result if not 0 <= dim < action_dim]
    if not is_whole or wrong or len(set(result)) != len(result):
        raise ValueError(
            f"{what} is {shortened(repr(dims), 100)}: it must hold different action dimensions from 0 to "
            f"{action_dim - 1}, in a list of whole numbers"
        )
    return result
