"""Keys and judgements at a terminal."""

from __future__ import annotations

import os
import pty

import pytest

from ikp.cli import bench
from ikp.robots.keyboard import Keyboard, forget_keys
from ikp.robots.recording import Recorded, Verdict


@pytest.fixture
def terminal():
    ours, theirs = pty.openpty()
    yield ours, theirs
    os.close(ours)
    os.close(theirs)


def test_keys_between_two_episodes_are_forgotten(terminal):
    ours, theirs = terminal
    keyboard = Keyboard(theirs)
    os.write(ours, b"d")
    assert keyboard.read(1.0).axes[1] < 0
    os.write(ours, b"d\n")
    keyboard.reset()
    motion = keyboard.read(2.0)
    assert not motion.axes.any()
    assert not motion.done
    keyboard.close()


def test_forgetting_keys_needs_no_terminal():
    forget_keys()


def test_a_verdict_is_a_line_of_its_own_after_the_keys_of_the_episode(monkeypatch, capsys):
    order, lines = [], iter(["ddds", "", "s"])
    monkeypatch.setattr("ikp.robots.keyboard.forget_keys", lambda: order.append("forget"))
    monkeypatch.setattr("builtins.input", lambda text: order.append(text) or next(lines))
    assert bench.judgement(False, True)(Recorded(10, 1.0, None, late_frames=2)) is Verdict.SUCCESS
    assert order[0] == "forget"
    assert order[1].startswith("1.0 s, 10 frames, 2 of them late. s success")
    assert "'ddds' is no answer" in capsys.readouterr().out
