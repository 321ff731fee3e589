"""Record the frames of any control loop as a data set that survives being killed at any moment."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from torch import Tensor

from ikp.data.frame_spec import Naming, spec_of_frame
from ikp.data.layout import ACTION, IKP_PATH, STATE
from ikp.data.writer import DatasetWriter
from ikp.joint_map import MapHints
from ikp.joint_map.names import plain_name
from ikp.kinematics import Camera, Robot
from ikp.policies.frame_map import FrameMap, frame_of
from ikp.policies.frames import read_frame
from ikp.spec import DataSpec


class Recorder:
    """Turns the frames of a loop into a LeRobotDataset v3.0, episode by episode.

    Names and sizes come from the first frame. Numbers are stored as they come; which of them are a robot's joints, and
    in what units, is found out when the data are loaded (`ikp.load_dataset(root, robot=...)`). Each saved episode is a
    file that appears whole: a kill or a power loss costs the open episode at most. Recording into the same folder again
    continues the data set.

    Args:
        root: the folder; made with the first frame if it does not exist.
        fps: frames per second of the loop.
        task: description of the task in words.
        robot: names the dimensions of actions and states that have as many as it has joints; by default names come from
            the frames, or are numbered.
        robot_type: name of the robot; by default that of `robot`.
        action_names, state_names, environment_state_names: names of the dimensions.
        units: unit of the joints (rad, deg, m, mm, percent, signed-percent, fraction), or units by the name of a
            dimension. One unit is not taken for grippers.
        frame: where the parts of a frame are in an observation, see `ikp.policies.frame_map.frame_of`.
        cameras: models of cameras by name.

    Raises:
        DatasetError: the folder holds other files, or a data set of other frames.
        ValueError: a unit is unknown.
        OSError: the folder cannot be written, or another process is writing to it.

    Example:
        with ikp.Recorder("recordings", fps=10, task="open the door") as recorder:
            while recorder.episodes < 50:
                observation, _ = env.reset()
                done = False
                while not done:
                    action = expert(observation)
                    recorder.add(observation, action)
                    observation, _, terminated, truncated, info = env.step(action)
                    done = terminated or truncated
                recorder.save_episode(success=info["is_success"])
    """

    def __init__(
        self,
        root: str | Path,
        *,
        fps: float,
        task: str = "",
        robot: Robot | None = None,
        robot_type: str = "",
        action_names: Sequence[str] = (),
        state_names: Sequence[str] = (),
        environment_state_names: Sequence[str] = (),
        units: str | Mapping[str, str] = "",
        frame: FrameMap | None = None,
        cameras: Mapping[str, Camera] | None = None,
    ) -> None:
        self.root, self._fps, self._task, self._frame = Path(root), fps, task, frame
        self._robot_type = robot_type or (robot.name if robot is not None else "unknown")
        joints = robot.joint_names if robot is not None else ()
        self._naming = Naming(joints, action_names, state_names, environment_state_names, dict(cameras or {}))
        self._units = units
        self._unit_by_name = MapHints(units=units).units_by_name
        self._spec: DataSpec | None = None
        self._writer = DatasetWriter.reopen(self.root) if (self.root / IKP_PATH).exists() else None

    @property
    def episodes(self) -> int:
        """Number of saved episodes, those of earlier recordings included."""
        return self._writer.episodes if self._writer is not None else 0

    @property
    def frames(self) -> int:
        """Number of frames in the saved episodes."""
        return self._writer.frames if self._writer is not None else 0

    @property
    def open_frames(self) -> int:
        """Number of frames added since the last saved episode."""
        return self._writer.open_frames if self._writer is not None else 0

    def add(
        self, observation: Any, action: Any, *, reward: float = 0.0, done: bool = False, success: bool = False
    ) -> None:
        """Add an observation and the action that was chosen for it.

        Args:
            observation: what the environment or the robot returned: a dictionary with the keys that
                `ikp.observation_from_frames` lists, or an array. It is copied.
            action: a vector, or a dictionary of numbers by name.
            reward, done, success: what followed.

        Raises:
            DatasetError: the folder holds a data set of other frames.
            ValueError: a value is missing, has another shape or type than in the first frame, or is not finite; the
                frame is not added.
        """
        frame = frame_of(observation, self._frame)
        if self._spec is None:
            self._open(frame, action)
        assert self._writer is not None
        assert self._spec is not None
        read = read_frame(frame, self._spec)
        values = _vector(action, self._spec.action_names)
        self._writer.add_frame(read, values, reward=reward, done=done, success=success)

    def save_episode(
        self, *, success: bool | None = None, task: str | None = None, info: Mapping[str, Any] | None = None
    ) -> int:
        """Write the open episode to disk and return its index; arguments as in `DatasetWriter.save_episode`.

        Raises:
            ValueError: no frame was added.
            OSError: the disk is full or not writable; the episode is still open, so call this again.
        """
        if self._writer is None:
            raise ValueError("the episode has no frame: add at least one before saving it")
        return self._writer.save_episode(
            success=success, task=self._task if task is None else task, info=info
        )

    def discard_episode(self) -> None:
        """Forget the frames of the open episode."""
        if self._writer is not None:
            self._writer.discard_episode()

    def close(self) -> None:
        """Finish the data set; frames of an episode that was not saved are dropped, with a warning."""
        if self._writer is None:
            return
        if self.open_frames:
            warnings.warn(
                f"{self.open_frames} frames of an episode that was not saved are dropped: call save_episode() at "
                "its end",
                stacklevel=2,
            )
        self._writer.close()

    def _open(self, frame: Mapping[str, Any], action: Any) -> None:
        spec, left_out = spec_of_frame(frame, action, self._fps, self._naming)
        if left_out:
            cameras = f", the cameras {', '.join(spec.camera_names)}" if spec.camera_names else ""
            warnings.warn(
                f"recorded are the action, {spec.state_dim} numbers of state, {spec.environment_state_dim} of the "
                f"environment's state{cameras}; left out: {', '.join(map(str, left_out))}",
                stacklevel=3,
            )
        read_frame(frame, spec)  # what cannot be recorded makes no folder
        _vector(action, spec.action_names)
        vectors = {ACTION: spec.action_names, STATE: spec.state_names}
        units = {key: [self._unit(name) for name in names] for key, names in vectors.items() if names}
        stored = units if any(any(unit) for unit in units.values()) else {}
        if self._writer is not None:
            self._writer.check_frames(spec, robot_type=self._robot_type, units=stored)
        else:
            self._writer = DatasetWriter(
                self.root, spec, robot_type=self._robot_type, task=self._task, units=stored
            )
        self._spec = spec

    def _unit(self, name: str) -> str:
        is_hand = isinstance(self._units, str) and plain_name(name).is_gripper
        return self._unit_by_name.get(name, "" if is_hand else self._unit_by_name.get("", ""))

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _vector(action: Any, names: Sequence[str]) -> np.ndarray:
    """An action as numbers in the order of the names."""
    if isinstance(action, Mapping):
        missing, extra = [n for n in names if n not in action], [n for n in action if n not in names]
        if missing or extra:
            raise ValueError(
                f"the action has the names {[*action]}: needed are those of the first one, {list(names)}"
            )
        action = [action[name] for name in names]
    values = np.asarray(action.detach().cpu() if isinstance(action, Tensor) else action, dtype=np.float64)
    if values.shape == (1, len(names)):
        values = values[0]
    if values.shape != (len(names),):
        raise ValueError(f"the action has the shape {values.shape}: it must be ({len(names)},)")
    return values
