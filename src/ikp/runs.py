"""One training or one evaluation from folders on disk, shared by the command line, the demo and the paper's tables."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import NoneType
from typing import Any

import torch

from ikp.data import Demonstrations, MapHints, load_dataset, pooled
from ikp.data.layout import DEPLOYMENT, IKP_PATH, RECORDING
from ikp.data.metadata import read_description, read_info
from ikp.data.pool import arms_table, names_of_arms, warn_of_folders
from ikp.data.usage import usage
from ikp.files import check_keys, read_json, writable_file, write_json
from ikp.kinematics import Camera, Robot
from ikp.policies import PolicyConfig, load_policy, make_policy
from ikp.policies.checkpoint import AGAIN, CONFIG_FILE, complete_folder, policy_folder
from ikp.provenance import provenance
from ikp.recipes import RECIPES, STANDARD
from ikp.rollouts.evaluate import evaluate
from ikp.rollouts.summary import summarize
from ikp.tasks.registry import check_stored_id, gymnasium_id, make_environment, registered_tasks, task_entry
from ikp.training.config import TrainConfig
from ikp.training.trainer import Callback, TrainResult, check_new, train

ARM_MAPS = Path("joint_maps")
"""Folder of a run with the joint map of each arm whose data it was trained on, where there are several."""


@dataclass(frozen=True)
class Task:
    """A simulated task with its options, as Gymnasium makes it."""

    env_id: str
    env_kwargs: dict[str, Any]

    def robot(self) -> Robot:
        """The task's nominal kinematic model."""
        with self._environment() as env:
            return env.robot

    def cameras(self, names: Sequence[str] | None = None) -> dict[str, Camera]:
        """Models of the task's cameras by name; by default of those in the observation."""
        with self._environment(observation="pixels") as env:
            return {name: env.camera(name) for name in (env.camera_names if names is None else names)}

    def true_offsets(self) -> list[float]:
        """The joint offsets of the simulated robot, q_true - q_measured [rad]."""
        with self._environment(observation="state") as env:
            return env.miscalibration.q_offset.tolist()

    @contextmanager
    def _environment(self, **changes: Any) -> Iterator[Any]:
        env: Any = make_environment(self.env_id, {**self.env_kwargs, **changes}, disable_env_checker=True)
        try:
            yield env.unwrapped
        finally:
            env.close()


def task_of_data(root: Path | str, name: str | None = None, observation: str = "pixels") -> Task | None:
    """The simulated task in which a data set was collected; None for data from elsewhere.

    Args:
        root: folder of the data set.
        name: name or id that replaces the one in the data set; "module:id" imports the module that registers the task.
        observation: `pixels` or `state`, for data from elsewhere whose task is named here.

    Raises:
        ValueError: the task is not registered.
    """
    path = Path(root) / IKP_PATH
    collection: Any = {}
    if path.exists():
        extra = read_description(Path(root))["extra"]
        check_keys({"extra": extra}, {"extra": dict}, str(path))
        collection = extra.get("collection") or {}
        check_keys({"collection": collection}, {"collection": dict}, f"{path}: extra")
    if not collection and name is None:
        return None
    env_id = check_stored_id(collection.get("env_id"), path) if name is None else task_entry(name).env_id
    kwargs = collection.get("env_kwargs", {"observation": observation})
    check_keys({"env_kwargs": kwargs}, {"env_kwargs": dict}, f"{path}: collection")
    return Task(env_id, dict(kwargs))


