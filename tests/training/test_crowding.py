"""The warning that other processes need the cores of a training with several threads."""

import time
import warnings

import pytest
import torch

from ikp.training import crowding
from ikp.training.crowding import Crowding

CPU = torch.device("cpu")


class Clock:
    """Clock on the wall and of the processor, which a test sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, threads: int, load: float) -> None:
        self.wall = self.processor = 100.0
        monkeypatch.setattr(time, "perf_counter", lambda: self.wall)
        monkeypatch.setattr(time, "process_time", lambda: self.processor)
        monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
        monkeypatch.setattr(crowding, "usable_cores", lambda: 2)
        monkeypatch.setattr(crowding, "load", lambda: load)

    def passes(self, seconds: float, share: float, threads: int = 2) -> None:
        self.wall += seconds
        self.processor += share * threads * seconds


def test_a_crowded_training_is_told_once_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, threads=2, load=4.0)
    watch = Crowding(CPU)
    clock.passes(30, 0.4)
    with pytest.warns(UserWarning, match=r"the 2 threads of this training had 40 % of 2 cores.*--threads 1"):
        watch.look()
    clock.passes(30, 0.4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        watch.look()


@pytest.mark.parametrize(
    ("threads", "load", "device", "seconds", "share"),
    [
        pytest.param(1, 4.0, CPU, 30, 0.4, id="one thread waits for no other"),
        pytest.param(2, 2.0, CPU, 30, 0.4, id="it waits for data, not for others"),
        pytest.param(2, 4.0, torch.device("cuda"), 30, 0.4, id="a GPU computes"),
        pytest.param(2, 4.0, CPU, 5, 0.4, id="too short to tell"),
        pytest.param(2, 4.0, CPU, 30, 0.9, id="it has its cores"),
    ],
)
def test_others_are_not_told(
    monkeypatch: pytest.MonkeyPatch,
    threads: int,
    load: float,
    device: torch.device,
    seconds: float,
    share: float,
) -> None:
    clock = Clock(monkeypatch, threads=threads, load=load)
    watch = Crowding(device)
    clock.passes(seconds, share, threads)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        watch.look()


def test_each_stretch_is_measured_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, threads=2, load=4.0)
    watch = Crowding(CPU)
    clock.passes(25, 0.9)
    watch.look()
    clock.passes(25, 0.5)
    with pytest.warns(UserWarning, match="had 50 %"):
        watch.look()
