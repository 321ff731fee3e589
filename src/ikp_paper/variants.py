"""Rows of tables: the methods, and methods with one choice changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ikp.policies.config import METHODS, ImagePlaneConfig, PolicyConfig
from ikp.recipes import METHOD_TITLES, policy_for
from ikp.training.config import TrainConfig

ROUGH_METRES = (0.02, -0.02, 0.02)
ROUGH_DEGREES = (1.5, -1.5, 1.5)
"""How a rough camera's pose is wrong, along and about its own axes: as set up by hand, without calibration."""
STILL = {"scene_turn": 0.0, "scene_shift": 0.0}
"""Training on the scenes as they were demonstrated."""
COARSE = ", gripper without fine motions"
DOUBLE = ", twice the learning rates"
DAMPED = ", a tenth of the energies' gradient to the encoder"
RATES = {
    name: getattr(TrainConfig(), name)
    for name in ("muon_learning_rate", "learning_rate", "encoder_learning_rate")
}


@dataclass(frozen=True)
class Variant:
    """A row of a table: a method, and what is changed in its recipe.

    Attributes:
        title: for the table.
        method: one of `ikp.recipes.METHOD_NAMES`.
        policy, encoder, train: fields of `PolicyConfig`, its `EncoderConfig` and `TrainConfig` that differ from the
            method's in the preset.
        expert: further arguments of the expert that demonstrates (`ikp.rollouts.collect.collect`).
        rough_camera: give the image plane a camera whose pose is wrong by `ROUGH_METRES` and `ROUGH_DEGREES`.
    """

    title: str
    method: str
    policy: Mapping[str, Any] = field(default_factory=dict)
    encoder: Mapping[str, Any] = field(default_factory=dict)
    train: Mapping[str, Any] = field(default_factory=dict)
    expert: Mapping[str, Any] = field(default_factory=dict)
    rough_camera: bool = False

    def applied(self, policy: PolicyConfig, train: TrainConfig) -> tuple[PolicyConfig, TrainConfig]:
        """The recipe of the method with these changes."""
        encoder = replace(policy.encoder, **self.encoder)
        return replace(policy, **{"encoder": encoder, **self.policy}), replace(train, **self.train)


def _image(
    method: str,
    title: str,
    *,
    rough: bool = False,
    fine_motion: bool = True,
    **choices: bool,
) -> Variant:
    """A method that also sees the image plane (`ImagePlaneConfig` for the choices)."""
    space = policy_for(method, PolicyConfig()).action_space + "+image"
    policy = {"action_space": space, "image_plane": ImagePlaneConfig(**choices), "fine_motion": fine_motion}
    return Variant(title, method, policy, rough_camera=rough)


def _rates(factor: float) -> dict[str, float]:
    return {name: factor * rate for name, rate in RATES.items()}


