"""A recipe's name means one training: in every command, in the demo and in the paper's tables."""

from dataclasses import replace
from types import SimpleNamespace

import gymnasium
import pytest
import torch

import ikp
from ikp import cli, runs
from ikp.demo import run as demo
from ikp.demo.config import DemoConfig
from ikp.policies.config import METHODS
from ikp.recipes import MANY_STEPS, METHOD_TITLES, RECIPES, recipe
from ikp.rollouts import collect as collecting
from ikp.runs import Task, evaluate_policy, train_policy
from ikp.tasks import InsertionEnv
from ikp.tasks.registry import registered_tasks

TASKS = tuple(entry.name for entry in registered_tasks() if entry.env_id.startswith("ikp/"))
NAMES = ("quick", "standard", "demo", "paper")


@pytest.fixture
def calls(monkeypatch):
    """Records the calls of collection and training, which do nothing; what was collected is the data's task."""
    made = SimpleNamespace(collection=None, training=None)

    def collect(env_id, root, episodes, **options):
        made.collection = {"env_id": env_id, "episodes": episodes, **options}
        return collecting.CollectionReport(root, episodes, 0, 0, 0, 1.0)

    def train(data, out, **options):
        made.training = options
        nothing = {
            "validation": {"held_out": {}},
            "probe": {},
            "dependence": {},
            "arms": {},
            "residual": None,
        }
        return SimpleNamespace(steps=0, seconds=0.0, **nothing)

    def task_of_data(root, name=None):
        return Task(made.collection["env_id"], made.collection["env_kwargs"])

    monkeypatch.setattr(collecting, "collect", collect)
    monkeypatch.setattr(demo, "collect", collect)
    monkeypatch.setattr(runs, "train_policy", train)
    monkeypatch.setattr(demo, "train_policy", train)
    monkeypatch.setattr(runs, "task_of_data", task_of_data)
    return made


def resolved(made):
    """The settings of the recorded calls that decide about the policy."""
    collection = {
        key: made.collection[key] for key in ("env_id", "env_kwargs", "episodes", "perturbation", "seed")
    }
    training = {key: made.training[key] for key in ("method", "policy", "train_config", "recipe")}
    return {**collection, **training}


def of_commands(made, name, task, method):
    given = [] if name == "standard" else ["--recipe", name]
    assert cli.main(["collect", "--out", "data", "--task", task, *given]) == 0
    assert cli.main(["train", "--data", "data", "--out", "run", "--method", method, *given]) == 0
    return resolved(made)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("task", TASKS)
def test_the_commands_train_what_the_tables_train(calls, name, task):
    from ikp_paper.run import resolve
    from ikp_paper.tables import Cell, Setting

    for method in METHODS:
        run = resolve(Cell(Setting(task, 10_000), method), name, seed=0)
        assert of_commands(calls, name, task, method) == {
            "env_id": run.task.env_id,
            "env_kwargs": dict(run.task.env_kwargs),
            "episodes": run.demonstrations,
            "perturbation": run.perturbation,
            "seed": 0,
            "method": run.method,
            "policy": run.policy,
            "train_config": run.train,
            "recipe": name,
        }
        assert run.episodes == recipe(name).episodes


@pytest.mark.parametrize("name", NAMES)
def test_the_demo_trains_what_the_commands_train(calls, name, tmp_path):
    by_commands = of_commands(calls, name, "insertion", "ikp")
    config = DemoConfig(out=tmp_path, recipe=name)
    stages = {stage.name: stage for stage in demo._Demo(config).stages()}
    stages["collect"].run()
    stages[f"train-{config.main.name}"].run()
    assert resolved(calls) == by_commands
    assert config.chosen.episodes == recipe(name).episodes


def test_options_replace_single_choices_of_the_recipe(calls):
    made = of_commands(calls, "standard", "insertion", "ikp")
    options = ["--image-plane", "True", "--residual", "offset", "link", "--history", "2", "--encoder", "pool"]
    options += [
        "--width",
        "64",
        "--steps",
        "9",
        "--batch-size",
        "3",
        "--seed",
        "5",
        "--moved-scenes",
        "False",
    ]
    assert cli.main(["train", "--data", "data", "--out", "run", *options]) == 0
    policy, train = calls.training["policy"], calls.training["train_config"]
    assert policy.image_plane is not None
    assert (policy.residual, policy.history, policy.encoder.kind, policy.width) == (
        ("offset", "link"),
        2,
        "pool",
        64,
    )
    unchanged = {"image_plane": None, "residual": ("offset",), "history": 1, "width": 128}
    assert replace(policy, **unchanged, encoder=made["policy"].encoder) == made["policy"]
    assert train == replace(made["train_config"], steps=9, batch_size=3, seed=5, moved_scenes=False)
    assert (
        cli.main(["train", "--data", "data", "--out", "run", "--recipe", "demo", "--image-plane", "False"])
        == 0
    )
    assert calls.training["policy"].image_plane is None
    assert cli.main(["train", "--data", "data", "--out", "run", "--residual"]) == 0
    assert calls.training["policy"].residual == ()


