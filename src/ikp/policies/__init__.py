"""Policies: from observations to actions.

- `config`: `PolicyConfig`, and the paper's five methods by name.
- `policy`: the base class and the `Context` of an observation; `implicit`, `explicit` and
  `denoising`: the kinds of policies.
- `actions`, `motion_heads`: action spaces, and the dimensions that are no joints. `observation`, `normalizer`: features
  of an observation.
- `link_features`, `residual`: candidates as link poses, with learned corrections of the kinematics; `image_plane`:
  candidates relative to a goal in a camera's image.
- `energy`: energies of all dimensions at once, or one dimension after another (`_numpy_walk` for small batches).
- `proposal`: negatives of the loss. `search`: the decision rule; `langevin`: decisions by gradients.
- `frames`: an observation from the frames of a Gymnasium or LeRobot loop.
- `checkpoint`: make, save and load policies.
"""

from ikp.policies.checkpoint import (
    describe_policy,
    load_policy,
    make_policy,
    policy_from_description,
    save_policy,
)
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
    "describe_policy",
    "load_policy",
    "make_policy",
    "method_config",
    "observation_from_frames",
    "policy_from_description",
    "save_policy",
]