def train_policy(
    data: Path | str | Sequence[Path | str],
    out: Path | str,
    *,
    method: str,
    policy: PolicyConfig,
    train_config: TrainConfig,
    recipe: str | None = None,
    episodes: int | Sequence[int] | None = None,
    robot: Robot | None = None,
    cameras: Mapping[str, Camera] | None = None,
    loading: Mapping[str, Any] | None = None,
    task: str | None = None,
    resume: bool = False,
    callback: Callback | None = None,
    report: Callable[[str], None] | None = None,
) -> TrainResult:
    """Train a policy on a data set's folder; the result in `out/policy` stores its task and its provenance.

    Args:
        data: folder of a LeRobotDataset v3.0; or several, of arms of one model, each with the joint map that it stores
            (`ikp.data.pooled`). The policy drives the first arm unless it is loaded with another joint map; those of
            all are in `out/joint_maps`.
        out: folder of the run.
        method: key of `ikp.policies.METHODS`, stored with the result.
        policy, train_config: all choices (`Recipe.policy_for`, `Recipe.train_for`); `train_config.seed` also draws the
            initial weights.
        recipe: name of the recipe that they come from, stored with the result.
        episodes: use only the first ones, or those of a list, of every folder.
        robot: kinematic model, for data from elsewhere; data of a simulated task bring their own.
        cameras: models of cameras that the data set does not describe, or describes wrongly, by name.
        loading: further arguments of `ikp.load_dataset`: cameras, image_size, joint_map, hints.
        task: name or id of the simulated task, where the data set names none or one that is not registered;
            "module:id" imports the module that registers it.
        resume, callback: as in `ikp.train`.
        report: receives the lines that say what of the data is used and what is left out.

    Raises:
        ValueError: the policy needs a robot and there is none, or uses none and there is one; the task is not
            registered; or several folders do not go together.
        DatasetError, FileExistsError, FloatingPointError: as `ikp.load_dataset` and `ikp.train`.
    """
    folders = folders_of(data)
    check_new(Path(out), resume=resume)
    robot, demonstrations, simulated = load_matched(
        data,
        policy,
        train_config,
        robot=robot,
        cameras=cameras,
        task=task,
        loading={"episodes": episodes, **(loading or {})},
    )
    if report is not None:
        for line in _usage(folders, demonstrations, robot):
            report(line)
    policy.timing.warn_of_rate(demonstrations.spec.fps)
    torch.manual_seed(train_config.seed)
    new = make_policy(robot, demonstrations.spec, policy)
    described = {
        "recipe": recipe,
        "method": method,
        "data": _described_data(folders, demonstrations),
        "task": vars(simulated) if simulated else None,
        **provenance(),
    }
    result = train(
        new, demonstrations, train_config, out=out, resume=resume, callback=callback, provenance=described
    )
    for name, joint_map in demonstrations.arm_maps.items():
        if joint_map is not None:
            joint_map.save(Path(out) / ARM_MAPS / f"{name}.json")
    return result


def folders_of(data: Path | str | Sequence[Path | str]) -> list[Path | str]:
    """The folders of one data set or of several.

    Raises:
        ValueError: there is none.
    """
    folders = [data] if isinstance(data, Path | str) else list(data)
    if not folders:
        raise ValueError("no data folder is given: name at least one (--data FOLDER)")
    return folders


def _usage(
    folders: Sequence[Path | str], demonstrations: Demonstrations, robot: Robot | None
) -> Iterator[str]:
    """Lines that say what of the data is used and what is left out."""
    yield from usage(folders[0], demonstrations, robot=robot)
    if demonstrations.arms:
        yield "used: arms, of which the table above has the joint map of the first"
        yield from (f"  {line}" for line in arms_table(demonstrations, robot).splitlines())


def _described_data(folders: Sequence[Path | str], demonstrations: Demonstrations) -> dict[str, Any]:
    """The data of a training, for its provenance."""
    described: dict[str, Any] = {
        "folder": str(folders[0]), "episodes": demonstrations.episodes, "frames": len(demonstrations),
    }  # fmt: skip
    if demonstrations.arms:
        described["arms"] = {
            name: str(folder) for name, folder in zip(demonstrations.arm_names, folders, strict=True)
        }
    return described