def test_minutes_replace_the_steps(calls, tmp_path):
    of_commands(calls, "standard", "insertion", "ikp")
    assert cli.main(["train", "--data", "data", "--out", "run", "--minutes", "2"]) == 0
    budgets = [calls.training["train_config"], DemoConfig(out=tmp_path, minutes=2.0).main.train(
        DemoConfig(out=tmp_path, minutes=2.0).chosen
    )]  # fmt: skip
    assert {(train.steps, train.minutes) for train in budgets} == {(MANY_STEPS, 2.0)}


def test_demonstrations_are_disturbed_and_scenes_moved_only_where_the_task_allows_it():
    standard = ikp.recipe("standard")
    assert {name: standard.collection_for(name).perturbation for name in TASKS} == {
        "insertion": 0.7, "sweeping": 0.0, "flipping": 0.0, "sweeping-miscalibrated": 0.0, "two-elbows": 0.0,
        "alignment": 0.7, "sorting": 0.0,
    }  # fmt: skip
    assert [name for name in TASKS if standard.train_for(name).moved_scenes] == ["insertion", "alignment"]
    assert [name for name in TASKS if standard.train_for(name).state_noise] == ["flipping"]
    assert standard.train_for(None).state_noise == 0.0
    assert not standard.train_for(None).moved_scenes
    assert not standard.train_for("insertion", "raw").moved_scenes, "without a robot nothing can be moved"
    assert standard.train_for(None, moved_scenes=True).moved_scenes, "what is said counts"
    assert not standard.train_for("insertion", moved_scenes=False).moved_scenes
    assert standard.collection_for("insertion").env_kwargs == {"observation": "pixels", "offset_seed": 0}
    with pytest.raises(ValueError, match="choose one of insertion"):
        standard.train_for("juggling")


def test_recipes_have_names_and_methods_titles():
    assert tuple(name for name in RECIPES if name != "tiny") == NAMES
    assert all(made.name == name and made.title for name, made in RECIPES.items() if name != "tiny")
    assert set(METHOD_TITLES) == set(METHODS)
    with pytest.raises(ValueError, match="recipe is 'fast': choose one of quick, standard, demo, paper"):
        recipe("fast")
    with pytest.raises(ValueError, match="method is 'bc': choose one of explicit"):
        recipe("standard").policy_for("bc")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_makes_every_method(name, method):
    shared, policy = recipe(name).policy, recipe(name).policy_for(method)
    assert (policy.kind, policy.action_space) == METHODS[method]
    same = {key: getattr(shared, key) for key in ("kind", "action_space", "residual", "image_plane")}
    assert replace(policy, **same) == shared, "methods differ in the method only"


def test_the_papers_recipe_is_the_papers():
    paper = recipe("paper")
    policy = paper.policy_for("ikp")
    assert (policy.targets, policy.proposal, policy.residual) == ("absolute", "uniform", ("dense",))
    assert (policy.width, policy.blocks, policy.negatives, policy.history) == (512, 2, 256, 2)
    assert (policy.encoder.kind, policy.encoder.channels) == ("resnet26", 64)
    assert (policy.ablation.prefix_noise, policy.search.window, policy.image_plane) == (0, 0, None)
    train = paper.train_for("insertion")
    assert (train.steps, train.batch_size, train.optimizer, train.moved_scenes) == (
        100_000,
        128,
        "adamw",
        False,
    )
    assert train.learning_rate == train.encoder_learning_rate == 1e-3
    assert paper.collection_for("insertion").perturbation == 0


def test_the_papers_recipe_trains_and_acts(pixel_demonstrations, tmp_path):
    """On a quarter of the image's resolution: the whole one takes two minutes."""
    data = ikp.load_dataset(pixel_demonstrations, episodes=2, progress=False)
    images = {name: pixels[:, ::4, ::4].contiguous() for name, pixels in data.images.items()}
    shapes = {name: tuple(pixels.shape[1:]) for name, pixels in images.items()}
    data = replace(data, images=images, spec=replace(data.spec, image_shapes=shapes, cameras={}))
    paper = recipe("paper").with_budget(steps=2)
    config = replace(paper.train_for("insertion"), batch_size=4, threads=1)
    policy = ikp.make_policy(InsertionEnv.robot, data.spec, paper.policy_for("ikp"))
    assert ikp.train(policy, data, config, out=tmp_path / "run").steps == 2
    action = ikp.load_policy(tmp_path / "run").act(data.batch(torch.arange(3), history=2))
    assert action.shape == (3, 7)


def test_an_evaluation_has_as_many_episodes_as_the_recipe(demonstrations, tiny, monkeypatch, tmp_path):
    monkeypatch.setattr(gymnasium.registry["ikp/Insertion-v0"], "max_episode_steps", 2)
    short = tiny.with_budget(steps=1)
    options = {
        "method": "ikp",
        "policy": short.policy_for("ikp"),
        "train_config": short.train_for("insertion"),
    }
    train_policy(demonstrations, tmp_path / "run", recipe="tiny", **options)
    assert len(evaluate_policy(tmp_path / "run")["episodes"]) == tiny.episodes
