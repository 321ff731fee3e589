"""Options of a policy, and the five methods of the paper as configurations of two classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from ikp.checks import in_range, one_of, plain_types
from ikp.nets import EncoderConfig
from ikp.policies.timing import TimingConfig

KINDS = ("implicit", "explicit", "two-step", "flow")
ACTION_SPACES = ("raw", "joint", "cartesian", "joint+cartesian")
LINKS = ("all", "tip")
RESIDUALS = ("offset", "drift", "dense", "link")
TARGETS = ("delta", "absolute")
SEARCHES = ("grid", "langevin")
PROPOSALS = ("uniform", "learned")


@dataclass(frozen=True)
class SearchConfig:
    """Search of an implicit policy for the action of least energy (`ikp.policies.search`).

    Attributes:
        method: `grid` (autoregressive decoding, coarse to fine) or `langevin` (gradients in joint space).
        grid: candidates per dimension.
        refinements: number of finer grids around the best candidate, each with a third as many candidates.
        beam: number of prefixes kept, ranked by their normalised log-density; 1 is greedy decoding.
        window: standard deviation of a Gaussian window, as a share of the bounds. The most probable window is chosen,
            and its mean is the result; 0 chooses the candidate of least energy.
        regression: weight of the learned proposal's regression in the density that decides (`ikp.policies.pooling`):
            0 decides by the energies alone. A uniform proposal has no regression.

    Raises:
        ValueError: an option is unknown or a number out of range; the message says what is allowed.
    """

    method: str = "grid"
    grid: int = 96
    refinements: int = 1
    beam: int = 1
    window: float = 0.01
    regression: float = 0.3

    def __post_init__(self) -> None:
        plain_types(self)
        one_of("search method", self.method, SEARCHES)
        in_range(self, grid=(2, 10_000), refinements=(0, 20), beam=(1, 1000))
        if not 0 <= self.window < 0.5:
            raise ValueError(f"window is {self.window}: it must be at least 0 and below 0.5")
        if not 0 <= self.regression < 1:
            raise ValueError(
                f"regression is {self.regression}: it must be at least 0 and below 1; kind='explicit' decides by a "
                "regression alone"
            )

    @property
    def fine_points(self) -> int:
        """Candidates of a finer grid."""
        return max(self.grid // 3, 3)


@dataclass(frozen=True)
class ImagePlaneConfig:
    """The image plane as a further action space (`ikp.policies.image_plane`).

    Attributes:
        refine_camera: learn a correction of the camera's pose, for a camera that is only roughly calibrated.

    Raises:
        ValueError: `refine_camera` is neither True nor False.
    """

    refine_camera: bool = False

    def __post_init__(self) -> None:
        plain_types(self)


@dataclass(frozen=True)
class Ablations:
    """Options that measure the value of one part of the method; they are not on the command line.

    Attributes:
        links: links whose poses are inputs: `all`, the child frame of every joint (paper, Eq. 2), or `tip`, only that
            of the last joint of each arm, so that the energies of the other joints see no poses.
        observed_poses: make the link poses at the measured joints part of the observation. None means yes for an
            policy that sees actions (all but `explicit`) and whose action space has a Cartesian part.
        prefix_noise: standard deviation of the noise on the demonstrated prefix in training, in units of the encoded
            actions' standard deviation. At inference the prefix is the policy's own choice, which is not exact either.

    Raises:
        ValueError: an option is unknown or a number out of range; the message says what is allowed.
    """

    links: str = "all"
    observed_poses: bool | None = None
    prefix_noise: float = 0.1

    def __post_init__(self) -> None:
        plain_types(self)
        one_of("links", self.links, LINKS)
        in_range(self, prefix_noise=(0, 100))


@dataclass(frozen=True)
class PolicyConfig:
    """Options of a policy; the defaults are a small IKP for a machine without a GPU.

    Attributes:
        kind: `implicit` (argmin of an energy), `explicit` (regression), `two-step` (a regression that refines its own
            answer) or `flow` (flow matching; `ikp.policies.denoising`).
        action_space: the spaces in which the policy sees actions: `raw` (the action vector; needs no robot), `joint`,
            `cartesian` (the tip's pose, executed by inverse kinematics) or `joint+cartesian` (the joints and the pose
            of every link: IKP for an implicit policy, ExplicitFK for an explicit one).
        residual: learned corrections of the kinematics (paper, Eq. 3), any of `offset` (a constant per joint), `drift`
            (a sin q + b cos q per joint), `dense` (the paper's residual blocks) and `link` (the fixed transforms
            between links). None, the default, means
            `offset` for a policy that sees actions as joints and link poses, and no correction for others; these are
            stored as None too, and `residuals` has what they mean.
        targets: encode actions as differences from the measured joints or pose (`delta`) or as `absolute` values.
        history: frames per observation.
        timing: rates of decisions and observations; the default is one action per frame of the data.
        encoder: the image encoder.
        width: units per layer of the dense residual networks.
        blocks: residual blocks of these networks; 2 give the paper's 8-layer energies.
        negatives: negatives per dimension and example in the InfoNCE loss.
        proposal: distribution of the negatives: `uniform` over the bounds, or `learned`, half uniform and half normal
            around a regression of the action, corrected by log q.
        bfloat16: train the encoder's convolutions and the energies' inner layers in bfloat16.
        image_plane: adds the goal of the motion in the image of a calibrated camera, beyond the paper; None leaves it
            out. It needs an action space with joints.
        search: search for the action of least energy.
        ablation: options for measurements.

    Raises:
        ValueError: an option is unknown, a number out of range, or two options contradict each other.
    """

    kind: str = "implicit"
    action_space: str = "joint+cartesian"
    residual: tuple[str, ...] | None = None
    targets: str = "delta"
    history: int = 1
    timing: TimingConfig = field(default_factory=TimingConfig)
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
        plain_types(self)
        one_of("kind", self.kind, KINDS)
        one_of("action_space", self.action_space, ACTION_SPACES)
        one_of("targets", self.targets, TARGETS)
        one_of("proposal", self.proposal, PROPOSALS)
        in_range(self, history=(1, 100), width=(1, 16_384), blocks=(0, 64), negatives=(2, 100_000))
        if isinstance(self.residual, str):
            raise ValueError(
                f"residual is the word {self.residual!r}: give a tuple, such as ({self.residual!r},)"
            )
        if self.residual is not None:  # one form for one policy, so that equal policies are equal
            residual = tuple(self.residual)
            object.__setattr__(self, "residual", None if residual == self._default_residual else residual)
        for name in self.residuals:
            one_of("residual", name, RESIDUALS)
        if self.residuals and not self.has_kinematics:
            raise ValueError(
                f"residual {self.residuals} corrects link poses, and action_space {self.action_space!r} uses none: "
                "use action_space='joint+cartesian' or residual=()"
            )
        if self.ablation.links != "all" and not (self.has_kinematics or self.observes_poses):
            raise ValueError(
                f"links {self.ablation.links!r} chooses among link poses, and this policy sees none (action_space "
                f"{self.action_space!r}): use action_space='joint+cartesian' or links='all'"
            )
        if self.search.method == "langevin" and self.timing.way_points > 1:
            raise ValueError(
                f"Langevin dynamics decide one way-point, and way_points is {self.timing.way_points}: use "
                "search method 'grid'"
            )
        if self.kind != "implicit" and self.action_space == "cartesian":
            raise ValueError(
                f"action_space 'cartesian' is implicit only, and kind is {self.kind!r}: use joints"
            )
        if self.image_plane is not None and not self.action_space.startswith("joint"):
            raise ValueError(
                f"the image plane joins joints, and action_space is {self.action_space!r}: use 'joint' or "
                "'joint+cartesian', or image_plane=None"
            )

    @property
    def residuals(self) -> tuple[str, ...]:
        """`residual` with the default filled in."""
        return self._default_residual if self.residual is None else self.residual

    @property
    def _default_residual(self) -> tuple[str, ...]:
        return ("offset",) if self.sees_actions and self.has_kinematics else ()

    @property
    def sees_actions(self) -> bool:
        """Whether an action is an input of the policy's network, so that link poses can be inputs beside it."""
        return self.kind != "explicit"

    @property
    def has_kinematics(self) -> bool:
        """Whether the policy sees link poses of candidates, which a residual can correct."""
        return self.action_space == "joint+cartesian"

    @property
    def sees_candidates_from_goal(self) -> bool:
        """Whether the poses of candidates relative to the goal are inputs (`ikp.policies.image_plane`)."""
        return self.kind == "implicit" and self.has_kinematics and self.image_plane is not None

    @property
    def observes_poses(self) -> bool:
        """Whether the link poses at the measured joints are part of the observation."""
        if self.ablation.observed_poses is not None:
            return self.ablation.observed_poses
        return self.sees_actions and "cartesian" in self.action_space

    def to_json(self) -> dict[str, Any]:
        """The configuration as a dict of plain JSON values; `timing` is left out where it is the default."""
        plain = {**asdict(self), "residual": list(self.residuals)}
        if self.timing == TimingConfig():
            del plain["timing"]
        return plain

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> PolicyConfig:
        """Rebuild a configuration written by `to_json`.

        Raises:
            ValueError: a key is unknown, or a value that `PolicyConfig` refuses.
        """
        values = _known(cls, values)
        parts = {
            "encoder": EncoderConfig,
            "search": SearchConfig,
            "timing": TimingConfig,
            "ablation": Ablations,
            "image_plane": ImagePlaneConfig,
        }
        for name, part in parts.items():
            if name in values and not (name == "image_plane" and values[name] is None):
                values[name] = part(**_known(part, values[name]))
        if "residual" in values:
            if not isinstance(values["residual"], list | tuple):
                raise ValueError(f"residual is {values['residual']!r}: it must be a list of words")
            values["residual"] = tuple(values["residual"])
        return cls(**values)