def load_matched(
    data: Path | str | Sequence[Path | str],
    policy: PolicyConfig,
    train_config: TrainConfig,
    *,
    robot: Robot | None = None,
    cameras: Mapping[str, Camera] | None = None,
    task: str | None = None,
    loading: Mapping[str, Any] | None = None,
) -> tuple[Robot | None, Demonstrations, Task | None]:
    """Load a data set for a policy, with the robot and the camera models that the policy needs.

    Args:
        data: folder of a LeRobotDataset v3.0, or several of arms of one model.
        policy, train_config: all choices.
        robot, cameras, task: as in `train_policy`.
        loading: further arguments of `ikp.load_dataset`.

    Returns:
        The robot (None for a policy without one), the demonstrations, and the simulated task of the data, of several
        arms that of the first.

    Raises:
        ValueError: the policy needs a robot and there is none, or uses none and there is one; the task is not
            registered; or several folders do not go together.
        DatasetError: as `ikp.load_dataset`.
    """
    folders, loading = folders_of(data), loading or {}
    names = names_of_arms(folders)
    hints = loading.get("hints") or MapHints()
    if len(folders) > 1 and not (loading.get("joint_map") is None and hints.is_empty):
        raise ValueError(
            "several data folders come with their own joint maps, which --joint-map, --units, --joints, --gripper and "
            "--ignore would replace: store the map of each in its folder, with the same options "
            "(`ikp data check FOLDER ... --store`)"
        )
    for folder in folders:
        read_info(Path(folder))  # a folder that is no data set is told before a missing robot
        _warn_of_a_deployment(Path(folder))
    warn_of_folders(folders)
    if robot is not None and policy.action_space == "raw":
        raise ValueError(
            "the method 'raw' takes actions as plain vectors and uses no robot: leave the robot out (--robot, "
            "--tips, --lock), or choose another method"
        )
    if robot is None and policy.action_space != "raw":
        robot = _robot_of(task_of_data(folders[0], task), folders[0])
    uses_cameras = policy.image_plane is not None or train_config.moved_scenes
    parts: dict[str, Demonstrations] = {}
    tasks: list[Task | None] = []
    for name, folder in zip(names, folders, strict=True):
        demonstrations = load_dataset(folder, robot=robot, **loading)
        tasks.append(task_of_data(folder, task, "pixels" if demonstrations.spec.camera_names else "state"))
        known = _camera_models(folder, demonstrations, tasks[-1]) if uses_cameras else {}
        spec = demonstrations.spec
        models = {**spec.cameras, **known, **(cameras or {})}
        parts[name] = replace(demonstrations, spec=replace(spec, cameras=models))
    _check_one_task(names, tasks)
    every = pooled(parts, robot)
    if uses_cameras:
        _check_cameras(parts, every)
    return robot, every, tasks[0]


def is_from_bench(folder: Path | str) -> bool:
    """Whether a person recorded a data set on a bench (`ikp record`)."""
    return RECORDING in _extra_facts(Path(folder))


def _extra_facts(folder: Path) -> Mapping[str, Any]:
    """The extra facts of a data set; none for one from elsewhere."""
    return read_description(folder)["extra"] if (folder / IKP_PATH).exists() else {}


def _warn_of_a_deployment(folder: Path) -> None:
    """Warn where a data set holds what a policy did itself."""
    if DEPLOYMENT in _extra_facts(folder):
        warnings.warn(
            f"{folder} holds a policy's episodes (`ikp deploy`), failures included, and no demonstrations: a policy "
            "that is trained on them repeats them",
            stacklevel=3,
        )


def _camera_models(
    folder: Path | str, demonstrations: Demonstrations, task: Task | None
) -> Mapping[str, Camera]:
    """Models of the cameras of a simulated task's data where the data set describes none."""
    spec = demonstrations.spec
    if task is None or spec.cameras or not spec.camera_names:
        return {}
    with _named(folder):
        return task.cameras(spec.camera_names)


def _check_one_task(names: Sequence[str], tasks: Sequence[Task | None]) -> None:
    """Refuse data of several simulated tasks."""
    ids = [None if task is None else task.env_id for task in tasks]
    for name, env_id in zip(names, ids, strict=True):
        if env_id != ids[0]:
            raise ValueError(
                f"{names[0]} was collected in the task {ids[0]}, {name} in {env_id}: train on the data of one task"
            )


def _check_cameras(parts: Mapping[str, Demonstrations], every: Demonstrations) -> None:
    """Refuse cameras that stand elsewhere in the data of another arm."""
    lost = sorted({name for part in parts.values() for name in part.spec.cameras} - set(every.spec.cameras))
    if lost:
        raise ValueError(
            f"the models of the cameras {', '.join(lost)} are not the same in {', '.join(parts)}, and the image plane "
            "and moved scenes need one: give a model for all (--camera NAME=FILE), or leave both out (--image-plane "
            "False --moved-scenes False)"
        )


def robot_of_data(data: Path | str) -> Robot | None:
    """The robot of the simulated task in which a data set was collected; None for data from elsewhere.

    Raises:
        ValueError: the task is not registered, or takes other options.
    """
    task = task_of_data(data)
    return None if task is None else _robot_of(task, data)


