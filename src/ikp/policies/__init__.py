"""Policies: the protocol, action variables, link-pose features, the implicit and the explicit policy.

- `config`: `PolicyConfig`, and the paper's five methods by name.
- `policy`: the base class; `implicit`, `explicit`: the two kinds; `inference`: search and Langevin.
- `variables`, `features`, `observation`, `residual`, `normalizer`: what goes in and what comes out.
- `image_plane`: the goal of the motion in a camera's image, and candidates against it.
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
