"""Collect demonstrations of a scripted expert with all cores; interrupted at any moment, it continues.

Episode i depends on `seed` + i alone, so the data set is the same for any number of workers and however often
the collection was interrupted, and its first n episodes are the data set of n episodes.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ikp.checks import whole_number
from ikp.children import DRAWS_ALONE, ONE_THREAD, starting_with
from ikp.cores import usable_cores
from ikp.data import DatasetError, DatasetWriter, EncodedEpisode, EpisodeRecorder
from ikp.rollouts.environments import succeeded
from ikp.spec import DataSpec
from ikp.tasks.registry import TaskEntry, make_environment, register_task, task_entry

MAX_ATTEMPTS = 20
"""Attempts at one episode before the collection fails."""

MOST_EPISODES, MOST_WORKERS = 10_000_000, 512
"""Largest numbers of episodes and of processes; larger ones are typing errors."""


class CollectionInterrupted(KeyboardInterrupt):
    """The user stopped the collection; the message says how to continue."""


@dataclass(frozen=True)
class CollectionReport:
    """Report of a collection.

    Attributes:
        root: folder of the data set.
        episodes: episodes in the data set now.
        frames: frames in the data set now.
        collected: episodes added by this call.
        attempts: episodes simulated by this call, failures included.
        seconds: duration of this call, the start of the workers included.
    """

    root: Path
    episodes: int
    frames: int
    collected: int
    attempts: int
    seconds: float

    @property
    def episodes_per_second(self) -> float:
        """Rate of this call."""
        return self.collected / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True)
class _Task:
    """Settings that determine the episodes, apart from their index."""

    env_id: str
    env_kwargs: dict[str, Any]
    seed: int
    perturbation: float
    keep_failures: bool
    expert_kwargs: dict[str, Any]


def collect(
    env_id: str,
    root: str | Path,
    episodes: int,
    *,
    seed: int = 0,
    env_kwargs: Mapping[str, Any] | None = None,
    perturbation: float = 0.0,
    expert_kwargs: Mapping[str, Any] | None = None,
    keep_failures: bool = False,
    workers: int | None = None,
    task: str = "",
    progress: bool = True,
) -> CollectionReport:
    """Fill a data set up to a number of episodes, each the observations and the expert's clean actions.

    A failed episode is replaced by another one drawn from the same seed and the number of the attempt, so
    only successful demonstrations are kept, and still each depends on its own seed alone.

    Args:
        env_id: name or Gymnasium id of a task with an expert (`ikp.tasks.registered_tasks`); "module:id" first
            imports a module that registers its own.
        root: folder of the data set. If it holds one of the same settings, only what is missing is collected.
        episodes: number of episodes the data set has in the end.
        seed: episode i starts from the environment's seed `seed` + i.
        env_kwargs: arguments of the environment, of types that JSON can hold.
        perturbation: strength of the disturbance of the executed actions; the recorded ones stay clean.
        expert_kwargs: further arguments of the expert, of such types too.
        keep_failures: record failed episodes too, with next.success false throughout.
        workers: processes; one for each usable core if not given. With 1 all happens in this process.
        task: description of the task in words; the environment's id if not given.
        progress: show a bar.

    Raises:
        ValueError: an argument is not usable, also by the expert, or the task is unknown or has no expert.
        DatasetError: the folder holds other data or the data set was collected with other settings.
        RuntimeError: a worker died, the simulation raised an error or the expert keeps failing; what was
            finished is kept and the same call continues.
        CollectionInterrupted: Ctrl-C; what was finished is kept and the same call continues.
    """
    start = time.perf_counter()
    workers = usable_cores() if workers is None else workers
    for name, value, (low, high) in (
        ("episodes", episodes, (1, MOST_EPISODES)),
        ("workers", workers, (1, MOST_WORKERS)),
        ("seed", seed, (0, 2**32 - 1)),
    ):
        whole_number(name, value, low, high)
    kwargs, expert = _plain(env_kwargs or {}, "env_kwargs"), _plain(expert_kwargs or {}, "expert_kwargs")
    entry = task_entry(env_id)
    settings = _Task(entry.env_id, kwargs, seed, float(perturbation), keep_failures, expert)
    simulation = _Simulation(settings, entry)
    writer = _open_writer(Path(root), settings, simulation, task or entry.env_id)
    first, attempts = writer.episodes, 0
    indices = range(first, episodes)
    done = min(first, episodes)
    bar = tqdm(total=episodes, initial=done, desc="collecting", unit="episode", disable=not progress)
    produced = _produce(settings, entry, simulation, indices, workers)
    try:
        with writer, bar, contextlib.closing(produced):
            for episode in produced:
                writer.write_episode(episode)
                attempts += episode.info["attempt"] + 1
                bar.update()
    except KeyboardInterrupt:
        raise CollectionInterrupted(_how_to_continue(writer.root, episodes)) from None
    except RuntimeError as error:
        raise RuntimeError(f"{error}. {_how_to_continue(writer.root, episodes)}") from error
    finally:
        simulation.env.close()
    seconds = time.perf_counter() - start
    return CollectionReport(writer.root, writer.episodes, writer.frames, len(indices), attempts, seconds)


def _how_to_continue(root: Path, episodes: int) -> str:
    # An interrupt can fall between a data file and its metadata; opening the folder puts that right.
    with DatasetWriter.reopen(root) as writer:
        finished = f"{writer.episodes} of {episodes} episodes are finished in {root}"
    return f"{finished}: run the same again to continue"


def _plain(values: Mapping[str, Any], what: str) -> dict[str, Any]:
    try:
        return json.loads(json.dumps(dict(values)))
    except TypeError as error:
        raise ValueError(f"{what} {dict(values)} cannot be stored as JSON: {error}") from error


def _open_writer(root: Path, settings: _Task, simulation: _Simulation, task: str) -> DatasetWriter:
    collection = vars(settings)
    robot = simulation.robot
    units = _joint_units(robot, simulation.spec)
    model = {"name": robot.name, "joint_names": list(robot.joint_names), "tip_names": list(robot.tip_names)}
    extra = {"collection": collection, "robot": model}
    writer = DatasetWriter(root, simulation.spec, robot_type=robot.name, task=task, units=units, extra=extra)
    stored = {"expert_kwargs": {}, **writer.extra.get("collection", {})}  # data of before it existed
    changed = {key: (stored.get(key), now) for key, now in collection.items() if stored.get(key) != now}
    if changed:
        different = [f"{key} was {before!r}, is {now!r}" for key, (before, now) in changed.items()]
        writer.close()
        raise DatasetError(
            f"{root} was collected with other settings ({'; '.join(different)}): use the same or a new folder"
        )
    return writer


def _joint_units(robot: Any, spec: DataSpec) -> dict[str, list[str]]:
    kinds = {"prismatic": "m"}
    units = [""] * spec.action_dim
    for dim, kind in zip(spec.joint_dims, robot.joint_types, strict=True):
        units[dim] = kinds.get(kind, "rad")
    same = len(units) == spec.state_dim
    return {"action": units} | ({"observation.state": units} if same else {})


def _produce(
    settings: _Task, entry: TaskEntry, simulation: _Simulation, indices: range, workers: int
) -> Generator[EncodedEpisode, None, None]:
    """The episodes in order."""
    workers = min(workers, len(indices))
    if workers <= 1:
        yield from map(simulation.episode, indices)
        return
    context = multiprocessing.get_context("spawn")  # a fork would share OpenGL and threads with its parent
    pool = ProcessPoolExecutor(
        workers, mp_context=context, initializer=_start_worker, initargs=(settings, entry)
    )
    try:
        pending: deque[Future[EncodedEpisode]] = deque()
        with _children_start_quietly():
            pending.append(pool.submit(_run_episode, indices[0]))
        for index in indices[1:]:
            pending.append(pool.submit(_run_episode, index))
            if len(pending) > 2 * workers:  # enough to keep all busy, little to lose
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    except BrokenProcessPool as error:
        raise RuntimeError(
            "a worker process died (killed, out of memory, a crash of the simulation, or the calling script "
            "lacks `if __name__ == '__main__':`)"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _children_start_quietly() -> Iterator[None]:
    """Processes started here use one thread each and leave Ctrl-C to their parent."""
    main = threading.current_thread() is threading.main_thread()
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN) if main else None
    try:
        with starting_with({**ONE_THREAD, **DRAWS_ALONE}):
            yield
    finally:
        if main:
            signal.signal(signal.SIGINT, handler)


_worker: _Simulation | None = None
"""The simulation of this worker process."""


def _start_worker(settings: _Task, entry: TaskEntry) -> None:
    global _worker  # noqa: PLW0603 - a pool's initializer has no other way to hand something to its tasks
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    register_task(entry)  # this process may not import the module that registered it in the parent
    _worker = _Simulation(settings, entry)


def _end_with_parent() -> None:
    # A killed parent cannot tell its workers, and they would wait for tasks for ever.
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _run_episode(index: int) -> EncodedEpisode:
    assert _worker is not None
    return _worker.episode(index)


class _Simulation:
    """An environment with its expert, in one process."""

    def __init__(self, settings: _Task, entry: TaskEntry) -> None:
        self._settings = settings
        self._make_expert = entry.expert_class()
        self.env = make_environment(settings.env_id, settings.env_kwargs, disable_env_checker=True)
        try:  # before anything is written
            self._expert(np.random.default_rng(0))
        except TypeError as error:
            raise ValueError(
                f"expert_kwargs {settings.expert_kwargs} do not fit the expert: {error}"
            ) from error
        self.spec = _spec_of(self.env, settings.env_id)
        self.robot = self.env.get_wrapper_attr("robot")

    def episode(self, index: int) -> EncodedEpisode:
        """Simulate episode `index`, again after a failure unless failures are kept.

        Raises:
            RuntimeError: the simulation raised an error, or the expert failed every attempt.
        """
        for attempt in range(MAX_ATTEMPTS):
            seed = _attempt_seed(self._settings.seed + index, attempt)
            try:
                episode = self._attempt(seed, attempt)
            except Exception as error:
                raise RuntimeError(f"episode {index} (environment seed {seed}) failed: {error!r}") from error
            if episode.success or self._settings.keep_failures:
                return episode
        raise RuntimeError(
            f"the expert failed {MAX_ATTEMPTS} times in a row at episode {index}: check the task, lower the "
            "perturbation or use keep_failures"
        )

    def _attempt(self, seed: int, attempt: int) -> EncodedEpisode:
        observation, _ = self.env.reset(seed=seed)
        rng = np.random.default_rng((seed, 0x0AC1E))  # apart from the environment's own stream
        expert = self._expert(rng)
        recorder = EpisodeRecorder(self.spec)
        done = False
        while not done:
            action = expert.action()
            following, reward, terminated, truncated, info = self.env.step(expert.perturb(action))
            done, success = bool(terminated or truncated), succeeded(info)
            recorder.add(self._frame(observation), action, reward=float(reward), done=done, success=success)
            observation = following
        return recorder.finish(info={"seed": seed, "attempt": attempt})

    def _expert(self, rng: np.random.Generator) -> Any:
        return self._make_expert(self.env, rng, self._settings.perturbation, **self._settings.expert_kwargs)

    def _frame(self, observation: Mapping[str, np.ndarray]) -> dict[str, Any]:
        cameras = self.spec.camera_names
        return {**observation, "images": {cameras[0]: observation["image"]}} if cameras else dict(observation)


def _attempt_seed(seed: int, attempt: int) -> int:
    return seed if attempt == 0 else int(np.random.SeedSequence((seed, attempt)).generate_state(1)[0])


def _spec_of(env: Any, env_id: str) -> DataSpec:
    """The specification of a task's episodes, from the attributes that name its dimensions.

    Raises:
        ValueError: an attribute is missing, or the observation is none that can be recorded.
    """
    base, spaces = env.unwrapped, getattr(env.observation_space, "spaces", {})
    needed = ["robot", "action_names", "state_names", "joint_dims", "discrete_dims", "control_dt"]
    needed += ["camera_names"] * ("image" in spaces)
    needed += ["environment_state_names"] * ("environment_state" in spaces)
    missing = [name for name in needed if not hasattr(base, name)]
    if missing or "state" not in spaces:
        lacks = f"has no attributes {', '.join(missing)}" if missing else f"observes {[*spaces]}"
        raise ValueError(
            f"{env_id} {lacks}: a task that is collected has the attributes {', '.join(needed)}, and a dictionary of "
            "'state' with 'image' or 'environment_state' as observation; or record any loop "
            "with ikp.Recorder (docs/own_environment.md)"
        )
    shapes = {base.camera_names[0]: spaces["image"].shape} if "image" in spaces else {}
    return DataSpec(
        action_names=base.action_names,
        state_names=base.state_names,
        environment_state_names=base.environment_state_names if "environment_state" in spaces else (),
        image_shapes=shapes,
        fps=1.0 / base.control_dt,
        joint_dims=base.joint_dims,
        discrete_dims=base.discrete_dims,
        cameras={name: base.camera(name) for name in shapes if hasattr(base, "camera")},
    )
