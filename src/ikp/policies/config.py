"""What a policy is made of, and the five methods of the paper as configurations of two classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from ikp.nets import EncoderConfig

KINDS = ("implicit", "explicit")
ACTION_SPACES = ("raw", "joint", "cartesian", "joint+cartesian", "joint+image", "joint+cartesian+image")
LINKS = ("all", "tip")
RESIDUALS = ("offset", "dense", "link")
TARGETS = ("delta", "absolute")
INFERENCES = ("search", "langevin")
PROPOSALS = ("uniform", "learned")


@dataclass(frozen=True)
class ImagePlaneConfig:
    """Choices of the image plane (`ikp.policies.image_plane`), used with an action space that has `image`.

    The first three switch parts off, to measure what each is worth.

    Attributes:
        inputs: show the goal to the policy; without it its labels only teach the encoder.
        labels: teach the goal by the demonstration's own later tool pose; without it by the policy's loss alone.
        candidates: show the way of each candidate's tool from the goal (`joint+cartesian+image` only).
        refine_camera: learn a correction of the camera's pose, from a rough guess.
    """

    inputs: bool = True
    labels: bool = True
    candidates: bool = True
    refine_camera: bool = False


@dataclass(frozen=True)
class PolicyConfig:
    """Choices of a policy; the defaults are a small IKP for a machine without a GPU.

    Attributes:
        kind: `implicit` (argmin of an energy) or `explicit` (regression).
        action_space: the spaces in which the policy sees actions. `raw` needs no robot; `joint`;
            `cartesian` (the tip's pose, executed through inverse kinematics); `joint+cartesian` (the joints
            and the pose of every link: IKP for an implicit policy, ExplicitFK for an explicit one). `+image`:
            also where the motion leads in the image of a camera whose model is known, beyond the paper.
        links: whose pose is seen where poses are: `all`, the far end of every joint (paper, Eq. 2), or `tip`, that of
            the last joint of each arm alone, so that the other joints' energies see joints only.
        cartesian_observation: show the link poses of the measured joints too. None: when the action space
            is an implicit one with a Cartesian part.
        residual: learned corrections of the kinematics (paper, Eq. 3), any of `offset` (a constant per
            joint), `dense` (the paper's residual blocks), `link` (the fixed transforms between links).
        targets: actions as differences from the measured joints or pose (`delta`) or as absolute values.
        history: frames per observation.
        encoder: the image encoder.
        width: outputs of the dense residual networks' layers.
        blocks: their residual blocks; 2 are the paper's 8-layer energies.
        negatives: negatives per dimension and example in the InfoNCE loss.
        proposal: where negatives come from: `uniform` over the bounds, or `learned`: half uniform, half from a
            normal distribution around a regression of the action, corrected by log q.
        energy_gradient: share of the energies' gradient that reaches the observation's features beside a learned
            proposal; with less than 1 its regression is what mostly teaches the image encoder.
        prefix_noise: standard deviation of noise on the demonstrated values of the dimensions before (in units of
            the actions' own spread): at inference they are the policy's choices, which are not exact either.
        fine_motion: show the discrete dimensions (`ikp.policies.gripper`) the chosen motion at finer scales too.
        grid: candidates per dimension at inference.
        refinements: how often the neighbourhood of the best one is searched again, with a third as many.
        beam: prefixes kept at inference, ranked by their normalised log-density; 1 commits greedily.
        window: decide by probability within a Gaussian window of this share of the bounds, and take its mean;
            0 takes the very point of least energy.
        inference: `search` (autoregressive grid) or `langevin` (gradients in joint space).
        fk_weight: lambda of the explicit policy's Cartesian loss (paper, Sec. IV-A.1).
        bfloat16: precision of the energies' inner layers while training.
        image_plane: choices of the image plane.
    """

    kind: str = "implicit"
    action_space: str = "joint+cartesian"
    links: str = "all"
    cartesian_observation: bool | None = None
    residual: tuple[str, ...] = ("offset",)
    targets: str = "delta"
    history: int = 1
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    width: int = 128
    blocks: int = 2
    negatives: int = 16
    proposal: str = "learned"
    energy_gradient: float = 1.0
    prefix_noise: float = 0.1
    fine_motion: bool = True
    grid: int = 96
    refinements: int = 1
    beam: int = 1
    window: float = 0.01
    inference: str = "search"
    fk_weight: float = 1.0
    bfloat16: bool = True
    image_plane: ImagePlaneConfig = field(default_factory=ImagePlaneConfig)

    def __post_init__(self) -> None:
        _one_of("kind", self.kind, KINDS)
        _one_of("action_space", self.action_space, ACTION_SPACES)
        _one_of("links", self.links, LINKS)
        _one_of("targets", self.targets, TARGETS)
        _one_of("inference", self.inference, INFERENCES)
        _one_of("proposal", self.proposal, PROPOSALS)
        for name in self.residual:
            _one_of("residual", name, RESIDUALS)
        if self.residual and not self.has_kinematics:
            raise ValueError(
                f"residual {self.residual} corrects the kinematics of link poses, and action_space "
                f"{self.action_space!r} shows none: use action_space='joint+cartesian' or residual=()"
            )
        if self.links != "all" and not (self.has_kinematics or self.observes_poses):
            raise ValueError(
                f"links {self.links!r} chooses among link poses, and this policy sees none (action_space "
                f"{self.action_space!r}): use action_space='joint+cartesian' or links='all'"
            )
        if self.kind == "explicit" and self.action_space == "cartesian":
            raise ValueError(
                "the explicit policy regresses joints: action_space 'cartesian' is implicit only"
            )
        for name, least in (("history", 1), ("negatives", 2), ("grid", 2), ("refinements", 0), ("beam", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be at least {least}")
        if not 0 <= self.window < 0.5:
            raise ValueError(f"window is {self.window}: it must be at least 0 and below 0.5")
        for name in ("fk_weight", "prefix_noise", "energy_gradient"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be 0 or more")

    @property
    def fine_points(self) -> int:
        """Candidates of a refinement."""
        return max(self.grid // 3, 3)

    @property
    def has_kinematics(self) -> bool:
        """Whether link poses, and so a residual on the kinematics, are part of the policy."""
        return self.action_space.startswith("joint+cartesian")

    @property
    def has_image_plane(self) -> bool:
        """Whether the goal in the image is part of the policy."""
        return self.action_space.endswith("+image")

    @property
    def sees_candidates_from_goal(self) -> bool:
        """Whether the tip features of `ikp.policies.image_plane` are part of the candidates."""
        plane = self.image_plane
        is_whole = self.kind == "implicit" and self.has_kinematics and self.has_image_plane
        return is_whole and plane.inputs and plane.candidates

    @property
    def observes_poses(self) -> bool:
        """Whether link poses of the measured joints are part of the observation."""
        if self.cartesian_observation is not None:
            return self.cartesian_observation
        return self.kind == "implicit" and "cartesian" in self.action_space

    def to_json(self) -> dict[str, Any]:
        """The configuration as a dict of plain JSON values."""
        return {**asdict(self), "residual": list(self.residual)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> PolicyConfig:
        """Rebuild a configuration written by `to_json`; ValueError on an unknown key."""
        encoder = _known(EncoderConfig, values.get("encoder", {}))
        plane = _known(ImagePlaneConfig, values.get("image_plane", {}))
        rest = {key: value for key, value in values.items() if key not in ("encoder", "image_plane")}
        rest = _known(cls, rest)
        if "residual" in rest:
            rest["residual"] = tuple(rest["residual"])
        return cls(**rest, encoder=EncoderConfig(**encoder), image_plane=ImagePlaneConfig(**plane))


METHODS: dict[str, dict[str, Any]] = {
    "explicit": {"kind": "explicit", "action_space": "joint", "residual": ()},
    "explicit-fk": {"kind": "explicit", "action_space": "joint+cartesian", "residual": ()},
    "implicit-cartesian": {"kind": "implicit", "action_space": "cartesian", "residual": ()},
    "implicit-joint": {"kind": "implicit", "action_space": "joint", "residual": ()},
    "ikp": {"kind": "implicit", "action_space": "joint+cartesian"},
}
"""What sets the methods of the paper's Table II apart; everything else is shared."""


def method_config(method: str, base: PolicyConfig | None = None) -> PolicyConfig:
    """The configuration of a method of the paper: `base` with only the method's own choices replaced.

    Args:
        method: `explicit`, `explicit-fk`, `implicit-cartesian`, `implicit-joint` or `ikp`.
        base: the recipe that all methods share; its residual is kept for `ikp` alone.

    Raises:
        ValueError: an unknown method.
    """
    _one_of("method", method, tuple(METHODS))
    return replace(base or PolicyConfig(), **METHODS[method])


def _one_of(what: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{what} is {value!r}: choose one of {', '.join(allowed)}")


def _known(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    allowed = {f.name for f in fields(cls)}
    unknown = sorted(set(values) - allowed)
    if unknown:
        raise ValueError(f"unknown keys {unknown} in a {cls.__name__}: allowed are {sorted(allowed)}")
    return dict(values)
