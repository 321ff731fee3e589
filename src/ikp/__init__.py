"""Implicit Kinematic Policies: robot policies that see every action in joint and Cartesian space at once.

The names below are loaded when they are first used, so `import ikp` is fast and imports neither MuJoCo nor Gymnasium,
Matplotlib or PyArrow.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ikp.calibration import calibrate
    from ikp.data import Demonstrations, Recorder, load_dataset
    from ikp.joint_map import JointMap
    from ikp.kinematics import Camera, Robot, forward_kinematics, load_robot
    from ikp.policies import (
        Policy,
        PolicyConfig,
        load_policy,
        make_policy,
        observation_from_frames,
        save_policy,
    )
    from ikp.recipes import Recipe, recipe
    from ikp.rollouts.collect import collect
    from ikp.rollouts.evaluate import evaluate
    from ikp.spec import Batch, DataSpec, Observation
    from ikp.training.config import TrainConfig
    from ikp.training.trainer import train

    __version__: str

__all__ = [
    "Batch",
    "Camera",
    "DataSpec",
    "Demonstrations",
    "JointMap",
    "Observation",
    "Policy",
    "PolicyConfig",
    "Recipe",
    "Recorder",
    "Robot",
    "TrainConfig",
    "__version__",
    "calibrate",
    "collect",
    "evaluate",
    "forward_kinematics",
    "load_dataset",
    "load_policy",
    "load_robot",
    "make_policy",
    "observation_from_frames",
    "recipe",
    "save_policy",
    "train",
]

_HOMES = {
    "Batch": "ikp.spec",
    "Camera": "ikp.kinematics",
    "DataSpec": "ikp.spec",
    "Demonstrations": "ikp.data",
    "JointMap": "ikp.joint_map",
    "Observation": "ikp.spec",
    "Policy": "ikp.policies",
    "PolicyConfig": "ikp.policies",
    "Recipe": "ikp.recipes",
    "Recorder": "ikp.data",
    "Robot": "ikp.kinematics",
    "TrainConfig": "ikp.training.config",
    "calibrate": "ikp.calibration",
    "collect": "ikp.rollouts.collect",
    "evaluate": "ikp.rollouts.evaluate",
    "forward_kinematics": "ikp.kinematics",
    "load_dataset": "ikp.data",
    "load_policy": "ikp.policies",
    "load_robot": "ikp.kinematics",
    "make_policy": "ikp.policies",
    "observation_from_frames": "ikp.policies",
    "recipe": "ikp.recipes",
    "save_policy": "ikp.policies",
    "train": "ikp.training.trainer",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("ikp")
    if name not in _HOMES:
        raise AttributeError(f"module 'ikp' has no attribute {name!r}; it has {', '.join(__all__)}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
