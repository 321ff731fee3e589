"""Repair a data set: every episode that is on disk, written as a whole data set."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ikp.data.layout import DatasetError
from ikp.data.rewrite import write_survey
from ikp.data.survey import Survey
from ikp.files import TEMPORARY_SUFFIX, write_json
from ikp.locks import locked_folder
from ikp.words import counted

BACKUP = ".before-repair"
"""Added to the name of a folder that was repaired in place: the folder as it was."""
REPORT_PATH = Path("meta/repair.json")
SHOWN = 20
"""Lines of a kind that a printed report holds; the file holds all."""


@dataclass(frozen=True)
class RepairReport:
    """The findings of a repair, and its changes.

    Attributes:
        recovered: index of each episode to its index before.
        frames: number of frames of these episodes.
        lost: index, as it was, of each episode that is lost, and why.
        mended: faults that cost no further episode.
        root: the repaired data set; None where nothing had to be repaired.
        backup: the folder as it was, after a repair in place.
    """

    recovered: dict[int, int]
    frames: int
    lost: dict[int, str]
    mended: list[str]
    root: Path | None = None
    backup: Path | None = None

    def __str__(self) -> str:
        """All lines; long lists are cut."""
        kept = f"{counted(len(self.recovered), 'episode')}, {counted(self.frames, 'frame')}"
        if self.root is None:
            return f"nothing to repair: {kept} are whole"
        lines = _shown(self.mended)
        lines += _shown([f"lost: episode {index}: {reason}" for index, reason in sorted(self.lost.items())])
        lines.append(f"recovered: {kept}; lost: {counted(len(self.lost), 'episode')}")
        moved = sum(new != old for new, old in self.recovered.items())
        if moved:
            lines.append(f"{moved} episodes have another number now: {REPORT_PATH} lists them")
        lines.append(f"wrote {self.root}")
        if self.backup is not None:
            lines.append(f"the folder as it was is {self.backup}: delete it when nothing is missed")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """The content of meta/repair.json."""
        before = {str(new): old for new, old in self.recovered.items()}
        lost = {str(index): reason for index, reason in sorted(self.lost.items())}
        return {"index_before": before, "frames": self.frames, "lost": lost, "mended": self.mended}


def repair_dataset(
    root: str | Path,
    out: str | Path | None = None,
    *,
    cameras: Sequence[str] | None = None,
    progress: bool = True,
) -> RepairReport:
    """Write every episode of a LeRobotDataset v3.0 that is on disk as a whole data set.

    An episode is recovered where all its rows can be read, with each image and video frame; numbers, images and videos
    stay as they are, to the bit. A data file without its footer is read up to its last whole group of rows. Repeated
    rows and copies of episodes are left out. Episodes are numbered without gaps, and lists, counts and statistics are
    computed from the rows.

    The result appears as a whole or not at all: a repair that is killed can be started again.

    Args:
        root: folder of the data set.
        out: a new folder for the result. Without it the result takes the place of `root`, which is renamed to
            ROOT.before-repair. Nothing is written where nothing has to be repaired.
        cameras: cameras to keep, by name or key; all if None. Leaving out a camera saves episodes that lost its video.
        progress: show a bar when it takes longer than 2 s.

    Raises:
        DatasetError: meta/info.json cannot be read, or no episode can be recovered.
        FileExistsError: `out`, or the name of the backup, is taken.
        OSError: the result cannot be written, or another process is writing to `root`.
    """
    root = Path(root).resolve()
    backup = root.with_name(root.name + BACKUP)
    target = root if out is None else Path(out).resolve()
    if not root.exists() and backup.exists():
        backup.rename(root)  # a repair was killed just before its result took this name
    if not root.is_dir():
        raise DatasetError(f"{root} is no folder: give the folder that holds meta/info.json")
    new = backup if out is None else target
    if new.exists():
        raise FileExistsError(f"{new} exists: move it away, or give another folder (--out)")
    if out is not None and target.is_relative_to(root):
        raise ValueError(f"{target} is inside of {root}: give another folder")
    with locked_folder(root), tqdm(desc="repairing", delay=2, disable=not progress, leave=False) as bar:
        survey = Survey(root, cameras, bar)
        recovered = {number: episode.index for number, episode in enumerate(survey.episodes)}
        found = (recovered, survey.frames, survey.lost, survey.mended)
        if not survey.episodes:
            reasons = [*survey.mended[:3], *list(survey.lost.values())[:3]]
            why = f" ({'; '.join(reasons)})" if reasons else ""
            raise DatasetError(f"no episode of {root} can be recovered{why}: restore it from a copy")
        if not survey.lost and not survey.mended:
            return RepairReport(*found)
        report = RepairReport(*found, root=target, backup=backup if out is None else None)
        with _temporary_folder(target) as folder:
            write_survey(survey, folder, bar)
            write_json(folder / REPORT_PATH, report.to_json())
            if out is None:
                root.rename(backup)
            folder.rename(target)
    return report


@contextmanager
def _temporary_folder(target: Path) -> Iterator[Path]:
    """A folder beside the target, removed at the end; what a killed process left of it is removed before."""
    folder = target.with_name(f".{target.name}{TEMPORARY_SUFFIX}")
    shutil.rmtree(folder, ignore_errors=True)
    try:
        folder.mkdir(parents=True)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _shown(lines: list[str]) -> list[str]:
    rest = len(lines) - SHOWN
    return lines if rest <= 0 else [*lines[:SHOWN], f"... and {rest} more"]
