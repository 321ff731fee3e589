"""Built-in arms, each from its published kinematics; one file per maker.

Frames, limits and names are those of the source that the file names. Fingers are left out, except the jaw of SO-100 and
SO-101, whose servo is one of the arm's.
"""

from ikp.kinematics.builtin.iiwa14 import iiwa14, iiwa14_dual
from ikp.kinematics.builtin.panda import panda
from ikp.kinematics.builtin.so_arm import so100, so101
from ikp.kinematics.builtin.ur5e import ur5e
from ikp.kinematics.builtin.viperx import aloha, vx300s

ROBOTS = (ur5e, iiwa14, iiwa14_dual, panda, so100, so101, vx300s, aloha)
BUILTIN = {robot.__name__: robot for robot in ROBOTS}
"""The functions that make the robots, by the names that `load_robot` takes."""

__all__ = ["BUILTIN", "aloha", "iiwa14", "iiwa14_dual", "panda", "so100", "so101", "ur5e", "vx300s"]
