"""Rows of tables: the methods, and methods with one choice changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ikp.policies.config import PAPER_METHODS, ImagePlaneConfig, PolicyConfig
from ikp.recipes import METHOD_TITLES
from ikp.training.config import TrainConfig

ROUGH_METRES = (0.02, -0.02, 0.02)
ROUGH_DEGREES = (1.5, -1.5, 1.5)
"""Error of a rough camera's pose, along and about its own axes: a camera placed by hand, without calibration."""


@dataclass(frozen=True)
class Variant:
    """A row of a table: a method, and the changes to its recipe.

    Attributes:
        title: the row's label.
        method: a key of `ikp.policies.METHODS`.
        policy, train: fields of `PolicyConfig` and `TrainConfig` that differ from the method's in the recipe; a nested
            mapping changes fields of a nested configuration.
        rates: factor of the recipe's learning rates.
        expert: further arguments of the expert that demonstrates (`ikp.rollouts.collect.collect`).
        rough_camera: give the image plane a camera whose pose is wrong by `ROUGH_METRES` and `ROUGH_DEGREES`.
        settled: the question is answered and the option is gone from the configuration. The row shows stored records
            only; each names the commit that it was measured with.
    """

    title: str
    method: str
    policy: Mapping[str, Any] = field(default_factory=dict)
    train: Mapping[str, Any] = field(default_factory=dict)
    rates: float = 1.0
    expert: Mapping[str, Any] = field(default_factory=dict)
    rough_camera: bool = False
    settled: bool = False

    def applied(self, policy: PolicyConfig, train: TrainConfig) -> tuple[PolicyConfig, TrainConfig]:
        """The configurations of the method with these changes."""
        rates = {
            name: self.rates * getattr(train, name) for name in ("learning_rate", "encoder_learning_rate")
        }
        return _changed(policy, self.policy), _changed(train, {**rates, **self.train})


def _changed(config: Any, changes: Mapping[str, Any]) -> Any:
    nested = {
        name: _changed(getattr(config, name), value) if isinstance(value, Mapping) else value
        for name, value in changes.items()
    }
    return replace(config, **nested)


STILL = {"moved_scenes": False}
TIP = {"ablation": {"links": "tip"}}
JOINTS = {"action_space": "joint", "residual": ()}
IMAGE = {"image_plane": ImagePlaneConfig()}
REFINED_IMAGE = {"image_plane": ImagePlaneConfig(refine_camera=True)}
COARSE = ", gripper without fine motions"
DOUBLE = ", twice the learning rates"
DAMPED = ", a tenth of the energies' gradient to the encoder"
TRIO = ("explicit", "implicit-joint", "ikp")


def _each(methods: tuple[str, ...], suffix: str, words: str, **changes: Any) -> dict[str, Variant]:
    """The same change for several methods, as `METHOD-SUFFIX`."""
    return {
        f"{method}-{suffix}": Variant(f"{METHOD_TITLES[method]}{words}", method, **changes)
        for method in methods
    }