METHODS: dict[str, tuple[str, str]] = {
    "explicit": ("explicit", "joint"),
    "explicit-fk": ("explicit", "joint+cartesian"),
    "implicit-cartesian": ("implicit", "cartesian"),
    "implicit-joint": ("implicit", "joint"),
    "ikp": ("implicit", "joint+cartesian"),
    "two-step": ("two-step", "joint+cartesian"),
    "flow": ("flow", "joint+cartesian"),
    "raw": ("implicit", "raw"),
}
"""Kind and action space of the five methods of the paper's Table II; of `two-step` and `flow`, which see the link poses
of their own noisy action; and of `raw`, the implicit policy on plain action vectors, without a robot. All other options
are shared."""
PAPER_METHODS = ("explicit", "explicit-fk", "implicit-cartesian", "implicit-joint", "ikp")
"""The methods that the paper compares."""


def method_config(method: str, base: PolicyConfig | None = None) -> PolicyConfig:
    """The configuration of a method: `base` with kind and action space of the method.

    Args:
        method: a key of `METHODS`.
        base: options that all methods share. Only methods that see actions as link poses keep its residual, and only
            methods with joints keep its image plane.

    Raises:
        ValueError: the method is unknown.
    """
    one_of("method", method, tuple(METHODS))
    base = base or PolicyConfig()
    kind, space = METHODS[method]
    return replace(
        base,
        kind=kind,
        action_space=space,
        residual=base.residual if kind != "explicit" and space == "joint+cartesian" else (),
        image_plane=base.image_plane if space.startswith("joint") else None,
    )


def _known(cls: type, values: Any) -> dict[str, Any]:
    if not isinstance(values, Mapping):
        raise ValueError(f"a {cls.__name__} is {values!r}: it must be an object with some of its keys")
    allowed = {f.name for f in fields(cls)}
    unknown = sorted(set(values) - allowed)
    if unknown:
        raise ValueError(f"unknown keys {unknown} in a {cls.__name__}: allowed are {sorted(allowed)}")
    return dict(values)
