"""Options of `lerobot-train --policy.type=ikp`, and what a trained policy keeps of them."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from lerobot.configs.policies import PreTrainedConfig
from lerobot.configs.types import NormalizationMode

from ikp.cli.data import ArmOptions, DataOptions
from ikp.cli.train import PolicyOptions
from ikp.policies import PolicyConfig
from ikp.policies.timing import TimingConfig
from ikp.recipes import Recipe, recipe
from ikp.tasks.registry import refuse_module
from ikp.training.config import TrainConfig
from lerobot_policy_ikp.optimization import IKPOptimizerConfig, IKPSchedulerConfig

ARM = tuple(option.name for option in fields(ArmOptions))
DATA = tuple(option.name for option in fields(DataOptions) if option.name not in ("data", "out", "episodes"))
PER_FRAME = ("action_rate", "way_points")
"""Choices that LeRobot's loop does not have: it asks for one action per frame."""
POLICY = {
    option.name: "n_obs_steps" if option.name == "history" else option.name
    for option in fields(PolicyOptions)
    if option.name not in PER_FRAME
}
"""The name of each of `ikp train`'s choices of the policy here; that of the history is LeRobot's own."""
CHOICES = ("recipe", "method", *POLICY.values(), "moved_scenes")
FIXED = tuple(name for name in (*ARM, *DATA, *CHOICES) if name != "joint_map")
"""Options that a trained policy cannot change any more."""


def check_per_frame(policy: PolicyConfig) -> None:
    """Refuse a policy that does not decide one action for each frame of the data.

    Raises:
        ValueError: it has several way-points, or a rate of its own.
    """
    if policy.timing != TimingConfig():
        raise ValueError(
            f"the policy has {policy.timing}, and LeRobot asks for one action per frame: train it without --way-points "
            "and --action-rate, or use it with ikp.load_policy"
        )


