"""Demonstrations on disk as LeRobotDataset v3.0, and in memory."""

from ikp.data.demonstrations import Demonstrations
from ikp.data.layout import DatasetError
from ikp.data.reader import load_dataset
from ikp.data.recorder import EncodedEpisode, EpisodeRecorder
from ikp.data.writer import DatasetWriter

__all__ = [
    "DatasetError",
    "DatasetWriter",
    "Demonstrations",
    "EncodedEpisode",
    "EpisodeRecorder",
    "load_dataset",
]
