"""The settings of the demo: a recipe on insertion from pixels, and the methods that are compared."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from ikp.policies import PolicyConfig
from ikp.recipes import METHOD_TITLES, Collection, Recipe, recipe
from ikp.runs import Task
from ikp.training.config import TrainConfig

TASK = "insertion"


@dataclass(frozen=True)
class Contestant:
    """A method that the demo trains.

    Attributes:
        name: of its folders and results.
        title: for the report.
        method: key of `ikp.policies.METHODS`.
        image_plane: whether it keeps the recipe's image plane.
    """

    name: str
    title: str
    method: str
    image_plane: bool = False

    def policy(self, chosen: Recipe) -> PolicyConfig:
        """Its policy in a recipe."""
        policy = chosen.policy_for(self.method)
        return policy if self.image_plane else replace(policy, image_plane=None)

    def train(self, chosen: Recipe) -> TrainConfig:
        """Its training in a recipe."""
        return chosen.train_for(TASK, self.method)


WITH_IMAGE_PLANE = Contestant("ikp-image", "IKP + image plane", "ikp", image_plane=True)
WITHOUT_IMAGE_PLANE = tuple(
    Contestant(method, METHOD_TITLES[method], method) for method in ("ikp", "implicit-joint", "explicit")
)
TITLES = {made.name: made.title for made in (WITH_IMAGE_PLANE, *WITHOUT_IMAGE_PLANE)}


@dataclass(frozen=True)
class DemoConfig:
    """Options of the demo; see `ikp demo --help`. None takes the recipe's value.

    Raises:
        ValueError: an unknown recipe, or no episodes to evaluate.
    """

    out: Path = Path("outputs/demo")
    recipe: str = "demo"
    minutes: float | None = None
    demonstrations: int | None = None
    episodes: int | None = None
    curve_episodes: int = 25
    compare: bool = False
    offset_seed: int = 0
    seed: int = 0
    workers: int | None = None

    def __post_init__(self) -> None:
        episodes = self.chosen.episodes
        if episodes < 1 or self.curve_episodes < 1:
            raise ValueError(
                f"episodes={episodes}, curve_episodes={self.curve_episodes}: both must be at least 1"
            )

    @property
    def chosen(self) -> Recipe:
        """The recipe with the values that are given here."""
        named = recipe(self.recipe)
        return replace(
            named,
            train=replace(named.train, seed=self.seed),
            demonstrations=named.demonstrations if self.demonstrations is None else self.demonstrations,
            episodes=named.episodes if self.episodes is None else self.episodes,
        ).with_budget(minutes=self.minutes)

    @property
    def collection(self) -> Collection:
        """The demonstrations: insertion from pixels on the miscalibrated robot."""
        wanted = self.chosen.collection_for(TASK)
        return replace(wanted, env_kwargs={**wanted.env_kwargs, "offset_seed": self.offset_seed})

    @property
    def task(self) -> Task:
        """The task of demonstrations and evaluation."""
        wanted = self.collection
        return Task(wanted.env_id, wanted.env_kwargs)

    @property
    def contestants(self) -> tuple[Contestant, ...]:
        """The methods to train, the main one first: IKP exactly as in the recipe."""
        has_plane = self.chosen.policy.image_plane is not None
        found = (WITH_IMAGE_PLANE, *WITHOUT_IMAGE_PLANE) if has_plane else WITHOUT_IMAGE_PLANE
        return found if self.compare else found[:1]

    @property
    def main(self) -> Contestant:
        """The method that the report is about."""
        return self.contestants[0]
