"""The registry of simulated tasks: one entry per task holds every fact about it.

Importing this module registers the environments with Gymnasium and imports none of them: classes are named by
strings and loaded on first use.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import gymnasium

METRICS = ("success", "score")


@dataclass(frozen=True)
class TaskEntry:
    """A simulated task: its names, its classes and the facts that data collection, training and tables need.

    Attributes:
        name: short name for the command line and for files, such as `insertion`.
        env_id: Gymnasium id, such as `ikp/Insertion-v0`.
        title: words for headings.
        environment: environment class, or "module:Class".
        expert: class of the scripted expert, or "module:Class"; called with (env, rng, perturbation) and options of
            its own, it has the methods `action()` and `perturb(action)`. None for a task without an expert.
        kwargs: arguments of the environment that are part of its registration.
        options: further arguments of the environment that give the task as the paper means it.
        metric: the result that is averaged over episodes: `success`, or the graded `score` of `info`; both 0 to 1.
        frames: approximate frames of one demonstration, for estimates of memory.
        repeats: factor of a recipe's number of demonstrations, for a task whose demonstrations are single frames.
        disturbed: whether a recipe's disturbance is applied while demonstrations are recorded. It needs an expert that
            recovers within the episode: most disturbed episodes of sweeping reach the step limit.
        movable: whether training may turn and shift recorded scenes on the table (`ikp.training.scene_motion`). Only
            tip poses follow such a motion, so no other link may touch an object; in flipping the elbows do.
        noisy_state: whether training adds noise to the measured joints (`ikp.training.state_noise`). Flipping, whose
            demonstrations do not show the way back, gains 13 points by it; insertion, which needs joints more precise
            than its images show them, loses most successes. Not measured for the other tasks.
        max_episode_steps: steps after which Gymnasium truncates an episode; None for no limit.

    Raises:
        ValueError: the name or id cannot be told apart from the other, or the metric is unknown.
    """

    name: str
    env_id: str
    title: str
    environment: str | Callable[..., Any]
    expert: str | Callable[..., Any] | None = None
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    metric: str = "success"
    frames: int = 100
    repeats: int = 1
    disturbed: bool = False
    movable: bool = False
    noisy_state: bool = False
    max_episode_steps: int | None = None

    def __post_init__(self) -> None:
        if "/" in self.name or ":" in self.name or ":" in self.env_id:
            raise ValueError(
                f"task {self.name!r} with id {self.env_id!r}: a name has no '/' or ':', an id no ':' "
                "(such as insertion and ikp/Insertion-v0)"
            )
        if self.metric not in METRICS:
            raise ValueError(f"metric is {self.metric!r}: choose one of {', '.join(METRICS)}")

    def expert_class(self) -> Callable[..., Any]:
        """The class of the scripted expert, imported if necessary.

        Raises:
            ValueError: the task has no expert.
        """
        if self.expert is None:
            others = ", ".join(entry.name for entry in registered_tasks() if entry.expert is not None)
            raise ValueError(f"task {self.name!r} has no scripted expert: there is one for {others}")
        return _loaded(self.expert) if isinstance(self.expert, str) else self.expert


_entries: dict[str, TaskEntry] = {}
"""Entries by Gymnasium id, in order of registration."""


def register_task(entry: TaskEntry) -> None:
    """Add a task to the registry and its environment to Gymnasium; a task of the same name and id is replaced.

    Raises:
        ValueError: another task has the name or the id.
    """
    for other in _entries.values():
        if (other.name == entry.name) != (other.env_id == entry.env_id):
            raise ValueError(
                f"task {entry.name!r} with id {entry.env_id!r}: {other.name!r} with id {other.env_id!r} is "
                "registered already; choose another name and another id"
            )
    _entries[entry.env_id] = entry
    gymnasium.registry.pop(entry.env_id, None)
    gymnasium.register(
        entry.env_id,
        entry_point=entry.environment,
        max_episode_steps=entry.max_episode_steps,
        kwargs=dict(entry.kwargs),
    )


def registered_tasks() -> tuple[TaskEntry, ...]:
    """All registered tasks, in order of registration."""
    return tuple(_entries.values())


def task_entry(name_or_id: str) -> TaskEntry:
    """The entry of a task by its short name or Gymnasium id.

    An id may have the form "module:id", as in `gymnasium.make`: the module is imported first and has to call
    `register_task`. An id that was read from a file goes through `check_stored_id` instead.

    Raises:
        ValueError: no such task is registered, or the module cannot be imported.
    """
    module, _, name = name_or_id.rpartition(":")
    if module:
        try:
            import_module(module)
        except ImportError as error:
            raise ValueError(f"task {name_or_id!r}: importing {module} failed: {error}") from error
    for entry in _entries.values():
        if name in (entry.name, entry.env_id):
            return entry
    raise ValueError(
        f"task is {name_or_id!r}: choose one of {_names()}, or give the id of a task of your own as module:id, "
        "where the module calls ikp.tasks.register_task; the loop of any environment is recorded with ikp.Recorder"
    )


def gymnasium_id(name_or_id: str) -> str:
    """The Gymnasium id of a task's short name; any Gymnasium id is returned as it is, registered here or not.

    Raises:
        ValueError: neither a known name nor an id.
    """
    for entry in _entries.values():
        if name_or_id == entry.name:
            return entry.env_id
    if "/" in name_or_id or ":" in name_or_id or name_or_id in gymnasium.registry:
        return name_or_id
    raise ValueError(
        f"task is {name_or_id!r}: choose one of {_names()}, or give a Gymnasium id such as ikp/Insertion-v0"
    )


def make_environment(env_id: str, kwargs: Mapping[str, Any], **options: Any) -> gymnasium.Env:
    """Make an environment.

    Args:
        env_id: Gymnasium id, of a task that is registered here or elsewhere.
        kwargs: arguments of the environment, which may come from a user or a file.
        options: further arguments of `gymnasium.make`.

    Raises:
        ValueError: there is no such environment, or it does not take these arguments.
    """
    try:
        return gymnasium.make(env_id, **options, **kwargs)
    except (gymnasium.error.Error, ImportError, TypeError) as error:
        reason = " ".join(str(error).split("\n")[0].split()) or type(error).__name__
        allowed = _option_names(env_id) if isinstance(error, TypeError) else ()
        if allowed and (unknown := [name for name in kwargs if name not in allowed]):
            reason = f"it has no option {', '.join(map(repr, unknown))}, but {', '.join(allowed)}"
        given = ", ".join(f"{name}={value!r}" for name, value in kwargs.items()) or "no options"
        raise ValueError(f"cannot make the environment {env_id!r} with {given}: {reason}") from error


def _option_names(env_id: str) -> tuple[str, ...]:
    """Names of the arguments that a registered environment takes; empty where it may take any."""
    entry = _entries.get(env_id)
    if entry is None:
        return ()
    made = _loaded(entry.environment) if isinstance(entry.environment, str) else entry.environment
    names: list[str] = []
    for base in inspect.getmro(made) if inspect.isclass(made) else (made,):
        if inspect.isclass(base) and "__init__" not in vars(base):
            continue
        parameters = inspect.signature(base).parameters.values()
        names += [
            each.name for each in parameters if each.kind not in (each.VAR_KEYWORD, each.VAR_POSITIONAL)
        ]
        if not any(each.kind is each.VAR_KEYWORD for each in parameters):
            return tuple(names)
    return ()


def check_stored_id(env_id: object, source: Path | str) -> str:
    """Check an environment id that was read from a file, before anything is made of it.

    Gymnasium imports the module of an id such as "module:id". A file must not choose a module to import, so such
    ids are refused, and so are ids of tasks that are not registered in this process.

    Args:
        env_id: value from the file.
        source: the file, for the message.

    Raises:
        ValueError: the id names a module or an unknown task.
    """
    if isinstance(env_id, str) and env_id in _entries:
        return env_id
    raise ValueError(
        f"{source} names the environment {env_id!r}, and from a file only registered tasks are accepted "
        f"({', '.join(_entries)}): for a task of your own give --task module:id, or import the module that "
        "calls ikp.tasks.register_task"
    )


def refuse_module(name_or_id: str, fix: str) -> None:
    """Refuse a task of the form "module:id" where it may come from a file, which must not choose a module to import.

    Args:
        name_or_id: name or id of a task.
        fix: what imports the module instead, for the message.

    Raises:
        ValueError: the task names a module.
    """
    if ":" in name_or_id:
        raise ValueError(
            f"task is {name_or_id!r}: an option that may come from a file names no module to import: {fix}, and give "
            "the name of the task alone"
        )


def _names() -> str:
    return ", ".join(entry.name for entry in _entries.values())


def _loaded(path: str) -> Any:
    """The object that "module:name" refers to."""
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)


_INSERTION, _SWEEPING, _FLIPPING, _TWO_ELBOWS, _ALIGNMENT, _SORTING = (
    f"ikp.tasks.{name}"
    for name in ("insertion", "sweeping", "flipping", "two_elbows", "alignment", "sorting")
)

for _entry in (
    TaskEntry(
        name="insertion",
        env_id="ikp/Insertion-v0",
        title="Insertion, miscalibrated",
        environment=f"{_INSERTION}.environment:InsertionEnv",
        expert=f"{_INSERTION}.expert:InsertionExpert",
        options={"offset_seed": 0},
        frames=31,
        disturbed=True,
        movable=True,
        max_episode_steps=80,
    ),
    TaskEntry(
        name="sweeping",
        env_id="ikp/BimanualSweeping-v0",
        title="Sweeping",
        environment=f"{_SWEEPING}.environment:SweepingEnv",
        expert=f"{_SWEEPING}.expert:SweepingExpert",
        metric="score",
        frames=240,
        max_episode_steps=350,
    ),
    TaskEntry(
        name="flipping",
        env_id="ikp/BimanualFlipping-v0",
        title="Flipping",
        environment=f"{_FLIPPING}.environment:FlippingEnv",
        expert=f"{_FLIPPING}.expert:FlippingExpert",
        metric="score",
        frames=90,
        noisy_state=True,
        max_episode_steps=180,
    ),
    TaskEntry(
        name="sweeping-miscalibrated",
        env_id="ikp/BimanualSweepingMiscalibrated-v0",
        title="Sweeping, miscalibrated",
        environment=f"{_SWEEPING}.environment:SweepingEnv",
        expert=f"{_SWEEPING}.expert:SweepingExpert",
        kwargs={"offset_seed": 0},
        metric="score",
        frames=240,
        max_episode_steps=350,
    ),
    TaskEntry(
        name="two-elbows",
        env_id="ikp/TwoElbows-v0",
        title="Two elbows",
        environment=f"{_TWO_ELBOWS}.environment:TwoElbowsEnv",
        expert=f"{_TWO_ELBOWS}.expert:TwoElbowsExpert",
        frames=1,
        repeats=5,
        max_episode_steps=1,
    ),
    TaskEntry(
        name="alignment",
        env_id="ikp/BlockAlignment-v0",
        title="Block alignment",
        environment=f"{_ALIGNMENT}.environment:BlockAlignmentEnv",
        expert=f"{_ALIGNMENT}.expert:BlockAlignmentExpert",
        frames=45,
        disturbed=True,
        movable=True,
        max_episode_steps=120,
    ),
    TaskEntry(
        name="sorting",
        env_id="ikp/SortAndSweep-v0",
        title="Sort and sweep",
        environment=f"{_SORTING}.environment:SortAndSweepEnv",
        expert=f"{_SORTING}.expert:SortAndSweepExpert",
        metric="score",
        frames=160,
        max_episode_steps=400,
    ),
):
    register_task(_entry)
