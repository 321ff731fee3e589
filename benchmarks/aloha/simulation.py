"""ALOHA's simulated tasks (gym-aloha), without the three views of 640x480 that its environment renders at every step.

Physics, start poses, commands, measured joints and rewards are gym-aloha's own code.
"""

from __future__ import annotations

import numpy as np
from dm_control.mujoco import Physics
from dm_control.rl.control import Environment
from gym_aloha.constants import ASSETS_DIR, DT
from gym_aloha.tasks import sim
from gym_aloha.utils import sample_box_pose, sample_insertion_pose

from ikp.tasks.rendering import FAST, NICE, OffscreenRenderer

VIEW = ("angle", 240, 320)
"""Camera, height and width [pixel] of the pictures for people."""


class _JointsOnly:
    """Observes the measured joints alone."""

    def get_observation(self, physics: Physics) -> dict[str, np.ndarray]:
        return {"joints": self.get_qpos(physics)}


class _TransferCube(_JointsOnly, sim.TransferCubeTask):
    pass


class _Insertion(_JointsOnly, sim.InsertionTask):
    pass


def _peg_and_socket(seed: int) -> np.ndarray:
    return np.concatenate(sample_insertion_pose(seed))


_TASKS = {
    "transfer": ("bimanual_viperx_transfer_cube.xml", _TransferCube, sample_box_pose),
    "insertion": ("bimanual_viperx_insertion.xml", _Insertion, _peg_and_socket),
}


class Simulation:
    """One task at 50 Hz.

    Args:
        task: `transfer` or `insertion`.
        cameras: names of gym-aloha's cameras that `images` renders, without shadows and multisampling: top, angle,
            front_close, left_pillar, right_pillar, left_wrist or right_wrist.
        size: height and width of the images [pixel].
    """

    def __init__(self, task: str, cameras: tuple[str, ...] = (), size: int = 96) -> None:
        file, behaviour, self._sample = _TASKS[task]
        self.task, self.cameras, self.reward = task, cameras, 0
        physics = Physics.from_xml_path(str(ASSETS_DIR / file))
        self._environment = Environment(physics, behaviour(), control_timestep=DT)
        self._renderer = OffscreenRenderer(physics.model.ptr, size, size, FAST) if cameras else None
        self._viewer: OffscreenRenderer | None = None

    def reset(self, seed: int) -> np.ndarray:
        """Start an episode, with the objects where gym-aloha puts them for this seed; the measured joints (14,)."""
        sim.BOX_POSE[0] = self._sample(seed)
        self.reward = 0
        return self._environment.reset().observation["joints"]

    def step(self, action: np.ndarray) -> np.ndarray:
        """Command joints and grippers (14,) for 20 ms; the measured ones (14,). `reward` is that of this step."""
        result = self._environment.step(action)
        self.reward = int(result.reward)
        return result.observation["joints"]

    @property
    def objects(self) -> np.ndarray:
        """Pose of each object in the world: (objects, 7), position [m] and quaternion (w, x, y, z)."""
        return self._environment.physics.data.qpos[16:].reshape(-1, 7).copy()

    def images(self) -> dict[str, np.ndarray]:
        """One (size, size, 3) uint8 image per camera."""
        data = self._environment.physics.data.ptr
        return {camera: self._renderer.render(data, camera) for camera in self.cameras}

    def view(self) -> np.ndarray:
        """A picture of the scene for people, with shadows: (240, 320, 3) uint8."""
        camera, height, width = VIEW
        physics = self._environment.physics
        if self._viewer is None:
            self._viewer = OffscreenRenderer(physics.model.ptr, height, width, NICE)
        return self._viewer.render(physics.data.ptr, camera)
