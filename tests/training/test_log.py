"""The log of a run: lines of JSON, and curves that TensorBoard reads."""

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ikp.training.log import RunLog
from ikp.training.metrics import read_metrics


def test_tensorboard_shows_the_numbers_of_the_metrics(tmp_path):
    log = RunLog(tmp_path, 1)
    log.record(1, 0.5, {"train": {"loss": 3.0}})
    log.record(2, 1.0, {"train": {"loss": 2.0}, "held_out": {"miss": 0.25}})
    log.record(3, 1.5, {"train": {"loss": 1.0}})
    resumed = RunLog(tmp_path, 3)  # the first process was killed after its last state, of step 2
    resumed.record(3, 1.5, {"train": {"loss": 1.5}})
    log.close()
    resumed.close()
    shown = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(e.step, e.value) for e in shown.Scalars("train/loss")] == [(1, 3.0), (2, 2.0), (3, 1.5)]
    assert [(e.step, e.value) for e in shown.Scalars("held_out/miss")] == [(2, 0.25)]
    lines = read_metrics(tmp_path / "metrics.jsonl")
    assert lines[0] == {"step": 1, "seconds": 0.5, "train": {"loss": 3.0}}
    assert [line["step"] for line in lines] == [1, 2, 3]
    assert lines[-1]["train"] == {"loss": 1.5}
