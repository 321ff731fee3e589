"""Demonstrations on disk (LeRobotDataset v3.0) and in memory.

- `demonstrations`: episodes in memory, and training batches from them.
- `reader`: loads a folder; `index` finds its columns, `episodes` the rows of each episode, `parquet` and `video` decode
  files, `cache` keeps decoded images on disk where they do not fit into memory.
- `info`: checks meta/info.json and meta/ikp.json.
- `damage`: the error for a file that cannot be read.
- `joint_maps`: what the recorded numbers are to a robot's joints.
- `pool`: joins the demonstrations of several arms, each with its own joint map.
- `check`: what looks wrong in a data set; `usage`: what of it is used.
- `recorder`: records the frames of any loop; `frame_spec` takes names and sizes from the first one.
- `writer`: writes a folder; `episode_recorder` checks and encodes an episode, `metadata` and `stats` describe the data
  set, `recovery` continues it after a crash.
- `repair`: repairs a damaged data set; `survey` finds what can be recovered, with `salvage` for data files and
  `footers` for those without their footer (in the format of `thrift`), and `rewrite` writes it.
- `layout`: keys, paths and features of the format.
"""

from ikp.data.demonstrations import Demonstrations
from ikp.data.episode_recorder import EncodedEpisode, EpisodeRecorder
from ikp.data.joint_maps import store_joint_map
from ikp.data.layout import DatasetError
from ikp.data.pool import pooled
from ikp.data.reader import load_dataset
from ikp.data.recorder import Recorder
from ikp.data.writer import DatasetWriter
from ikp.joint_map import MapHints

__all__ = [
    "DatasetError",
    "DatasetWriter",
    "Demonstrations",
    "EncodedEpisode",
    "EpisodeRecorder",
    "MapHints",
    "Recorder",
    "load_dataset",
    "pooled",
    "store_joint_map",
]
