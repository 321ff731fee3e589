"""The registry of tasks: complete entries, light imports, own tasks, and ids from files that import nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import gymnasium
import pytest

import ikp
from ikp.data.layout import IKP_PATH
from ikp.policies.checkpoint import CONFIG_FILE
from ikp.rollouts.collect import collect
from ikp.runs import evaluate_policy, policy_provenance, robot_of_data, task_of_data
from ikp.tasks import (
    InsertionEnv,
    InsertionExpert,
    TaskEntry,
    check_stored_id,
    gymnasium_id,
    register_task,
    registered_tasks,
    registry,
    task_entry,
)
from ikp.tasks.registry import make_environment

OURS = [entry for entry in registered_tasks() if entry.env_id.startswith("ikp/")]


@pytest.fixture
def entries(monkeypatch):
    """A registry that a test may change."""
    monkeypatch.setattr(registry, "_entries", dict(registry._entries))
    monkeypatch.setattr(gymnasium.envs.registration, "registry", dict(gymnasium.registry))
    monkeypatch.setattr(gymnasium, "registry", gymnasium.envs.registration.registry)


@pytest.mark.parametrize("entry", OURS, ids=lambda entry: entry.name)
def test_every_entry_makes_an_environment_with_its_expert_and_score(entry):
    spec = gymnasium.spec(entry.env_id)
    assert (spec.max_episode_steps, spec.kwargs) == (entry.max_episode_steps, dict(entry.kwargs))
    env = gymnasium.make(entry.env_id, observation="state", disable_env_checker=True, **entry.options)
    _, info = env.reset(seed=0)
    assert entry.metric in info
    assert env.action_space.contains(entry.expert_class()(env).action())
    assert env.unwrapped.miscalibration.q_offset.any() == ("miscalibrated" in entry.title)


def test_the_registry_imports_neither_mujoco_nor_environments():
    code = (
        "import sys, ikp.tasks; entries = ikp.tasks.registered_tasks(); print(len(entries), "
        "*(name for name in sys.modules if name == 'mujoco' or name.startswith('ikp.tasks.')))"
    )
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert result.stdout.split() == ["7", "ikp.tasks.registry"]


def test_an_entry_is_found_by_name_and_by_id():
    entry = task_entry("flipping")
    assert entry is task_entry("ikp/BimanualFlipping-v0")
    assert gymnasium_id("flipping") == gymnasium_id(entry.env_id) == entry.env_id
    assert gymnasium_id("CartPole/Other-v0") == "CartPole/Other-v0"


@pytest.mark.parametrize("name", ["stacking", "ikp/Stacking-v0", "ikp.tasks:ikp/Stacking-v0"])
def test_unknown_tasks_are_refused_with_the_choices(name):
    with pytest.raises(ValueError, match=f"task is '{name}': choose one of insertion, sweeping, flipping"):
        task_entry(name)


def test_a_short_name_that_is_unknown_is_no_gymnasium_id():
    with pytest.raises(ValueError, match="'stacking': choose one of insertion, .* or give a Gymnasium id"):
        gymnasium_id("stacking")


def test_a_module_that_cannot_be_imported_is_named():
    with pytest.raises(ValueError, match="importing no_such_module failed"):
        task_entry("no_such_module:own/Task-v0")


def test_a_task_of_ones_own_needs_one_call(entries, tmp_path):
    own = TaskEntry("own", "own/Insertion-v0", "Own", InsertionEnv, InsertionExpert, max_episode_steps=60)
    register_task(own)
    register_task(own)
    assert task_entry("own") is own
    collect("own", tmp_path / "a", 1, env_kwargs={"observation": "state"}, workers=1, progress=False)
    assert task_of_data(tmp_path / "a").env_id == "own/Insertion-v0"


def test_names_and_ids_belong_to_one_task(entries):
    with pytest.raises(ValueError, match="'insertion' with id 'ikp/Insertion-v0' is registered already"):
        register_task(TaskEntry("insertion", "own/Insertion-v0", "", InsertionEnv))
    with pytest.raises(ValueError, match="is registered already"):
        register_task(TaskEntry("own", "ikp/Insertion-v0", "", InsertionEnv))
    with pytest.raises(ValueError, match="a name has no '/' or ':'"):
        TaskEntry("own/task", "own/Task-v0", "", InsertionEnv)
    with pytest.raises(ValueError, match="metric is 'reward': choose one of success, score"):
        TaskEntry("own", "own/Task-v0", "", InsertionEnv, metric="reward")


def test_a_task_without_an_expert_says_so():
    with pytest.raises(ValueError, match="'own' has no scripted expert: there is one for insertion"):
        TaskEntry("own", "own/Task-v0", "", InsertionEnv).expert_class()


@pytest.mark.parametrize("env_id", ["pkg.module:ikp/Insertion-v0", "own/Task-v0", 3, None])
def test_stored_ids_of_other_environments_are_refused(env_id):
    with pytest.raises(ValueError, match="from a file only registered tasks are accepted"):
        check_stored_id(env_id, "meta.json")


@pytest.fixture
def trap(tmp_path, monkeypatch):
    """An id whose module, if imported, writes a file; returns the id and that file."""
    package = tmp_path / "pkg"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "module.py").write_text(f"open({str(tmp_path / 'imported')!r}, 'w')")
    monkeypatch.syspath_prepend(str(tmp_path))
    return "pkg.module:ikp/Insertion-v0", tmp_path / "imported"


def test_a_data_set_cannot_choose_a_module_to_import(tmp_path, trap, demonstrations_of_insertion):
    env_id, imported = trap
    path = demonstrations_of_insertion / IKP_PATH
    description = json.loads(path.read_text())
    description["extra"]["collection"]["env_id"] = env_id
    path.write_text(json.dumps(description))
    with pytest.raises(ValueError, match=r"names the environment 'pkg\.module:ikp/Insertion-v0'"):
        task_of_data(demonstrations_of_insertion)
    assert not imported.exists()
    assert task_of_data(demonstrations_of_insertion, "insertion").env_id == "ikp/Insertion-v0"


def test_a_checkpoint_cannot_choose_a_module_to_import(tmp_path, trap, demonstrations_of_insertion):
    env_id, imported = trap
    data = ikp.load_dataset(demonstrations_of_insertion)
    config = ikp.PolicyConfig(action_space="raw", residual=(), width=8, blocks=1)
    task = {"env_id": env_id, "env_kwargs": {"observation": "state"}}
    policy = ikp.make_policy(None, data.spec, config)
    policy.fit_scales(data.state, data.action, data.environment_state)
    ikp.save_policy(policy, tmp_path / "policy", provenance={"task": task})
    with pytest.raises(ValueError, match=rf"{CONFIG_FILE} names the environment 'pkg\.module:"):
        evaluate_policy(tmp_path / "policy", episodes=1)
    assert not imported.exists()


@pytest.fixture
def demonstrations_of_insertion(tmp_path):
    """Folder of one demonstration with object poses."""
    root = tmp_path / "data"
    collect("insertion", root, 1, env_kwargs={"observation": "state"}, workers=1, progress=False)
    return root


def test_the_documentations_table_agrees_with_the_registry():
    page = (Path(__file__).parents[2] / "docs" / "tasks.md").read_text()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if "`ikp/" in line]
    documented = [
        (row[0].strip("`"), row[1].strip("`"), int(row[4]), row[5].partition(":")[0]) for row in rows
    ]
    known = [(entry.name, entry.env_id, entry.max_episode_steps, entry.metric) for entry in OURS]
    assert sorted(documented) == sorted(known)


@pytest.mark.parametrize(
    ("provenance", "message"),
    [
        ([], "holds a list as 'provenance'"),
        ({"task": 3}, "provenance holds a int as 'task'"),
        ({"task": {"env_id": "ikp/Insertion-v0"}}, "task lacks env_kwargs"),
        ({"task": {"env_id": 3, "env_kwargs": {}}}, "task holds a int as 'env_id'"),
        ({"recipe": {}}, "provenance holds a dict as 'recipe'"),
    ],
)
def test_damaged_provenance_is_named(tmp_path, provenance, message):
    (tmp_path / CONFIG_FILE).write_text(json.dumps({"provenance": provenance}))
    with pytest.raises(ValueError, match=f"{CONFIG_FILE}.*{message}.*train the policy or copy"):
        policy_provenance(tmp_path)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ([], "holds a list as 'extra'"),
        ({"collection": 3}, "holds a int as 'collection'"),
        ({"collection": {"env_id": "ikp/Insertion-v0", "env_kwargs": 3}}, "holds a int as 'env_kwargs'"),
    ],
)
def test_a_damaged_description_of_the_task_is_named(demonstrations_of_insertion, extra, message):
    path = demonstrations_of_insertion / IKP_PATH
    path.write_text(json.dumps({**json.loads(path.read_text()), "extra": extra}))
    with pytest.raises(ValueError, match=message):
        task_of_data(demonstrations_of_insertion)


def test_options_in_a_data_set_that_the_task_does_not_take_name_the_data_set(demonstrations_of_insertion):
    path = demonstrations_of_insertion / IKP_PATH
    description = json.loads(path.read_text())
    description["extra"]["collection"]["env_kwargs"] = {"foo": 1}
    path.write_text(json.dumps(description))
    with pytest.raises(ValueError, match=f"{demonstrations_of_insertion} names a task: .*'foo'"):
        robot_of_data(demonstrations_of_insertion)


def test_options_that_an_environment_does_not_take_are_named():
    with pytest.raises(
        ValueError, match=r"cannot make the environment 'ikp/Insertion-v0' with foo=1: .*'foo'"
    ):
        make_environment("ikp/Insertion-v0", {"foo": 1})
    with pytest.raises(ValueError, match=r"cannot make the environment 'no/Task-v0' with no options"):
        make_environment("no/Task-v0", {})
