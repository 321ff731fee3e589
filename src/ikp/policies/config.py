"""What a policy is made of, and the five methods of the paper as configurations of two classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from ikp.nets import EncoderConfig

KINDS = ("implicit", "explicit")
ACTION_SPACES = ("raw", "joint", "cartesian", "joint+cartesian")
LINKS = ("all", "tip")
RESIDUALS = ("offset", "dense", "link")
TARGETS = ("delta", "absolute")
SEARCHES = ("grid", "langevin")
PROPOSALS = ("uniform", "learned")


@dataclass(frozen=True)
class SearchConfig:
    """How an implicit policy finds the action of least energy (`ikp.policies.search`).

    Attributes:
        method: `grid` (dimension by dimension, coarse to fine) or `langevin` (gradients in joint space).
        grid: candidates per dimension.
        refinements: how often the neighbourhood of the best one is searched again, with a third as many.
        beam: prefixes kept, ranked by their normalised log-density; 1 commits greedily.
        window: decide by probability within a Gaussian window of this share of the bounds, and take its mean;
            0 takes the very point of least energy.

    Raises:
        ValueError: a choice is unknown or a number out of range; the message says what is allowed.
    """

    method: str = "grid"
    grid: int = 96
    refinements: int = 1
    beam: int = 1
    window: float = 0.01

    def __post_init__(self) -> None:
        one_of("search method", self.method, SEARCHES)
        at_least(self, grid=2, refinements=0, beam=1)
        if not 0 <= self.window < 0.5:
            raise ValueError(f"window is {self.window}: it must be at least 0 and below 0.5")

    @property
    def fine_points(self) -> int:
        """Candidates of a refinement."""
        return max(self.grid // 3, 3)


@dataclass(frozen=True)
class ImagePlaneConfig:
    """The image plane as a further action space (`ikp.policies.image_plane`).

    Attributes:
        refine_camera: learn a correction of the camera's pose, from a rough guess.
    """

    refine_camera: bool = False


@dataclass(frozen=True)
class Ablations:
    """Choices that measure what a part of the method is worth; not on the command line.

    Attributes:
        links: whose pose is seen where poses are: `all`, the far end of every joint (paper, Eq. 2), or `tip`, that of
            the last joint of each arm alone, so that the other joints' energies see joints only.
        observed_poses: show the link poses of the measured joints too. None: when the action space is an implicit one
            with a Cartesian part.
        prefix_noise: standard deviation of noise on the demonstrated values of the dimensions before (in units of
            the actions' own spread): at inference they are the policy's choices, which are not exact either.

    Raises:
        ValueError: a choice is unknown or a number out of range; the message says what is allowed.
    """

    links: str = "all"
    observed_poses: bool | None = None
    prefix_noise: float = 0.1

    def __post_init__(self) -> None:
        one_of("links", self.links, LINKS)
        at_least(self, prefix_noise=0)


@dataclass(frozen=True)
class PolicyConfig:
    """Choices of a policy; the defaults are a small IKP for a machine without a GPU.

    Attributes:
        kind: `implicit` (argmin of an energy) or `explicit` (regression).
        action_space: the spaces in which the policy sees actions. `raw` needs no robot; `joint`;
            `cartesian` (the tip's pose, executed through inverse kinematics); `joint+cartesian` (the joints
            and the pose of every link: IKP for an implicit policy, ExplicitFK for an explicit one).
        residual: learned corrections of the kinematics (paper, Eq. 3), any of `offset` (a constant per
            joint), `dense` (the paper's residual blocks), `link` (the fixed transforms between links). None: `offset`
            for an implicit policy that sees joints and link poses, else nothing.
        targets: actions as differences from the measured joints or pose (`delta`) or as absolute values.
        history: frames per observation.
        encoder: the image encoder.
        width: outputs of the dense residual networks' layers.
        blocks: their residual blocks; 2 are the paper's 8-layer energies.
        negatives: negatives per dimension and example in the InfoNCE loss.
        proposal: where negatives come from: `uniform` over the bounds, or `learned`: half uniform, half from a
            normal distribution around a regression of the action, corrected by log q.
        bfloat16: train the encoder's convolutions and the energies' inner layers in bfloat16.
        image_plane: also show where the motion leads in the image of a camera whose model is known, beyond the paper;
            None for not. It needs joints among the action spaces.
        search: how the action of least energy is found.
        ablation: choices for measurements.

    Raises:
        ValueError: a choice is unknown, a number out of range, or two choices contradict each other.
    """

    kind: str = "implicit"
    action_space: str = "joint+cartesian"
    residual: tuple[str, ...] | None = None
    targets: str = "delta"
    history: int = 1
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    width: int = 128
    blocks: int = 2
    negatives: int = 16
    proposal: str = "learned"
    bfloat16: bool = True
    image_plane: ImagePlaneConfig | None = None
    search: SearchConfig = field(default_factory=SearchConfig)
    ablation: Ablations = field(default_factory=Ablations)

    def __post_init__(self) -> None:
        one_of("kind", self.kind, KINDS)
        one_of("action_space", self.action_space, ACTION_SPACES)
        one_of("targets", self.targets, TARGETS)
        one_of("proposal", self.proposal, PROPOSALS)
        at_least(self, history=1, negatives=2)
        if self.residual is None:
            is_ikp = self.kind == "implicit" and self.has_kinematics
            object.__setattr__(self, "residual", ("offset",) if is_ikp else ())
        for name in self.residuals:
            one_of("residual", name, RESIDUALS)
        if self.residuals and not self.has_kinematics:
            raise ValueError(
                f"residual {self.residual} corrects the kinematics of link poses, and action_space "
                f"{self.action_space!r} shows none: use action_space='joint+cartesian' or residual=()"
            )
        if self.ablation.links != "all" and not (self.has_kinematics or self.observes_poses):
            raise ValueError(
                f"links {self.ablation.links!r} chooses among link poses, and this policy sees none (action_space "
                f"{self.action_space!r}): use action_space='joint+cartesian' or links='all'"
            )
        if self.kind == "explicit" and self.action_space == "cartesian":
            raise ValueError(
                "the explicit policy regresses joints: action_space 'cartesian' is implicit only"
            )
        if self.image_plane is not None and not self.action_space.startswith("joint"):
            raise ValueError(
                f"the image plane joins joints, and action_space is {self.action_space!r}: use 'joint' or "
                "'joint+cartesian', or image_plane=None"
            )

    @property
    def residuals(self) -> tuple[str, ...]:
        """`residual`, the default filled in."""
        return self.residual or ()

    @property
    def has_kinematics(self) -> bool:
        """Whether link poses, and so a residual on the kinematics, are part of the policy."""
        return self.action_space == "joint+cartesian"

    @property
    def sees_candidates_from_goal(self) -> bool:
        """Whether candidates are also seen against the goal in the image (`ikp.policies.image_plane`)."""
        return self.kind == "implicit" and self.has_kinematics and self.image_plane is not None

    @property
    def observes_poses(self) -> bool:
        """Whether link poses of the measured joints are part of the observation."""
        if self.ablation.observed_poses is not None:
            return self.ablation.observed_poses
        return self.kind == "implicit" and "cartesian" in self.action_space

    def to_json(self) -> dict[str, Any]:
        """The configuration as a dict of plain JSON values."""
        return {**asdict(self), "residual": list(self.residuals)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> PolicyConfig:
        """Rebuild a configuration written by `to_json`; ValueError on an unknown key."""
        values = _known(cls, values)
        parts = {
            "encoder": EncoderConfig,
            "search": SearchConfig,
            "ablation": Ablations,
            "image_plane": ImagePlaneConfig,
        }
        for name, part in parts.items():
            if values.get(name) is not None:
                values[name] = part(**_known(part, values[name]))
        if values.get("residual") is not None:
            values["residual"] = tuple(values["residual"])
        return cls(**values)


METHODS: dict[str, tuple[str, str]] = {
    "explicit": ("explicit", "joint"),
    "explicit-fk": ("explicit", "joint+cartesian"),
    "implicit-cartesian": ("implicit", "cartesian"),
    "implicit-joint": ("implicit", "joint"),
    "ikp": ("implicit", "joint+cartesian"),
    "raw": ("implicit", "raw"),
}
"""Kind and action space of the five methods of the paper's Table II, and `raw`: the implicit policy on plain action
vectors, without a robot. Everything else is shared."""
PAPER_METHODS = tuple(name for name in METHODS if name != "raw")
"""The methods that the paper compares."""


def method_config(method: str, base: PolicyConfig | None = None) -> PolicyConfig:
    """The configuration of a method: `base` with only the method's own choices replaced.

    Args:
        method: a key of `METHODS`.
        base: the recipe that all methods share; its residual is kept for `ikp` alone, its image plane for methods
            that choose joints.

    Raises:
        ValueError: an unknown method.
    """
    one_of("method", method, tuple(METHODS))
    base = base or PolicyConfig()
    kind, space = METHODS[method]
    return replace(
        base,
        kind=kind,
        action_space=space,
        residual=base.residual if method == "ikp" else (),
        image_plane=base.image_plane if space.startswith("joint") else None,
    )


def one_of(what: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raise ValueError that lists what is allowed unless `value` is one of it."""
    if value not in allowed:
        raise ValueError(f"{what} is {value!r}: choose one of {', '.join(allowed)}")


def at_least(config: Any, **least: float) -> None:
    """Raise ValueError for the first field of a configuration that is below its least value, or not a number."""
    for name, low in least.items():
        if not getattr(config, name) >= low:
            raise ValueError(f"{name} is {getattr(config, name)}: it must be at least {low}")


def _known(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    allowed = {f.name for f in fields(cls)}
    unknown = sorted(set(values) - allowed)
    if unknown:
        raise ValueError(f"unknown keys {unknown} in a {cls.__name__}: allowed are {sorted(allowed)}")
    return dict(values)