VARIANTS: dict[str, Variant] = {
    **{method: Variant(title, method) for method, title in METHOD_TITLES.items()},
    "ikp-residual-none": Variant("IKP, no residual", "ikp", {"residual": ()}),
    "ikp-residual-offset": Variant("IKP, constant offsets", "ikp", {"residual": ("offset",)}),
    "ikp-residual-dense": Variant("IKP, dense residual", "ikp", {"residual": ("dense",)}),
    "ikp-no-observed-poses": Variant(
        "IKP, no link poses in the observation", "ikp", {"ablation": {"observed_poses": False}}
    ),
    "ikp-tip-only": Variant("IKP, the tip's pose alone", "ikp", TIP),
    "explicit-fk-tip-only": Variant("ExplicitFK, the tip's pose alone", "explicit-fk", TIP),
    "two-step-tip-only": Variant("Two-step regression (joints + the tip's pose)", "two-step", TIP),
    "two-step-joint": Variant("Two-step regression (joints)", "two-step", JOINTS),
    "flow-tip-only": Variant("Flow matching (joints + the tip's pose)", "flow", TIP),
    "flow-joint": Variant("Flow matching (joints)", "flow", JOINTS),
    "ikp-adamw": Variant("IKP, AdamW alone", "ikp", train={"optimizer": "adamw"}),
    "explicit-adamw": Variant("Explicit, AdamW alone", "explicit", train={"optimizer": "adamw"}),
    "ikp-uniform-negatives": Variant("IKP, uniform negatives alone", "ikp", {"proposal": "uniform"}),
    "ikp-exact-prefix": Variant("IKP, no noise on the prefix", "ikp", {"ablation": {"prefix_noise": 0.0}}),
    "ikp-wide": Variant("IKP, width 256, 32 negatives", "ikp", {"width": 256, "negatives": 32}),
    "ikp-slim-encoder": Variant("IKP, encoder with 32 channels", "ikp", {"encoder": {"channels": 32}}),
    "ikp-pool-encoder": Variant("IKP, Implicit BC's light encoder", "ikp", {"encoder": {"kind": "pool"}}),
    "ikp-half-rates": Variant("IKP, half the learning rates", "ikp", rates=0.5),
    "ikp-beam": Variant("IKP, a beam of 8", "ikp", {"search": {"beam": 8}}),
    "ikp-two-frames": Variant("IKP, two frames", "ikp", {"history": 2}),
    **_each(PAPER_METHODS, "still", ", scenes not moved", train=STILL),
    **_each(TRIO, "double-rates", DOUBLE, rates=2.0),
    **_each(
        ("implicit-joint", "ikp"),
        "energies-alone",
        ", energies alone decide",
        policy={"search": {"regression": 0.0}},
    ),
    **_each(TRIO, "exact-state", ", no noise on the measured joints", train={"state_noise": 0.0}),
    **_each(("explicit", "ikp"), "bang-bang", ", bang-bang demonstrations", expert={"profile": "bang-bang"}),
    **_each(("explicit",), "one-elbow", ", demonstrations of one elbow", expert={"elbow": "up"}),
    "ikp-image": Variant("IKP + image plane", "ikp", IMAGE),
    "ikp-image-rough": Variant("IKP + image plane, a rough camera", "ikp", IMAGE, rough_camera=True),
    "ikp-image-rough-learned": Variant(
        "IKP + image plane, a rough camera corrected", "ikp", REFINED_IMAGE, rough_camera=True
    ),
    "implicit-joint-image": Variant("Implicit (joints) + image plane", "implicit-joint", IMAGE),
    "explicit-image": Variant("Explicit (joints) + image plane", "explicit", IMAGE),
    "ikp-image-still": Variant("IKP + image plane, scenes not moved", "ikp", IMAGE, STILL),
    "ikp-image-double-rates": Variant(f"IKP + image plane{DOUBLE}", "ikp", IMAGE, rates=2.0),
    # settled
    **_each(TRIO, "coarse-gripper", COARSE, settled=True),
    **_each(("implicit-cartesian", "implicit-joint", "ikp"), "damped-gradient", DAMPED, settled=True),
    **{
        f"ikp-{name}": Variant(f"IKP{words}", "ikp", settled=True)
        for name, words in {
            "plain-features": ", image features as they come",
            "shifts": ", images shifted at random by 4 pixels",
            "fine-stem": ", maps at half the resolution",
            "coarse-stem": ", maps at an eighth of the resolution",
            "fine-layer": ", one more fine convolution",
            "coordinates": ", pixels with their coordinates",
            "few-keypoints": ", 8 keypoints",
            "no-average": ", weights not averaged",
            "turned": ", scenes turned, not shifted",
            "image-coarse-gripper": f" + image plane{COARSE}",
            "image-labels-only": " + image plane, its labels alone",
            "image-no-labels": " + image plane, without labels",
            "image-goal-only": " + image plane, the goal an input alone",
        }.items()
    },
}
