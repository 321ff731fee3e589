"""Demonstrations in memory: all frames in one array per feature, and training batches gathered from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from ikp.data.read_ahead import read_ahead
from ikp.joint_map import JointMap
from ikp.spec import Batch, DataSpec

CLOSED = 0.5
"""A gripper whose value is larger counts as closed."""


@dataclass(frozen=True, eq=False)
class Demonstrations:
    """The frames of all episodes, one episode after another.

    Attributes:
        spec: names, sizes and roles.
        state: (frame, state_dim) measured state.
        action: (frame, action_dim) action chosen at that frame. State and action are in the model's units and order
            where the specification has a joint map, else as recorded.
        environment_state: (frame, environment_state_dim) privileged state.
        images: camera to (frame, height, width, 3).
        episode_index: (frame,) index of the episode in the data set.
        frame_index: (frame,) position in the episode, from 0.
        success: (episode,) whether the task was solved; true if the data set does not say.
        info: the information stored with each episode, its seed for example.
        on_disk: whether the images are mapped from files, so that it pays to `prefetch` them.
        arms: (episode,) name of the arm of each episode, where several arms are pooled (`ikp.data.pooled`), else empty.
        arm_maps: joint map of each arm by its name; the specification has that of the first one.
    """

    spec: DataSpec
    state: Float[Tensor, "frame state"]
    action: Float[Tensor, "frame action"]
    environment_state: Float[Tensor, "frame environment_state"]
    images: Mapping[str, UInt8[Tensor, "frame _ _ 3"]]
    episode_index: Int[Tensor, " frame"]
    frame_index: Int[Tensor, " frame"]
    success: Bool[Tensor, " episode"]
    info: Sequence[Mapping[str, Any]] = field(default=())
    on_disk: bool = False
    arms: Sequence[str] = field(default=())
    arm_maps: Mapping[str, JointMap | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        starts = torch.nonzero(self.frame_index == 0).flatten()
        ends = torch.cat([starts[1:], starts.new_tensor([len(self.frame_index)])])
        object.__setattr__(self, "_bounds", torch.stack([starts, ends], dim=1).cpu())
        object.__setattr__(self, "_last", _last_frames(self.episode_bounds.to(self.frame_index.device)))
        object.__setattr__(self, "_goals", _next_events(self.gripper_closed, self.episode_bounds))

    def __repr__(self) -> str:
        """Numbers of episodes and frames, and sizes."""
        cameras = [
            f"{name} {'x'.join(map(str, shape[:2]))}" for name, shape in self.spec.image_shapes.items()
        ]
        sizes = [f"state {self.spec.state_dim}", f"action {self.spec.action_dim}"]
        sizes += [f"environment state {self.spec.environment_state_dim}"] * (
            self.spec.environment_state_dim > 0
        )
        return (
            f"Demonstrations({self.episodes} episodes{f' of {len(self.arm_names)} arms' if self.arms else ''}, "
            f"{len(self)} frames; {', '.join([*sizes, *cameras])})"
        )

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.action)

    @property
    def episodes(self) -> int:
        """Number of episodes."""
        return len(self.success)

    @property
    def episode_bounds(self) -> Int[Tensor, "episode 2"]:
        """First frame of each episode and the frame after its last, on the CPU."""
        return self._bounds  # type: ignore[attr-defined]

    @property
    def gripper_closed(self) -> Bool[Tensor, "frame grippers"]:
        """Whether each gripper is closed: as measured where the state has its dimension, else as commanded."""
        measured = list(self.spec.measured_discrete_dims)
        commanded = [dim for dim in self.spec.discrete_dims if dim not in measured]
        return torch.cat([self.state[:, measured], self.action[:, commanded]], 1) > CLOSED

    @property
    def goal_state(self) -> Float[Tensor, "frame state"]:
        """The measured state at each frame's next gripper event: a label of where the motion leads, in hindsight.

        A gripper event is a later frame of the episode at which a gripper has switched. Without one, and in tasks
        without a gripper, the episode's last frame counts. The labels need no privileged state and no annotation.
        """
        return self.state[self._goals]  # type: ignore[attr-defined]

    def batch(
        self,
        indices: Int[Tensor, " batch"],
        history: int | None = None,
        *,
        stride: int = 1,
        due: Sequence[int] = (1,),
        goals: bool = False,
    ) -> Batch:
        """A training batch, gathered from the frames that end at `indices`.

        Args:
            indices: frames, from 0 to len(self) - 1.
            history: frames per observation; the specification's if not given.
            stride: frames of the data from one frame of an observation to the next.
            due: frames after which the action's way-points are due (`way_points`).
            goals: add `goal_state`.
        """
        indices = indices.to(self.frame_index.device)
        window = self.window(indices, history, stride)
        batch: Batch = {
            "state": self.state[window],
            "images": {camera: _gather(images, window) for camera, images in self.images.items()},
            "action": self.way_points(due, indices),
        }
        if self.spec.environment_state_dim:
            batch["environment_state"] = self.environment_state[window]
        if goals:
            batch["goal_state"] = self.state[self._goals[indices]]  # type: ignore[attr-defined]
        return batch

    def prefetch(
        self, indices: Int[Tensor, " batch"], history: int | None = None, *, stride: int = 1
    ) -> None:
        """Let the system read the images of a later batch while the caller computes; without effect in memory.

        Args:
            indices, history, stride: as for `batch`.
        """
        if self.on_disk:
            frames = self.window(indices, history, stride).unique().tolist()
            for images in self.images.values():
                read_ahead(images, frames)

    def way_points(
        self, due: Sequence[int], indices: Int[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "batch *way_points action"]:
        """The commands at later times: that of n frames later is the action of frame n - 1 from `indices` on.

        Args:
            due: frames after which each way-point is due, from 1 on. After its last frame an episode holds its action.
            indices: frames, from 0 to len(self) - 1; all if not given.

        Returns:
            (batch, action_dim) for a single way-point, else (batch, way_points, action_dim).
        """
        if indices is None:
            indices = torch.arange(len(self), device=self.frame_index.device)
        if tuple(due) == (1,):
            return self.action[indices]
        later = indices[:, None] + torch.tensor(due, device=indices.device) - 1
        frames = torch.minimum(later, self._last[indices][:, None])  # type: ignore[attr-defined]
        return self.action[frames[:, 0] if len(due) == 1 else frames]

    def window(
        self, indices: Int[Tensor, " batch"], history: int | None = None, stride: int = 1
    ) -> Int[Tensor, "batch history"]:
        """The frames of the observations that end at `indices`; at its start an episode's first frame is repeated.

        Raises:
            ValueError: `history` is not positive.
        """
        history = self.spec.history if history is None else history
        if history < 1:
            raise ValueError(f"history is {history}: an observation holds at least 1 frame")
        back = stride * torch.arange(history - 1, -1, -1, device=indices.device)
        return indices[:, None] - torch.minimum(back, self.frame_index[indices][:, None])

    def split(
        self, held_out: float | int, seed: int = 0
    ) -> tuple[Int[Tensor, " train"], Int[Tensor, " held_out"]]:
        """Split the frames at random by episode, into frames for training and frames of held-out episodes.

        Args:
            held_out: a share of the episodes (a float below 1) or a number of episodes (an integer), of every arm where
                several are pooled.
            seed: the same seed chooses the same episodes.

        Raises:
            ValueError: one of the two would have no episode.
        """
        order = np.random.default_rng(seed).permutation(self.episodes)
        training: list[int] = []
        chosen: list[int] = []
        for arm in self.arm_names or (None,):
            own = [int(episode) for episode in order if arm is None or self.arms[episode] == arm]
            count = max(1, round(held_out * len(own))) if isinstance(held_out, float) else held_out
            if not 0 < count < len(own):
                raise ValueError(
                    f"{held_out} held-out of {len(own)} episodes{'' if arm is None else f' of the arm {arm!r}'} leaves "
                    f"none on one side: choose a share between 0 and 1 or a number from 1 to {len(own) - 1}"
                )
            chosen += own[:count]
            training += own[count:]
        return self.frames_of(training), self.frames_of(chosen)

    @property
    def arm_names(self) -> tuple[str, ...]:
        """Names of the pooled arms, in the order of their episodes; empty where the demonstrations are of one arm."""
        return tuple(dict.fromkeys(self.arms))

    def frames_of_arm(self, arm: str, frames: Int[Tensor, " frame"]) -> Int[Tensor, " own"]:
        """Those of the frames that are of a pooled arm."""
        own = self.frames_of([episode for episode, name in enumerate(self.arms) if name == arm])
        return frames[torch.isin(frames, own)]

    def frames_of(self, episodes: Sequence[int] | np.ndarray) -> Int[Tensor, " frame"]:
        """The frames of some episodes, by their position from 0 to `episodes` - 1, in ascending order."""
        bounds = self.episode_bounds[sorted(int(episode) for episode in episodes)]
        return torch.cat([torch.arange(int(start), int(end)) for start, end in bounds])

    def mapped(self, joint_map: JointMap) -> Demonstrations:
        """The demonstrations in the model's units and order; the images are shared with this object.

        Raises:
            ValueError: they have gone through a joint map already, or the map is one of other dimensions.
        """
        if self.spec.joint_map is not None:
            raise ValueError("the demonstrations have a joint map already: load them again")
        spec = self.spec.with_joint_map(joint_map)
        if joint_map.is_identity:
            return replace(self, spec=spec)
        state, action = joint_map.states.to_model(self.state), joint_map.actions.to_model(self.action)
        return replace(self, spec=spec, state=state, action=action)

    def first(self, episodes: int) -> Demonstrations:
        """The first episodes; they share memory with this object.

        Raises:
            ValueError: there are fewer episodes.
        """
        if not 1 <= episodes <= self.episodes:
            raise ValueError(f"{episodes} episodes requested: choose 1 to {self.episodes}")
        end = int(self.episode_bounds[episodes - 1, 1])
        return replace(
            self,
            state=self.state[:end],
            action=self.action[:end],
            environment_state=self.environment_state[:end],
            images={camera: images[:end] for camera, images in self.images.items()},
            episode_index=self.episode_index[:end],
            frame_index=self.frame_index[:end],
            success=self.success[:episodes],
            info=self.info[:episodes],
            arms=self.arms[:episodes],
        )

    def to(self, device: str | torch.device) -> Demonstrations:
        """A copy in the memory of a device; its batches are gathered there."""
        return replace(
            self,
            state=self.state.to(device),
            action=self.action.to(device),
            environment_state=self.environment_state.to(device),
            images={camera: images.to(device) for camera, images in self.images.items()},
            episode_index=self.episode_index.to(device),
            frame_index=self.frame_index.to(device),
            success=self.success.to(device),
            on_disk=self.on_disk and torch.device(device).type == "cpu",
        )


def _gather(images: Tensor, window: Tensor) -> Tensor:
    # index_select copies whole images; indexing with a matrix of indices would copy byte by byte.
    return images.index_select(0, window.flatten()).reshape(*window.shape, *images.shape[1:])


def _last_frames(bounds: Int[Tensor, "episode 2"]) -> Int[Tensor, " frame"]:
    """The last frame of each frame's episode."""
    first, after = bounds.unbind(1)
    return torch.repeat_interleave(after - 1, after - first)


def _next_events(
    closed: Bool[Tensor, "frame grippers"], bounds: Int[Tensor, "episode 2"]
) -> Int[Tensor, " frame"]:
    """For each frame the first later frame of its episode at which a gripper has switched, else the last frame."""
    first = bounds[:, 0].to(closed.device)
    events = torch.zeros(len(closed), dtype=torch.bool, device=closed.device)
    events[1:] = (closed[1:] != closed[:-1]).any(-1)
    events[first] = False  # a difference between two episodes is no event
    last = _last_frames(bounds.to(closed.device))
    at = torch.nonzero(events).flatten()
    if not len(at):
        return last
    following = torch.searchsorted(at, torch.arange(len(closed), device=closed.device), right=True)
    found = at[following.clamp(max=len(at) - 1)]
    return torch.where(following < len(at), torch.minimum(found, last), last)
