"""Policies: observations in, actions out, and the decision between.

- `config`: `PolicyConfig`, and the paper's five methods by name.
- `policy`: the base class and the `Context` of an observation; `implicit` and `explicit`: the two kinds.
- `actions`, `gripper`: the numbers that are chosen; `observation`, `normalizer`: the features they are chosen from.
- `link_features`, `residual`: candidates as poses of links; `image_plane`: against the goal in a camera's image.
- `energy`: energies of all dimensions at once or step by step; `proposal`: where negatives come from.
- `search`: the decision rule; `langevin`: decisions by gradients.
- `frames`: the observation from the frames of a Gymnasium or LeRobot loop.
- `checkpoint`: make, save and load.
"""

from ikp.policies.checkpoint import load_policy, make_policy, save_policy
from ikp.policies.config import METHODS, ImagePlaneConfig, PolicyConfig, method_config
from ikp.policies.explicit import ExplicitPolicy
from ikp.policies.frames import FrameHistory, observation_from_frames
from ikp.policies.implicit import ImplicitPolicy
from ikp.policies.policy import Policy
from ikp.spec import DataSpec

__all__ = [
    "METHODS",
    "DataSpec",
    "ExplicitPolicy",
    "FrameHistory",
    "ImagePlaneConfig",
    "ImplicitPolicy",
    "Policy",
    "PolicyConfig",
    "load_policy",
    "make_policy",
    "method_config",
    "observation_from_frames",
    "save_policy",
]