@PreTrainedConfig.register_subclass("ikp")
@dataclass
class IKPConfig(PreTrainedConfig):
    """Options of a policy, with the names and the words of `ikp train`; None leaves a choice to the recipe.

    Attributes:
        recipe: a recipe of ikp: policy, optimiser and learning rates. LeRobot decides steps and batch size.
        method: key of `ikp.policies.METHODS`.
        n_obs_steps: frames per observation.
        image_plane, residual, encoder, width, moved_scenes: further choices that replace the recipe's.
        robot, tips, lock: the robot of the data; data of a simulated task bring their own.
        units, joints, gripper, ignore: how its joints are recorded, where names and values do not say it.
        joint_map: a JSON file that says all of this. Given with a trained policy, it replaces the policy's own map: the
            same policy on an arm with other zeros, signs or units.
        task: the simulated task of the data, where they do not name one. --policy.discover_packages_path imports the
            package that registers one of your own.
        cameras, camera, image_size: cameras to use, models of cameras, and the size of images.
        optimizer_lr, optimizer_lr_encoder: learning rates of heads and energies, and of image encoders.
        normalization_mapping: LeRobot's normalisation; always the identity, because kinematics needs real units.
        frozen: everything that a trained policy needs besides its weights, as plain JSON values: its robot, dimensions,
            joint map and configuration (`ikp.policies.describe_policy`), the options it was made with, and a
            fingerprint of its data. A new policy fills it in, and from then on no file of the robot is read.

    Raises:
        ValueError: a value is not allowed, or an option differs from that of the trained policy.
    """

    recipe: str = "standard"
    method: str = "ikp"
    n_obs_steps: int | None = None  # type: ignore[assignment]
    image_plane: bool | None = None
    residual: list[str] | None = None
    encoder: str | None = None
    width: int | None = None
    moved_scenes: bool | None = None
    robot: str | None = None
    tips: list[str] = field(default_factory=list)
    lock: list[str] = field(default_factory=list)
    units: list[str] = field(default_factory=list)
    joints: list[str] = field(default_factory=list)
    gripper: list[str] = field(default_factory=list)
    ignore: list[str] = field(default_factory=list)
    joint_map: str | None = None
    task: str | None = None
    cameras: list[str] | None = None
    camera: list[str] = field(default_factory=list)
    image_size: str | None = None
    optimizer_lr: float | None = None
    optimizer_lr_encoder: float | None = None
    normalization_mapping: dict[str, NormalizationMode] = field(
        default_factory=lambda: dict.fromkeys(
            ("VISUAL", "STATE", "ENV", "ACTION"), NormalizationMode.IDENTITY
        )
    )
    frozen: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        if any(mode != NormalizationMode.IDENTITY for mode in self.normalization_mapping.values()):
            raise ValueError(
                f"normalization_mapping is {self.normalization_mapping}: kinematics needs the data's own numbers, and "
                "the policy scales them itself; leave the option out"
            )
        refuse_module(self.task or "", "import its package with --policy.discover_packages_path=PACKAGE")
        if self.frozen:
            self._check_fixed()
        self._choices.check(self.method, self.policy_config)
        check_per_frame(self.policy_config)
        self.n_obs_steps = self.policy_config.history

    def _check_fixed(self) -> None:
        for name, value in self.frozen["options"].items():
            given = getattr(self, name)
            if given != value:
                raise ValueError(
                    f"{name} is {given!r}, and the trained policy was made with {value!r}: leave the option out, or "
                    "train a new policy"
                )

    @property
    def arm(self) -> ArmOptions:
        """The options about the robot and its joints, as the command line of ikp reads them."""
        values = {name: self._option(name) for name in ARM}
        return ArmOptions(**{**values, "joint_map": self.joint_map and Path(self.joint_map)})

    def data(self, root: Path) -> DataOptions:
        """The options about the data set in a folder, as the command line of ikp reads them."""
        return DataOptions((root,), root, **{name: self._option(name) for name in DATA})

    @property
    def _choices(self) -> PolicyOptions:
        return PolicyOptions(**{option: self._option(name) for option, name in POLICY.items()})

    def _option(self, name: str) -> Any:
        """An option; a command line or a JSON file has lists where those of ikp are tuples."""
        value = getattr(self, name)
        return tuple(value) if isinstance(value, list) else value

    @property
    def chosen_recipe(self) -> Recipe:
        """The recipe with the options that replace its choices."""
        changed = self._choices.applied(recipe(self.recipe))
        rates = {"learning_rate": self.optimizer_lr, "encoder_learning_rate": self.optimizer_lr_encoder}
        given = {name: rate for name, rate in rates.items() if rate is not None}
        return replace(changed, train=replace(changed.train, **given))

    @property
    def policy_config(self) -> PolicyConfig:
        """The configuration of the policy: the frozen one, or the recipe's with the options."""
        if self.frozen:
            return PolicyConfig.from_json(self.frozen["policy"]["policy"])
        return self.chosen_recipe.policy_for(self.method)

    def train_config(self, task: str | None) -> TrainConfig:
        """The optimisation of a policy for data of a simulated task, or None for other data."""
        return self.chosen_recipe.train_for(task, self.method, self.moved_scenes)

    def freeze(self, policy: dict[str, Any], **facts: Any) -> None:
        """Keep a policy's description (`ikp.policies.describe_policy`), with its joint map, and facts for training."""
        self.joint_map = None
        self.frozen = {"options": {name: getattr(self, name) for name in FIXED}, "policy": policy, **facts}

    @property
    def observation_delta_indices(self) -> list[int] | None:
        """The frames of an observation relative to the newest one."""
        steps = self.n_obs_steps or 1
        return None if steps == 1 else list(range(1 - steps, 1))

    @property
    def action_delta_indices(self) -> None:
        """The action of the newest frame alone."""
        return None

    @property
    def reward_delta_indices(self) -> None:
        """No rewards."""
        return None

    def get_optimizer_preset(self) -> IKPOptimizerConfig:
        """The recipe's optimiser."""
        train = self.chosen_recipe.train
        return IKPOptimizerConfig(
            lr=train.learning_rate, encoder_lr=train.encoder_learning_rate, algorithm=train.optimizer
        )

    def get_scheduler_preset(self) -> IKPSchedulerConfig:
        """Linear warm-up, then cosine decay to zero."""
        return IKPSchedulerConfig()

    def validate_features(self) -> None:
        """Refuse data without an action.

        Raises:
            ValueError: there is no action.
        """
        if self.action_feature is None:
            raise ValueError(
                f"the data have no feature 'action': the outputs are {sorted(self.output_features or {})}"
            )
