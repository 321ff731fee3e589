"""The command line end to end at a tiny size, its help, and one line for every error."""

import json
import re
import subprocess
import sys
from pathlib import Path

import gymnasium
import pytest

from ikp import cli
from ikp.data.layout import IKP_PATH

TINY = [
    "--policy.width", "16", "--policy.blocks", "1", "--policy.negatives", "4", "--policy.grid", "8",
    "--policy.encoder.kind", "pool", "--policy.encoder.channels", "4",
    "--train.steps", "5", "--train.batch-size", "8", "--train.validate-every", "5", "--train.threads", "1",
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with `data` (4 demonstrations, pixels) and `run` (5 steps of IKP)."""
    root = tmp_path_factory.mktemp("cli")
    collected = [
        "collect",
        "--out",
        str(root / "data"),
        "--episodes",
        "4",
        "--workers",
        "1",
        "--offset-seed",
        "3",
    ]
    assert cli.main(collected) == 0
    assert cli.main(["train", "--data", str(root / "data"), "--out", str(root / "run"), *TINY]) == 0
    return root


@pytest.fixture
def short_episodes(monkeypatch):
    monkeypatch.setattr(gymnasium.registry["ikp/Insertion-v0"], "max_episode_steps", 10)


def failed(capsys, *arguments):
    """Status and error line of a command that must fail without a traceback."""
    capsys.readouterr()
    status = cli.main([str(argument) for argument in arguments])
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("ikp: error: ")
    assert not any("Traceback" in line for line in lines)
    return status, lines[-1]


def test_evaluation_needs_nothing_but_the_policy(folder, short_episodes, capsys):
    status = cli.main(
        ["evaluate", "--policy", str(folder / "run"), "--episodes", "2", "--out", "result.json", "--video", "grid.mp4",
         "--video-episodes", "1"]
    )  # fmt: skip
    assert status == 0
    shown = capsys.readouterr().out
    assert "offset_seed=3" in shown
    assert "within 4 mm and 4 deg" in shown
    result = json.loads(Path("result.json").read_text())
    assert len(result["episodes"]) == 2
    assert result["summary"]["success"]["interval_95"] == pytest.approx(result["interval_95"])
    assert {"command", "commit", "machine"} <= set(result["origin"])
    assert result["policy"]["method"] == "ikp"
    assert Path("grid.mp4").stat().st_size > 1000


def test_options_of_the_task_can_be_replaced(folder, short_episodes, capsys):
    run = [
        "evaluate",
        "--policy",
        str(folder / "run" / "policy"),
        "--episodes",
        "1",
        "--env",
        "offset_seed=None",
    ]
    assert cli.main(run) == 0
    assert "offset_seed=None" in capsys.readouterr().out


def test_options_of_the_expert_reach_the_data_set(tmp_path, capsys):
    collect = [
        "collect",
        "--out",
        str(tmp_path / "a"),
        "--observation",
        "state",
        "--episodes",
        "1",
        "--workers",
        "1",
    ]
    assert cli.main([*collect, "--expert", "profile=bang-bang"]) == 0
    collection = json.loads((tmp_path / "a" / IKP_PATH).read_text())["extra"]["collection"]
    assert collection["expert_kwargs"] == {"profile": "bang-bang"}
    assert "expert_kwargs was" in failed(capsys, *collect)[1]
    other = ["collect", "--out", tmp_path / "b", *collect[3:], "--expert"]
    assert "choose one of smooth, bang-bang" in failed(capsys, *other, "profile=jerky")[1]
    assert "do not fit the expert" in failed(capsys, *other, "speed=2")[1]
    assert "write name=value, such as profile=bang-bang" in failed(capsys, *other, "jerky")[1]
    assert not (tmp_path / "b").exists()


def test_training_resumes_only_when_asked(folder, capsys):
    again = ["train", "--data", folder / "data", "--out", folder / "run", *TINY]
    status, line = failed(capsys, *again)
    assert status == 1
    assert "--resume" in line
    assert cli.main([str(word) for word in [*again, "--resume"]]) == 0


def test_a_preset_and_a_method_set_the_defaults_that_help_shows(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["train", "--preset", "paper", "--method", "explicit", "--help"])
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert ended.value.code == 0
    assert "(default: resnet26)" in shown
    assert "`explicit` (regression). (default: explicit)" in shown


@pytest.mark.parametrize("command", ["collect", "train", "evaluate", "demo", "reproduce"])
def test_help_teaches_with_examples_and_explains_every_option(command, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main([command, "--help"])
    shown = capsys.readouterr().out
    assert ended.value.code == 0
    assert f"For example:\n  ikp {command}" in shown
    options = " ".join(shown.replace("│", " ").split()).split(" --")[1:]
    unexplained = [option.split()[0] for option in options if re.match(r"[\w.,-]+( \S+)? \(default", option)]
    assert not unexplained


def test_the_list_of_commands_is_short(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    shown = capsys.readouterr().out
    assert all(command in shown for command in ("collect", "train", "evaluate", "demo", "reproduce"))
    assert len(shown.splitlines()) < 40


def test_errors_are_one_line(folder, capsys):
    train = ["train", "--data", folder / "data", "--out", "new"]
    assert "not a LeRobot data set" in failed(capsys, "train", "--data", "nowhere", "--out", "new")[1]
    assert "holds no policy" in failed(capsys, "evaluate", "--policy", "nowhere")[1]
    assert "choose one of quick" in failed(capsys, *train, "--preset", "fast")[1]
    assert "choose one of explicit" in failed(capsys, *train, "--method", "bc")[1]
    assert "leave --policy.kind out" in failed(capsys, *train, "--policy.kind", "explicit")[1]
    assert "no robot file" in failed(capsys, *train, "--robot", "missing.urdf")[1]
    assert "name=value" in failed(capsys, "evaluate", "--policy", folder / "run", "--env", "seven")[1]
    assert (
        "observation must be one of" in failed(capsys, "collect", "--out", "x", "--observation", "sound")[1]
    )
    collected = ["collect", "--out", folder / "data", "--offset-seed", "4", "--workers", "1"]
    assert "offset_seed" in failed(capsys, *collected)[1]
    assert "choose one of insertion" in failed(capsys, "collect", "--out", "x", "--task", "juggling")[1]


def test_reproduce_lists_its_runs_without_starting_any(capsys):
    listed = ["reproduce", "table2", "--preset", "quick", "--only", "insertion", "--dry-run"]
    assert cli.main(listed) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum("insertion-pixels-" in line and "not run" in line for line in lines) == 10
    assert lines[-1].startswith("0 of 10 runs finished; about ")
    assert not list(Path().iterdir())
    assert "choose one of table1" in failed(capsys, "reproduce", "table3")[1]
    nothing = failed(capsys, "reproduce", "table2", "--only", "juggling", "--dry-run")[1]
    assert "is in no run's name: they are like " in nothing
    assert "seeds is 0: it must be at least 1" in failed(capsys, "reproduce", "table1", "--seeds", "0")[1]
    assert "choose one of local, ray" in failed(capsys, "reproduce", "table1", "--executor", "slurm")[1]


def test_the_traceback_is_there_for_those_who_ask(monkeypatch):
    monkeypatch.setenv(cli.DEBUG, "1")
    with pytest.raises(ValueError, match="nowhere"):
        cli.main(["train", "--data", "nowhere", "--out", "new"])


def test_wrong_arguments_end_with_status_two(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["train", "--dta", "x"])
    assert ended.value.code == 2
    assert "--data" in capsys.readouterr().err


def test_the_lazy_public_names_are_all_there():
    code = "import ikp; print([getattr(ikp, name).__class__.__name__ for name in ikp.__all__], dir(ikp))"
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "load_robot" in result.stdout
    result = subprocess.run(
        [sys.executable, "-c", "import ikp; ikp.nothing"], check=False, capture_output=True, text=True
    )
    assert "has no attribute 'nothing'; it has PolicyConfig" in result.stderr
