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
from ikp.training.config import TrainConfig
from ikp.training.trainer import Callback, TrainResult, train

TASKS = {
    "insertion": "ikp/Insertion-v0",
    "sweeping": "ikp/BimanualSweeping-v0",
    "flipping": "ikp/BimanualFlipping-v0",
    "sweeping-miscalibrated": "ikp/BimanualSweepingMiscalibrated-v0",
}
"""Short names of the simulated tasks."""


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

        import ikp.tasks  # noqa: F401  (registers the environments)

        env = gymnasium.make(self.env_id, disable_env_checker=True, **{**self.env_kwargs, **changes})
        try:
            yield env.unwrapped
        finally:
            env.close()


def task_id(name: str) -> str:
    """The Gymnasium id of a short name; an id passes as it is.

    Raises:
        ValueError: neither.
    """
    if name in TASKS:
        return TASKS[name]
    if "/" in name or ":" in name:
        return name
    raise ValueError(
        f"task is {name!r}: choose one of {', '.join(TASKS)}, or give a Gymnasium id such as ikp/Insertion-v0"
    )


def task_options(env_id: str) -> dict[str, Any]:
    """Options of a task as the paper means it: insertion on a miscalibrated robot, all others as registered."""
    return {"offset_seed": 0} if env_id == TASKS["insertion"] else {}


def task_of_data(root: Path | str) -> Task | None:
    """The simulated task that a data set was collected in; None for data from elsewhere."""
    root = Path(root)
    if not (root / IKP_PATH).exists():
        return None
    collection = read_description(root)["extra"].get("collection")
    return Task(collection["env_id"], dict(collection["env_kwargs"])) if collection else None


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
    task = task_of_data(data)
    spec = demonstrations.spec
    needs_cameras = bool(spec.camera_names) and (policy.has_image_plane or train_config.moves_scenes)
    if needs_cameras and task is not None and not spec.cameras:  # collected before they were described
        spec = replace(spec, cameras=task.cameras(spec.camera_names))
    if cameras:
        spec = replace(spec, cameras={**spec.cameras, **cameras})
    if robot is None and policy.action_space != "raw":
        robot = _robot_of(task, data)
    torch.manual_seed(train_config.seed)
    new = make_policy(robot if policy.action_space != "raw" else None, spec, policy)
    described = {
        "method": method,
        "data": {"folder": str(data), "episodes": demonstrations.episodes, "frames": len(demonstrations)},
        "task": vars(task) if task else None,
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
        FileNotFoundError, ValueError: no policy, no task, or they do not fit.
    """
    folder = policy_folder(path)
    policy = load_policy(folder)
    trained = policy_origin(folder)
    known = trained.get("task") or {}
    if task is None and not known:
        raise ValueError(
            f"{folder} does not know its task: give --task (one of {', '.join(TASKS)}, or a Gymnasium id)"
        )
    env_id = known["env_id"] if task is None else task_id(task)
    same_task = env_id == known.get("env_id")
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
