"""One training or one evaluation from folders on disk: what the command line, the demo and the tables share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ikp.data import load_dataset
from ikp.data.layout import IKP_PATH
from ikp.data.metadata import read_description
from ikp.files import read_json, write_json
from ikp.kinematics import Camera, Robot
from ikp.policies import PolicyConfig, load_policy, make_policy
from ikp.policies.checkpoint import CONFIG_FILE
from ikp.provenance import origin
from ikp.recipes import check_method
from ikp.rollouts.evaluate import evaluate
from ikp.rollouts.summary import summarize
from ikp.tasks.registry import check_stored_id, gymnasium_id, registered_tasks, task_entry
from ikp.training.config import TrainConfig
from ikp.training.trainer import Callback, TrainResult, train


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
        """Models of some of the task's cameras, those of the observation if not given."""
        with self._environment(observation="pixels") as env:
            return {name: env.camera(name) for name in (env.camera_names if names is None else names)}

    def true_offsets(self) -> list[float]:
        """The joint offsets of the simulated robot, q_true - q_measured [rad]."""
        with self._environment(observation="state") as env:
            return env.miscalibration.q_offset.tolist()

    @contextmanager
    def _environment(self, **changes: Any) -> Iterator[Any]:
        import gymnasium

        env = gymnasium.make(self.env_id, disable_env_checker=True, **{**self.env_kwargs, **changes})
        try:
            yield env.unwrapped
        finally:
            env.close()


def task_of_data(root: Path | str, name: str | None = None) -> Task | None:
    """The simulated task that a data set was collected in; None for data from elsewhere.

    Args:
        root: folder of the data set.
        name: name or id that replaces the one in the data set; "module:id" imports the module that registers the task.

    Raises:
        ValueError: the task is not registered.
    """
    path = Path(root) / IKP_PATH
    collection = (read_description(Path(root))["extra"].get("collection") if path.exists() else None) or {}
    if not collection and name is None:
        return None
    env_id = check_stored_id(collection.get("env_id"), path) if name is None else task_entry(name).env_id
    return Task(env_id, dict(collection.get("env_kwargs", {})))


def train_policy(
    data: Path | str,
    out: Path | str,
    *,
    method: str,
    policy: PolicyConfig,
    train_config: TrainConfig,
    episodes: int | None = None,
    robot: Robot | None = None,
    cameras: Mapping[str, Camera] | None = None,
    task: str | None = None,
    resume: bool = False,
    callback: Callback | None = None,
) -> TrainResult:
    """Train a policy on a data set's folder; the result in `out/policy` knows its task and where it comes from.

    Args:
        data: folder of a LeRobotDataset v3.0.
        out: folder of the run.
        method: the name that the result goes by (`ikp.recipes.METHOD_NAMES`).
        policy, train_config: the recipe; `train_config.seed` also draws the weights.
        episodes: use only the first ones.
        robot: kinematic model of data from elsewhere; data of a simulated task bring their own.
        cameras: models of cameras that the data set does not describe, or describes wrongly, by name.
        task: name or id of the simulated task, where the data set names none or one that is not registered;
            "module:id" imports the module that registers it.
        resume, callback: as in `ikp.train`.

    Raises:
        ValueError: policy and method contradict each other, or a robot is needed and unknown.
        DatasetError, FileExistsError, FloatingPointError: as `ikp.load_dataset` and `ikp.train`.
    """
    check_method(method, policy)
    if not resume and (Path(out) / "state").exists():
        raise FileExistsError(
            f"{out} holds a run already: continue it with --resume, or choose another folder"
        )
    demonstrations = load_dataset(data, episodes=episodes)
    simulated = task_of_data(data, task)
    spec = demonstrations.spec
    needs_cameras = bool(spec.camera_names) and (policy.has_image_plane or train_config.moves_scenes)
    if needs_cameras and simulated is not None and not spec.cameras:  # collected before they were described
        spec = replace(spec, cameras=simulated.cameras(spec.camera_names))
    if cameras:
        spec = replace(spec, cameras={**spec.cameras, **cameras})
    if robot is None and policy.action_space != "raw":
        robot = _robot_of(simulated, data)
    torch.manual_seed(train_config.seed)
    new = make_policy(robot if policy.action_space != "raw" else None, spec, policy)
    described = {
        "method": method,
        "data": {"folder": str(data), "episodes": demonstrations.episodes, "frames": len(demonstrations)},
        "task": vars(simulated) if simulated else None,
        **origin(),
    }
    return train(
        new, demonstrations, train_config, out=out, resume=resume, callback=callback, origin=described
    )


def _robot_of(task: Task | None, data: Path | str) -> Robot:
    if task is None:
        raise ValueError(
            f"{data} does not say which robot it is of: give --robot (a URDF or MJCF), or use --method raw"
        )
    return task.robot()


def policy_folder(path: Path | str) -> Path:
    """The folder with the policy: `path` itself, or the `policy` of a run's folder."""
    path = Path(path)
    inner = path / "policy"
    return inner if not (path / CONFIG_FILE).is_file() and (inner / CONFIG_FILE).is_file() else path


def policy_origin(path: Path | str) -> dict[str, Any]:
    """What a saved policy says about its training; empty where it says nothing."""
    return read_json(policy_folder(path) / CONFIG_FILE).get("origin", {})


def evaluate_policy(
    path: Path | str,
    *,
    episodes: int,
    seed: int = 0,
    task: str | None = None,
    env_kwargs: Mapping[str, Any] | None = None,
    video: Path | str | None = None,
    video_episodes: int = 9,
    render_kwargs: Mapping[str, Any] | None = None,
    out: Path | str | None = None,
) -> dict[str, Any]:
    """Evaluate a saved policy on its own task, or another one.

    Args:
        path: folder of a policy or of a run.
        episodes, seed, video, video_episodes: as in `ikp.evaluate`.
        task: name or id, where the policy does not know its task or another one is meant.
        env_kwargs: options of the task that replace the policy's own.
        render_kwargs: options that matter for the video alone, not kept in the result.
        out: a JSON file for the result.

    Returns:
        `summary` (see `summarize`), the evaluation with all its episodes, the policy's own origin and that of
        this evaluation.

    Raises:
        FileNotFoundError, ValueError: no policy, no task, one that is not registered, or they do not fit.
    """
    folder = policy_folder(path)
    policy = load_policy(folder)
    trained = policy_origin(folder)
    known = trained.get("task") or {}
    if task is None and not known:
        names = ", ".join(entry.name for entry in registered_tasks())
        raise ValueError(f"{folder} does not know its task: give --task (one of {names}, or a Gymnasium id)")
    config = folder / CONFIG_FILE
    env_id = check_stored_id(known.get("env_id"), config) if task is None else gymnasium_id(task)
    same_task = env_id.rpartition(":")[2] == known.get("env_id")
    kwargs = {**(known["env_kwargs"] if same_task else {}), **(env_kwargs or {})}
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
    values = {"summary": summarize(values), **values, "policy": trained, "origin": origin()}
    if out is not None:
        write_json(out, values)
    return values
