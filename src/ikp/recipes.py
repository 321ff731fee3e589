"""Named recipes: the policy, its training and how many demonstrations, shared by all methods.

This is the file to edit when a recipe is tuned; the command line, the demo and the tables read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ikp.nets import EncoderConfig
from ikp.policies.config import METHODS, PolicyConfig, method_config
from ikp.training.config import TrainConfig


@dataclass(frozen=True)
class Preset:
    """A recipe.

    Attributes:
        policy: choices of the policy; a method replaces only its own (`ikp.policies.METHODS`).
        train: budget and optimisation.
        demonstrations: how many episodes the demo collects for it, and the most that `ikp reproduce` does.
        perturbation: disturbance of the executed actions in these demonstrations, 0 for none; in `ikp reproduce` for
            the tasks that say so (`ikp_paper.matrix.TaskEntry`).
        minutes: time budget of one training in the demo; `ikp reproduce` goes by `train.steps`.
        scene_motion: fields of `train` of tasks that can be moved (`ikp.training.scene_motion`); see `train_for`.
        seeds: trainings of every cell in `ikp reproduce`.
        episodes: unseen episodes of an evaluation there.
    """

    policy: PolicyConfig
    train: TrainConfig
    demonstrations: int
    perturbation: float = 0.0
    minutes: float = 14.0
    scene_motion: Mapping[str, float] = field(default_factory=dict)
    seeds: int = 3
    episodes: int = 200

    def train_for(self, *, movable: bool) -> TrainConfig:
        """The training of a task: with moved scenes where it stays the same when moved."""
        return replace(self.train, **self.scene_motion) if movable else self.train


SCENE_MOTION = {"scene_turn": 8.0, "scene_shift": 0.03}
"""Motions of scenes in training [deg, m]; 20 degrees and 6 cm were not better."""

PRESETS: dict[str, Preset] = {
    # A first look: everything runs, the success rate is not the point.
    "quick": Preset(
        policy=PolicyConfig(encoder=EncoderConfig(channels=32)),
        train=TrainConfig(steps=1500, validate_every=250, checkpoint_every=500),
        demonstrations=200,
        perturbation=0.7,
        minutes=2.0,
        scene_motion=SCENE_MOTION,
        seeds=1,
        episodes=100,
    ),
    # CPU cores, about a quarter of an hour on one of them; half the steps are enough within 10 mm, not within 2 mm.
    # Half the channels, or half the batch, and twice the steps take as long and succeed as often.
    "standard": Preset(
        policy=PolicyConfig(),
        train=TrainConfig(steps=8000, checkpoint_every=500),
        demonstrations=1000,
        perturbation=0.7,
        minutes=5.0,
        scene_motion=SCENE_MOTION,
    ),
    # The paper's networks and sampling (its Sec. V and Implicit BC's appendix); wants a GPU.
    "paper": Preset(
        policy=PolicyConfig(
            residual=("dense",),
            history=2,
            encoder=EncoderConfig(kind="resnet26", channels=64),
            width=512,
            blocks=2,
            negatives=256,
        ),
        train=TrainConfig(
            steps=100_000,
            batch_size=128,
            optimizer="adamw",
            learning_rate=1e-3,
            encoder_learning_rate=1e-3,
        ),
        demonstrations=1000,
        minutes=120.0,
    ),
}

METHOD_NAMES = (*METHODS, "raw")
"""The paper's five methods, and `raw`: the implicit policy on plain action vectors, without a robot."""

METHOD_TITLES = {
    "explicit": "Explicit (joints)",
    "explicit-fk": "ExplicitFK",
    "implicit-cartesian": "Implicit (Cartesian)",
    "implicit-joint": "Implicit (joints)",
    "ikp": "IKP (joints + link poses)",
    "raw": "Implicit (raw actions)",
}


def preset(name: str) -> Preset:
    """The recipe of a name; ValueError that lists the names for another one."""
    if name not in PRESETS:
        raise ValueError(f"preset is {name!r}: choose one of {', '.join(PRESETS)}")
    return PRESETS[name]


def policy_for(method: str, base: PolicyConfig) -> PolicyConfig:
    """A recipe's policy as one of the methods; ValueError for an unknown method."""
    if method not in METHOD_NAMES:
        raise ValueError(f"method is {method!r}: choose one of {', '.join(METHOD_NAMES)}")
    if method == "raw":
        return replace(base, kind="implicit", action_space="raw", residual=())
    return method_config(method, base)


def check_method(method: str, policy: PolicyConfig) -> None:
    """Raise ValueError where a policy's configuration contradicts the method it goes by."""
    expected = policy_for(method, PolicyConfig())
    for name in ("kind", "action_space"):
        # the image plane joins the spaces of any method that has joints
        wanted, found = getattr(expected, name), getattr(policy, name).removesuffix("+image")
        if wanted != found:
            raise ValueError(
                f"method {method!r} means {name}={wanted!r}, and {found!r} is given: leave "
                f"--policy.{name.replace('_', '-')} out, or choose another method of {', '.join(METHOD_NAMES)}"
            )
