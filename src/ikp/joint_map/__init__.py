"""How recorded numbers become the model's joints, and the model's joints recorded numbers.

- `joint_map`: the map of a data set's action and state; `vector` converts one of them, `dimension` says what one
  recorded number is.
- `matching`: infers the map of a recording for a robot, by what the user says (`hints`): `joints` by their `names`,
  `units`, `grippers`.
"""

from ikp.joint_map.dimension import EXTRA, GRIPPER, IGNORED, JOINT, UNITS, Dimension
from ikp.joint_map.hints import MapHints, Recording, Vector
from ikp.joint_map.joint_map import JointMap
from ikp.joint_map.matching import infer_joint_map
from ikp.joint_map.vector import VectorMap

__all__ = [
    "EXTRA",
    "GRIPPER",
    "IGNORED",
    "JOINT",
    "UNITS",
    "Dimension",
    "JointMap",
    "MapHints",
    "Recording",
    "Vector",
    "VectorMap",
    "infer_joint_map",
]
