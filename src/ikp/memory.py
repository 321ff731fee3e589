"""How much memory is left."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

MEMINFO = Path("/proc/meminfo")
OWN_GROUPS = Path("/proc/self/cgroup")
CGROUP = Path("/sys/fs/cgroup")
_VERSION_2 = ("memory.max", "memory.current", "inactive_file")
_VERSION_1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
"""Files of a group with its limit and its use, and the key in memory.stat of a cache of files that gives way."""


def free_memory() -> int | None:
    """Memory that this process may still take [byte], in a container what its limits leave; None if unknown."""
    known = [free for free in (_free_of_machine(), *map(_free_of_group, _groups())) if free is not None]
    return min(known, default=None)


def _free_of_machine() -> int | None:
    try:
        lines = MEMINFO.read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        return None


def _groups() -> Iterator[Path]:
    """The control groups of this process from the outermost one, which in a container may be its own, inwards."""
    try:
        lines = OWN_GROUPS.read_text().splitlines()
    except OSError:
        lines = []
    yield CGROUP
    yield CGROUP / "memory"
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers in ("", "memory"):
            folder = CGROUP / controllers
            for part in Path(path).parts[1:]:
                folder /= part
                yield folder


def _free_of_group(folder: Path) -> int | None:
    """Memory that the limit of a control group leaves [byte]; None without a limit."""
    for limit_name, use_name, cache_name in (_VERSION_2, _VERSION_1):
        try:
            limit, used = (int((folder / name).read_text()) for name in (limit_name, use_name))
            stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            return limit - used + int(stat.get(cache_name, 0))
        except (OSError, ValueError):  # "max" is no number
            continue
    return None