VARIANTS: dict[str, Variant] = {
    **{method: Variant(title, method) for method, title in METHOD_TITLES.items()},
    "ikp-residual-none": Variant("IKP, no residual", "ikp", {"residual": ()}),
    "ikp-residual-offset": Variant("IKP, constant offsets", "ikp", {"residual": ("offset",)}),
    "ikp-residual-dense": Variant("IKP, dense residual", "ikp", {"residual": ("dense",)}),
    "ikp-no-observed-poses": Variant(
        "IKP, no link poses in the observation", "ikp", {"cartesian_observation": False}
    ),
    "ikp-tip-only": Variant("IKP, the tip's pose alone", "ikp", {"links": "tip"}),
    "ikp-adamw": Variant("IKP, AdamW alone", "ikp", train={"optimizer": "adamw"}),
    "explicit-adamw": Variant("Explicit, AdamW alone", "explicit", train={"optimizer": "adamw"}),
    "ikp-uniform-negatives": Variant("IKP, uniform negatives alone", "ikp", {"proposal": "uniform"}),
    "ikp-exact-prefix": Variant("IKP, no noise on the prefix", "ikp", {"prefix_noise": 0.0}),
    "ikp-wide": Variant("IKP, width 256, 32 negatives", "ikp", {"width": 256, "negatives": 32}),
    "ikp-slim-encoder": Variant("IKP, encoder with 32 channels", "ikp", encoder={"channels": 32}),
    "ikp-pool-encoder": Variant("IKP, Implicit BC's light encoder", "ikp", encoder={"kind": "pool"}),
    "ikp-plain-features": Variant("IKP, image features as they come", "ikp", encoder={"normalize": False}),
    "ikp-shifts": Variant("IKP, images shifted at random by 4 pixels", "ikp", train={"image_shift": 4}),
    "ikp-fine-stem": Variant("IKP, maps at half the resolution", "ikp", encoder={"stem": 2}),
    "ikp-coarse-stem": Variant("IKP, maps at an eighth of the resolution", "ikp", encoder={"stem": 8}),
    "ikp-fine-layer": Variant("IKP, one more fine convolution", "ikp", encoder={"fine_layers": 1}),
    "ikp-coordinates": Variant("IKP, pixels with their coordinates", "ikp", encoder={"coordinates": True}),
    "ikp-few-keypoints": Variant("IKP, 8 keypoints", "ikp", encoder={"heads": 8}),
    "ikp-half-rates": Variant("IKP, half the learning rates", "ikp", train=_rates(0.5)),
    "ikp-no-average": Variant("IKP, weights not averaged", "ikp", train={"ema": 0.0}),
    "ikp-beam": Variant("IKP, a beam of 8", "ikp", {"beam": 8}),
    "ikp-two-frames": Variant("IKP, two frames", "ikp", {"history": 2}),
    **{
        f"{method}-still": Variant(f"{METHOD_TITLES[method]}, scenes not moved", method, train=STILL)
        for method in METHODS
    },
    **{
        f"{method}-coarse-gripper": Variant(
            f"{METHOD_TITLES[method]}{COARSE}", method, {"fine_motion": False}
        )
        for method in ("explicit", "implicit-joint", "ikp")
    },
    **{
        f"{method}-double-rates": Variant(f"{METHOD_TITLES[method]}{DOUBLE}", method, train=_rates(2.0))
        for method in ("explicit", "implicit-joint", "ikp")
    },
    **{
        f"{method}-damped-gradient": Variant(
            f"{METHOD_TITLES[method]}{DAMPED}", method, {"energy_gradient": 0.1}
        )
        for method in ("implicit-cartesian", "implicit-joint", "ikp")
    },
    **{
        f"{method}-bang-bang": Variant(
            f"{METHOD_TITLES[method]}, bang-bang demonstrations", method, expert={"profile": "bang-bang"}
        )
        for method in ("explicit", "ikp")
    },
    "ikp-image-coarse-gripper": _image("ikp", f"IKP + image plane{COARSE}", fine_motion=False),
    "ikp-turned": Variant("IKP, scenes turned, not shifted", "ikp", train={"scene_shift": 0.0}),
    "ikp-image": _image("ikp", "IKP + image plane"),
    "ikp-image-labels-only": _image("ikp", "IKP + image plane, its labels alone", inputs=False),
    "ikp-image-no-labels": _image("ikp", "IKP + image plane, without labels", labels=False),
    "ikp-image-goal-only": _image("ikp", "IKP + image plane, the goal an input alone", candidates=False),
    "ikp-image-rough": _image("ikp", "IKP + image plane, a rough camera", rough=True),
    "ikp-image-rough-learned": _image(
        "ikp", "IKP + image plane, a rough camera corrected", rough=True, refine_camera=True
    ),
    "implicit-joint-image": _image("implicit-joint", "Implicit (joints) + image plane"),
    "explicit-image": _image("explicit", "Explicit (joints) + image plane"),
    "ikp-image-still": replace(_image("ikp", "IKP + image plane, scenes not moved"), train=STILL),
    "ikp-image-double-rates": replace(_image("ikp", f"IKP + image plane{DOUBLE}"), train=_rates(2.0)),
}
