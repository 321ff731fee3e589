"""Simulated tasks as Gymnasium environments with scripted experts; importing this package registers them.

`registry` lists the tasks and every fact about them. Environments and experts are imported, and with them MuJoCo,
when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ikp.tasks.registry import (
    TaskEntry,
    check_stored_id,
    gymnasium_id,
    register_task,
    registered_tasks,
    task_entry,
)

if TYPE_CHECKING:
    from ikp.tasks.alignment.environment import BlockAlignmentEnv
    from ikp.tasks.alignment.expert import BlockAlignmentExpert
    from ikp.tasks.base import ArmTask
    from ikp.tasks.flipping.environment import FlippingEnv
    from ikp.tasks.flipping.expert import FlippingExpert
    from ikp.tasks.insertion.environment import InsertionEnv
    from ikp.tasks.insertion.expert import InsertionExpert
    from ikp.tasks.miscalibration import Miscalibration
    from ikp.tasks.sorting.environment import SortAndSweepEnv
    from ikp.tasks.sorting.expert import SortAndSweepExpert
    from ikp.tasks.sweeping.environment import SweepingEnv
    from ikp.tasks.sweeping.expert import SweepingExpert
    from ikp.tasks.two_elbows.environment import TwoElbowsEnv
    from ikp.tasks.two_elbows.expert import TwoElbowsExpert

__all__ = [
    "ArmTask",
    "BlockAlignmentEnv",
    "BlockAlignmentExpert",
    "FlippingEnv",
    "FlippingExpert",
    "InsertionEnv",
    "InsertionExpert",
    "Miscalibration",
    "SortAndSweepEnv",
    "SortAndSweepExpert",
    "SweepingEnv",
    "SweepingExpert",
    "TaskEntry",
    "TwoElbowsEnv",
    "TwoElbowsExpert",
    "check_stored_id",
    "gymnasium_id",
    "register_task",
    "registered_tasks",
    "task_entry",
]

_HOMES = {
    "ArmTask": "ikp.tasks.base",
    "BlockAlignmentEnv": "ikp.tasks.alignment.environment",
    "BlockAlignmentExpert": "ikp.tasks.alignment.expert",
    "FlippingEnv": "ikp.tasks.flipping.environment",
    "FlippingExpert": "ikp.tasks.flipping.expert",
    "InsertionEnv": "ikp.tasks.insertion.environment",
    "InsertionExpert": "ikp.tasks.insertion.expert",
    "Miscalibration": "ikp.tasks.miscalibration",
    "SortAndSweepEnv": "ikp.tasks.sorting.environment",
    "SortAndSweepExpert": "ikp.tasks.sorting.expert",
    "SweepingEnv": "ikp.tasks.sweeping.environment",
    "SweepingExpert": "ikp.tasks.sweeping.expert",
    "TwoElbowsEnv": "ikp.tasks.two_elbows.environment",
    "TwoElbowsExpert": "ikp.tasks.two_elbows.expert",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ikp.tasks' has no attribute {name!r}; it has {', '.join(__all__)}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
