"""Files that are whole or absent, JSON that names what is damaged, and locks between processes."""

import os
import signal
import subprocess
import sys

import pytest

from ikp.files import read_json, replaced_atomically, write_json
from ikp.locks import is_locked, lock


class OwnError(ValueError):
    pass


def test_json_round_trip(tmp_path):
    values = {"a": [1, 2.5], "b": {"c": None}, "d": [{"e": "f"}]}
    assert read_json(write_json(tmp_path / "deep" / "a.json", values)) == values


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a', r"a\.json is not valid JSON .*: ask for it"),
        (b"\xff\xfe{", r"a\.json is not valid JSON"),
        (b"[1]", r"a\.json holds a list, not an object: ask for it"),
    ],
)
def test_damaged_json_is_named_with_its_fix(tmp_path, content, message):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(OwnError, match=message):
        read_json(tmp_path / "a.json", OwnError, "ask for it")
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "b.json", OwnError)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"b": 1}', r"a\.json lacks a: ask"),
        ('{"a": [], "b": 1}', r"a\.json holds a list as 'a': ask"),
        ("[" * 100_000, r"a\.json is not valid JSON"),
    ],
)
def test_keys_and_their_types_are_checked(tmp_path, content, message):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(OwnError, match=message):
        read_json(tmp_path / "a.json", OwnError, "ask", {"a": dict, "b": int})


def test_a_failed_write_keeps_the_old_file(tmp_path):
    path = write_json(tmp_path / "a.json", {"a": 1})

    def write_half():
        with replaced_atomically(path) as fresh:
            fresh.write_text("half")
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        write_half()
    assert read_json(path) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("folder", [True, False])
def test_only_one_holds_a_lock(tmp_path, folder):
    path = tmp_path if folder else tmp_path / "a.lock"
    with lock(path) as first, lock(path) as second:
        assert (first, second) == (True, False)
        assert is_locked(path)
    assert not is_locked(path)
    assert path.exists() == folder
    assert list(tmp_path.iterdir()) == []


HOLDER = """
import sys, time
from pathlib import Path
from ikp.locks import lock
with lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_killed_process_holds_nothing(tmp_path):
    path = tmp_path / "a.lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True
    ) as process:
        process.stdout.readline()
        assert is_locked(path)
        os.kill(process.pid, signal.SIGKILL)
    with lock(path) as held:
        assert held