def _robot_of(task: Task | None, data: Path | str) -> Robot:
    if task is None:
        raise ValueError(
            f"{data} brings no model of its robot: give --robot (a URDF or MJCF file, or a built-in one), or use "
            "--method raw"
        )
    with _named(data):
        return task.robot()


@contextmanager
def _named(source: Path | str) -> Iterator[None]:
    """Let an error in the block name the data set or the file whose task it is about."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{source} names a task: {error}") from error


def policy_provenance(path: Path | str) -> dict[str, Any]:
    """The provenance stored with a policy: recipe, method, data, task, training; empty where there is none.

    Args:
        path: folder of a policy or of a run.

    Raises:
        FileNotFoundError: the folder has no policy.
        ValueError: it is damaged.
    """
    file, fix = complete_folder(path, [CONFIG_FILE]) / CONFIG_FILE, AGAIN
    stored = read_json(file, fix=fix, keys={"provenance": dict})["provenance"]
    values = {"recipe": None, "task": None, **stored}
    check_keys(values, {"recipe": (str, NoneType), "task": (dict, NoneType)}, f"{file}: provenance", fix=fix)
    if values["task"]:
        check_keys(values["task"], {"env_id": str, "env_kwargs": dict}, f"{file}: task", fix=fix)
    return stored


def evaluate_policy(
    path: Path | str,
    *,
    joint_map: Path | str | None = None,
    episodes: int | None = None,
    seed: int = 0,
    task: str | None = None,
    env_kwargs: Mapping[str, Any] | None = None,
    video: Path | str | None = None,
    video_episodes: int = 9,
    render_kwargs: Mapping[str, Any] | None = None,
    out: Path | str | None = None,
) -> dict[str, Any]:
    """Evaluate a saved policy on the task of its demonstrations, or on another one.

    Args:
        path: folder of a policy or of a run.
        joint_map: joint map of the arm in the task, in place of the policy's own.
        episodes: unseen episodes; by default as many as the policy's recipe says.
        seed, video, video_episodes: as in `ikp.evaluate`.
        task: name or id, where the policy stores no task or another one is meant.
        env_kwargs: options of the task that replace the stored ones.
        render_kwargs: options that affect only the video, not kept in the result.
        out: a JSON file for the result.

    Returns:
        `summary` (see `summarize`), the evaluation with all its episodes, the policy's own provenance as `policy` and
        that of this evaluation as `provenance`.

    Raises:
        FileNotFoundError, ValueError: no policy, no task, one that is not registered, or they do not fit.
        OSError: `out` or `video` cannot be written; this is checked before the rollouts.
    """
    for file in (out, video):
        if file is not None:
            writable_file(file)
    folder = policy_folder(path)
    policy = load_policy(folder, joint_map=joint_map)
    trained = policy_provenance(folder)
    known = trained.get("task") or {}
    if task is None and not known:
        names = ", ".join(entry.name for entry in registered_tasks())
        raise ValueError(
            f"{folder} stores no task, because its data name none: give the environment's (task= or --task, one of "
            f"{names}, or a Gymnasium id), or let the policy act on your robot with policy.select_action"
        )
    stored = folder / CONFIG_FILE
    env_id = check_stored_id(known.get("env_id"), stored) if task is None else gymnasium_id(task)
    same_task = env_id.rpartition(":")[2] == known.get("env_id")
    kwargs = {**(known["env_kwargs"] if same_task else {}), **(env_kwargs or {})}
    # options of the user's own are no fault of the file
    if same_task and not env_kwargs:
        with _named(stored):
            make_environment(env_id, kwargs, disable_env_checker=True).close()
    if episodes is None:
        episodes = RECIPES.get(trained.get("recipe") or "", STANDARD).episodes
    result = evaluate(
        env_id,
        policy,
        episodes=episodes,
        seed=seed,
        env_kwargs={**kwargs, **(render_kwargs or {})},
        video=video,
        video_episodes=video_episodes,
    )
    values = {**result.to_json(), "env_kwargs": kwargs}
    values = {"summary": summarize(values), **values, "policy": trained, "provenance": provenance()}
    if joint_map is not None:
        values["joint_map"] = str(joint_map)
    if out is not None:
        write_json(out, values)
    return values
