"""Damage at random: a few cases of every kind, and that the tool notices what it looks for."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
import warnings
from functools import partial
from pathlib import Path

import pytest

import mutate
from ikp.files import read_json
from mutate import TRAP, Case, run_case
from mutations import change_arguments, change_json, change_xml, damage_bytes

TOOL = Path(__file__).parents[2] / "tools" / "mutate.py"


@pytest.mark.parametrize("kinds", [["urdf", "mjcf"], ["data", "flips", "repair"], ["checkpoint", "command"]])
def test_a_few_cases_of_every_kind(kinds):
    command = [sys.executable, str(TOOL), "--seed", "1", "--count", "12", "--kinds", *kinds]
    ended = subprocess.run(command, check=False, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-2000:]
    assert ended.stdout.splitlines()[-1] == "0 findings"


def imported():
    __import__(TRAP)


def raised(error):
    def read():
        raise error

    return read


def checked(*lines):
    """Print lines and end as `data check` does."""

    def read():
        print(*lines, sep="\n")
        raise SystemExit(1)

    return read


@pytest.mark.parametrize(
    ("read", "state", "words"),
    [
        (lambda: 3, "same", ""),
        (raised(ValueError("arm.urdf: no link")), "refused", "no link"),
        (raised(OSError("arm.urdf is missing")), "refused", "missing"),
        (raised(ValueError("no link")), "UNNAMED", "no link"),
        (raised(ValueError("arm.urdf" * 1000)), "LONG", "8000 characters"),
        (checked("used: action", "refused: arm.urdf: no link"), "refused", "no link"),
        (checked("refused: arm.urdf: no link", "refused: no joint"), "UNNAMED", "no joint"),
        (checked("refused: " + "arm.urdf" * 1000), "LONG", "8009 characters"),
        (checked("arm.urdf is fine"), "UNNAMED", "no message"),
        (raised(SystemExit(2)), "refused", "exit status 2"),
        (raised(SystemExit(3)), "ERROR", "3"),
        (raised(KeyError("links")), "ERROR", "KeyError: 'links' (test_mutate.py:"),
        (raised(RuntimeError("arm.urdf")), "ERROR", "RuntimeError"),
        (lambda: time.sleep(60), "HANG", "longer than"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "CRASH", "SIGKILL"),
        (lambda: os._exit(0), "CRASH", "exit status 0"),
        (imported, "CODE", "the trap was imported"),
        (lambda: os.system("true"), "CODE", "os.system"),
        (lambda: subprocess.run(["true"], check=True), "CODE", "subprocess.Popen"),
    ],
)
def test_the_tool_sees_how_a_case_ends(tmp_path, read, state, words):
    (tmp_path / f"{TRAP}.py").write_text("open('executed', 'w').close()\n")
    outcome = run_case(Case("urdf", 0, "none", read, r"arm\.urdf"), tmp_path, None, seconds=5)
    assert (outcome.state, words in outcome.words) == (state, True), outcome


def test_other_numbers_are_told_from_the_same(tmp_path):
    read = Case("urdf", 0, "none", lambda: 3)
    same = run_case(read, tmp_path, None)
    assert run_case(read, tmp_path, same).state == "same"
    assert run_case(Case("urdf", 0, "none", lambda: 4), tmp_path, same).state == "other"

    def warning(value, words):
        warnings.warn(words, UserWarning, stacklevel=1)
        return value

    said = run_case(Case("urdf", 0, "none", lambda: warning(3, "a")), tmp_path, None)
    ended = [
        run_case(Case("urdf", 0, "none", partial(warning, *given)), tmp_path, said).state
        for given in ((3, "b"), (4, "a"), (4, "b"))
    ]
    assert ended == ["same", "other", "warned"]


def test_a_record_tells_how_the_cases_ended(tmp_path):
    command = [sys.executable, str(TOOL), "--kinds", "urdf", "--count", "12", "--out", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True)
    record = read_json(tmp_path / "urdf.json")
    assert sum(record["ended"].values()) == record["cases"] == 12
    assert [len(record[state]) for state in ("warned", "other")] == [
        record["ended"].get(state, 0) for state in ("warned", "other")
    ]
    assert (record["findings"], "command" in record["provenance"]) == ([], True)


def test_damage_depends_on_the_number_of_the_case_alone():
    text = mutate.URDF.encode()
    for change in (damage_bytes, change_xml):
        made = [[change(text, random.Random(f"{n}"))[0] for n in range(50)] for _ in range(2)]
        assert made[0] == made[1]
        assert len(set(made[0])) > 30
    made = {change_json(b'{"a": [1, {"b": 2}]}', random.Random(f"{n}"))[0] for n in range(50)}
    assert len(made) > 20
    assert len({tuple(change_arguments(mutate.TRAIN, random.Random(f"{n}"))) for n in range(50)}) > 30
