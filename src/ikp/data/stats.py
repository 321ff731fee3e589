"""Statistics of features, per episode and joined over episodes, in LeRobot's layout.

Statistics of vectors have the shape (dim,), those of images (3, 1, 1), in [0, 1]. All are float64, so that a data set
that was interrupted and continued ends with exactly the statistics of one written without interruption.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
KEYS = ("min", "max", "mean", "std", "count", *QUANTILES)
FeatureStats = dict[str, np.ndarray]
DatasetStats = dict[str, FeatureStats]


def vector_stats(values: np.ndarray) -> FeatureStats:
    """Statistics of one feature over an episode.

    Args:
        values: (frame, dim), or (frame,) for a scalar feature; any numeric or boolean type.
    """
    table = np.asarray(values, dtype=np.float64).reshape(len(values), -1)
    stats = {
        "min": table.min(axis=0),
        "max": table.max(axis=0),
        "mean": table.mean(axis=0),
        "std": table.std(axis=0),
        "count": np.array([len(table)], dtype=np.int64),
    }
    quantiles = np.quantile(table, list(QUANTILES.values()), axis=0)
    return stats | dict(zip(QUANTILES, quantiles, strict=True))


def image_stats(histograms: Sequence[Sequence[int]]) -> FeatureStats:
    """Exact statistics of an episode's images from their histograms.

    Args:
        histograms: for each frame 3 x 256 counts (red, green, blue), from Pillow's `Image.histogram`.
    """
    counts = np.asarray(histograms, dtype=np.int64).reshape(len(histograms), 3, 256).sum(axis=0)
    levels = np.arange(256) / 255.0
    total = counts.sum(axis=1, keepdims=True)
    mean = (counts * levels).sum(axis=1, keepdims=True) / total
    variance = (counts * (levels - mean) ** 2).sum(axis=1, keepdims=True) / total
    cumulative = np.cumsum(counts, axis=1)
    present = counts > 0
    stats = {
        "min": levels[present.argmax(axis=1)],
        "max": levels[255 - present[:, ::-1].argmax(axis=1)],
        "mean": mean,
        "std": np.sqrt(variance),
    }
    for key, quantile in QUANTILES.items():
        stats[key] = levels[(cumulative >= quantile * total).argmax(axis=1)]
    shaped = {key: value.reshape(3, 1, 1) for key, value in stats.items()}
    return shaped | {"count": np.array([len(histograms)], dtype=np.int64)}


def join_stats(first: DatasetStats | None, second: DatasetStats) -> DatasetStats:
    """Statistics of two disjoint sets of frames together, feature by feature.

    The mean and standard deviation are exact; quantiles are averages weighted by count, as in LeRobot.
    """
    if first is None:
        return second
    return {key: _join(first[key], second[key]) for key in second}


def _join(first: FeatureStats, second: FeatureStats) -> FeatureStats:
    count = first["count"] + second["count"]
    share = second["count"] / count
    delta = second["mean"] - first["mean"]
    variance = (1 - share) * first["std"] ** 2 + share * second["std"] ** 2 + share * (1 - share) * delta**2
    joined = {key: first[key] + share * (second[key] - first[key]) for key in ("mean", *QUANTILES)}
    return joined | {
        "min": np.minimum(first["min"], second["min"]),
        "max": np.maximum(first["max"], second["max"]),
        "std": np.sqrt(variance),
        "count": count,
    }


def to_json(stats: DatasetStats) -> dict[str, Any]:
    """The content of stats.json."""
    return {name: {key: feature[key].tolist() for key in KEYS} for name, feature in stats.items()}


def to_row(stats: DatasetStats) -> dict[str, Any]:
    """Statistics as columns `stats/<feature>/<key>` of the table of episodes."""
    items = to_json(stats).items()
    return {f"stats/{name}/{key}": value for name, values in items for key, value in values.items()}


def from_row(row: dict[str, Any], features: Mapping[str, Any]) -> DatasetStats | None:
    """Undo `to_row`; None where the statistics of a feature are not whole.

    Args:
        row: a row of the table of episodes.
        features: the features of info.json.
    """
    stats: DatasetStats = {}
    for column, value in row.items():
        if column.startswith("stats/"):
            name, key = column.removeprefix("stats/").rsplit("/", 1)
            stats.setdefault(name, {})[key] = np.asarray(value)
    return (
        stats if all(_is_whole(stats.get(name, {}), feature) for name, feature in features.items()) else None
    )


def _is_whole(stats: FeatureStats, feature: Mapping[str, Any]) -> bool:
    shape = (3, 1, 1) if feature["dtype"] == "image" else tuple(feature["shape"])
    shapes = {key: (1,) if key == "count" else shape for key in KEYS}
    found = {key: value.shape for key, value in stats.items() if value.dtype.kind in "fiub"}
    return found == shapes
