"""The command line end to end at a tiny size, its help and options, and one line for every error."""

import json
import re
import shlex
import subprocess
import sys
import warnings
from pathlib import Path

import gymnasium
import pytest

import ikp
from ikp import cli
from ikp.cli.collect import Collect
from ikp.cli.data import Data
from ikp.cli.demo import Demo
from ikp.cli.evaluate import Evaluate
from ikp.cli.train import Train
from ikp.data.layout import IKP_PATH
from ikp.kinematics.builtin import BUILTIN
from ikp.recipes import RECIPES

TINY = ["--recipe", "tiny", "--steps", "5", "--threads", "1"]
OPTIONS = {
    "collect": "out task recipe episodes observation perturbation seed env expert workers",
    "train": (
        "recipe method "
        "data out episodes cameras image-size camera task "
        "robot tips lock units joints gripper ignore joint-map "
        "image-plane residual history encoder width action-rate way-points "
        "steps minutes batch-size moved-scenes seed device threads resume"
    ),
    "evaluate": "policy joint-map episodes seed task env video video-episodes out",
    "demo": "out recipe minutes demonstrations episodes curve-episodes compare offset-seed seed workers",
    "data": "save store out cameras robot tips lock units joints gripper ignore joint-map",
    "calibrate": (
        "robot tip lock units joint-map poses sockets distance point plane data shows policy factory unknown estimate "
        "noise joint-noise robust out urdf verify"
    ),
    "record": (
        "out device episodes words fps image-size seconds seed view "
        "bench robot tips camera gripper env config dry-run"
    ),
    "replay": "data episode seed bench robot tips camera gripper env config dry-run",
    "deploy": (
        "policy out joint-map episodes seconds seed threads view "
        "bench robot tips camera gripper env config dry-run"
    ),
    "view": "policy data out episode step",
}
"""Every option of every command: a new one is a decision, and everything else is reached from Python."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny):
    """A folder with `data` (4 demonstrations, pixels) and `run` (5 steps of IKP)."""
    root = tmp_path_factory.mktemp("cli")
    collected = ["collect", "--out", str(root / "data"), "--episodes", "4", "--workers", "1"]
    assert cli.main([*collected, "--env", "offset_seed=3"]) == 0
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


def help_of(capsys, *command):
    with pytest.raises(SystemExit) as ended:
        cli.main([*command, "--help"])
    assert ended.value.code == 0
    return capsys.readouterr().out


def printed_next(capsys):
    """The words of the command that the last one printed as the next."""
    words = shlex.split(capsys.readouterr().out.splitlines()[-1].removeprefix("next: "))
    assert words[0] == "ikp"
    return words[1:]


def test_evaluation_needs_nothing_but_the_policy(folder, short_episodes, capsys):
    status = cli.main(
        ["evaluate", "--policy", str(folder / "run"), "--out", "result.json", "--video", "grid.mp4",
         "--video-episodes", "1"]
    )  # fmt: skip
    assert status == 0
    shown = capsys.readouterr().out
    assert "offset_seed=3" in shown
    assert "within 4 mm and 4 deg" in shown
    result = json.loads(Path("result.json").read_text())
    assert len(result["episodes"]) == ikp.recipe("tiny").episodes
    assert result["summary"]["success"]["interval_95"] == pytest.approx(result["interval_95"])
    assert {"command", "commit", "machine"} <= set(result["provenance"])
    assert (result["policy"]["recipe"], result["policy"]["method"]) == ("tiny", "ikp")
    assert Path("grid.mp4").stat().st_size > 1000


def test_options_of_the_task_can_be_replaced(folder, short_episodes, capsys):
    run = ["evaluate", "--policy", str(folder / "run" / "policy"), "--episodes", "1"]
    assert cli.main([*run, "--env", "offset_seed=None"]) == 0
    assert "offset_seed=None" in capsys.readouterr().out


def test_the_printed_next_commands_work(tiny, capsys):
    collect = [
        "collect",
        "--recipe",
        "tiny",
        "--workers",
        "1",
        "--out",
        "my data",
        "--task",
        "ikp/Insertion-v0",
    ]
    assert cli.main(collect) == 0
    train = printed_next(capsys)
    assert train == ["train", "--data", "my data", "--out", "runs/my data", "--recipe", "tiny"]
    assert cli.main([*train, "--steps", "2"]) == 0
    assert cli.main(printed_next(capsys)) == 0
    capsys.readouterr()
    assert cli.main(collect) == 0
    assert "runs/my data-2" in printed_next(capsys)


def test_the_printed_training_fits_demonstrations_without_images(tiny, monkeypatch, capsys):
    monkeypatch.setitem(RECIPES, "tiny", with_image_plane(tiny))
    collect = ["collect", "--recipe", "tiny", "--workers", "1", "--out", "state", "--observation", "state"]
    assert cli.main(collect) == 0
    train = printed_next(capsys)
    assert train[-2:] == ["--image-plane", "False"]
    assert cli.main([*train, "--steps", "2"]) == 0


def with_image_plane(recipe):
    from dataclasses import replace

    from ikp.policies import ImagePlaneConfig

    return replace(recipe, policy=replace(recipe.policy, image_plane=ImagePlaneConfig()))


def test_data_of_ones_own_name_what_is_missing_and_what_to_do_next(folder, short_episodes, tmp_path, capsys):
    own = own_copy(folder / "data", tmp_path / "own")
    train = ["train", "--data", str(own), *TINY]
    assert "give --robot" in failed(capsys, *train, "--out", "a")[1]
    assert cli.main([*train, "--out", "a", "--robot", "ur5e"]) == 0
    said = capsys.readouterr().out.splitlines()[-1]
    assert said.startswith("next: in Python, ikp.load_policy('a').select_action(frame)")
    assert "stores no task" in failed(capsys, "evaluate", "--policy", "a")[1]
    assert cli.main([*train, "--out", "b", "--task", "insertion"]) == 0
    evaluate = printed_next(capsys)
    assert evaluate == ["evaluate", "--policy", "b"]
    assert cli.main(evaluate) == 0


def own_copy(data, to):
    """The data set as somebody else's recorder would have written it: it names no task."""
    import shutil

    shutil.copytree(data, to)
    description = json.loads((to / IKP_PATH).read_text())
    del description["extra"]["collection"]
    (to / IKP_PATH).write_text(json.dumps(description))
    return to


def test_options_of_the_expert_reach_the_data_set(tmp_path, capsys):
    options = ["--observation", "state", "--episodes", "1", "--workers", "1"]
    collect = ["collect", "--out", str(tmp_path / "a"), *options]
    assert cli.main([*collect, "--expert", "profile=bang-bang"]) == 0
    collection = json.loads((tmp_path / "a" / IKP_PATH).read_text())["extra"]["collection"]
    assert collection["expert_kwargs"] == {"profile": "bang-bang"}
    assert collection["perturbation"] == ikp.recipe("standard").perturbation
    assert "expert_kwargs was" in failed(capsys, *collect)[1]
    other = ["collect", "--out", tmp_path / "b", *options, "--expert"]
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


@pytest.mark.parametrize("command", OPTIONS)
def test_the_options_are_these(command, capsys):
    found = re.findall(r"^. --([a-z][\w-]*)", help_of(capsys, command), flags=re.MULTILINE)
    assert found == OPTIONS[command].split()


@pytest.mark.parametrize("command", OPTIONS)
def test_help_teaches_with_examples_and_explains_every_option(command, capsys):
    shown = help_of(capsys, command)
    assert f"For example:\n  ikp {command}" in shown
    assert len(shown.splitlines()) < 115
    options = " ".join(shown.replace("│", " ").split()).split(" --")[1:]
    unexplained = [option.split()[0] for option in options if re.match(r"[\w.,-]+( \S+)? \(default", option)]
    assert not unexplained


@pytest.mark.parametrize("command", OPTIONS)
def test_the_examples_of_the_help_are_commands(command, capsys):
    examples = re.findall(r"^ +ikp (\w.*)", help_of(capsys, command), flags=re.MULTILINE)
    assert len(examples) >= 3
    for example in examples:
        assert type(cli.parsed(shlex.split(example))).__name__.lower() == command


def test_the_list_of_commands_is_short(capsys):
    shown = help_of(capsys)
    assert re.findall(r"• (\w+)", shown) == list(OPTIONS)
    assert len(shown.splitlines()) < 40
    for example in re.findall(r"^  ikp (\w.*)", shown, flags=re.MULTILINE):
        cli.parsed(shlex.split(example))


def test_the_help_of_training_names_the_recipes(capsys):
    shown = help_of(capsys, "train")
    assert "standard  the README's tables, without a GPU: 1000 demonstrations, 8000 steps" in shown
    groups = re.findall(r"^\W+(\w+) options\W+$", shown, flags=re.MULTILINE)
    assert groups == ["data", "arm", "policy", "training"]


@pytest.mark.parametrize("robot", BUILTIN)
def test_the_help_of_training_names_the_built_in_robots(robot, capsys):
    assert re.search(rf"\b{robot}[,\s]", help_of(capsys, "train"))


@pytest.mark.parametrize(
    ("command", "words", "hint"),
    [
        (Collect, ["collect", "--out", "x"], "run the same again to continue"),
        (Train, ["train", "--data", "d", "--out", "x"], "add --resume to continue"),
        (Evaluate, ["evaluate", "--policy", "x"], "begins anew"),
        (Demo, ["demo"], "run the same again to continue"),
        (Data, ["data", "check", "d"], "begins anew"),
    ],
)
def test_an_interrupted_command_says_whether_it_continues(command, words, hint, monkeypatch, capsys):
    def interrupted(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "run", interrupted)
    assert cli.main(words) == 130
    assert hint in capsys.readouterr().err


def test_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"ikp {ikp.__version__}\n"


def test_errors_are_one_line(folder, capsys):
    train = ["train", "--data", folder / "data", "--out", "new"]
    assert "not a LeRobot data set" in failed(capsys, "train", "--data", "nowhere", "--out", "new")[1]
    assert "holds no policy" in failed(capsys, "evaluate", "--policy", "nowhere")[1]
    assert "choose one of quick" in failed(capsys, *train, "--recipe", "fast")[1]
    assert "choose one of quick" in failed(capsys, "collect", "--out", "x", "--recipe", "fast")[1]
    assert "choose one of quick" in failed(capsys, "demo", "--out", "x", "--recipe", "fast")[1]
    assert "choose one of explicit" in failed(capsys, *train, "--method", "bc")[1]
    assert "choose joints" in failed(capsys, *train, "--method", "raw", "--image-plane", "True")[1]
    assert "methods ikp" in failed(capsys, *train, "--method", "explicit", "--residual", "offset")[1]
    assert "encoder kind" in failed(capsys, *train, "--encoder", "transformer")[1]
    assert "no robot file" in failed(capsys, *train, "--robot", "missing.urdf")[1]
    assert "name=value" in failed(capsys, "evaluate", "--policy", folder / "run", "--env", "seven")[1]
    assert (
        "observation must be one of" in failed(capsys, "collect", "--out", "x", "--observation", "sound")[1]
    )
    collected = ["collect", "--out", folder / "data", "--env", "offset_seed=4", "--workers", "1"]
    assert "offset_seed" in failed(capsys, *collected)[1]
    assert "choose one of insertion" in failed(capsys, "collect", "--out", "x", "--task", "juggling")[1]
    Path("file").touch()
    for command in ("collect", "demo"):
        assert "folder file (it is a file): choose another" in failed(capsys, command, "--out", "file")[1]
    assert not Path("new").exists()


def test_options_that_contradict_each_other_or_the_data_are_refused_at_once(folder, tmp_path, capsys):
    train = ["train", "--data", folder / "data", "--out", "new", *TINY]
    assert "uses no robot" in failed(capsys, *train, "--method", "raw", "--robot", "ur5e")[1]
    assert "--tips" in failed(capsys, *train, "--method", "raw", "--tips", "flange")[1]
    assert "at least 2 are needed" in failed(capsys, *train, "--episodes", "1")[1]
    assert "50 episodes are requested" in failed(capsys, *train, "--episodes", "50")[1]
    assert "has 4" in failed(capsys, *train, "--episodes", "50")[1]
    assert "more than" in failed(capsys, *train, "--episodes", "0-99999999999")[1]
    assert "5-3 descends: write 3-5" in failed(capsys, *train, "--episodes", "5-3,7")[1]
    assert "two values, deg and rad" in failed(capsys, *train, "--units", "deg", "rad")[1]
    assert "two values of 'a', rad and deg" in failed(capsys, *train, "--units", "a=rad", "a=deg")[1]
    assert "two values of 'g'" in failed(capsys, *train, "--gripper", "g=0,1", "g=1,0")[1]
    assert "two values of 'a'" in failed(capsys, *train, "--robot", "ur5e", "--lock", "a=1", "a=2")[1]
    assert "device is 'cuda:9'" in failed(capsys, *train, "--device", "cuda:9")[1]
    assert "threads is 100000" in failed(capsys, *train, "--threads", "100000")[1]
    assert "history is 100000" in failed(capsys, *train, "--history", "100000")[1]
    assert not Path("new").exists()
    assert "choose one of insertion" in failed(capsys, "collect", "--out", "x", "--task", "a/b")[1]
    assert (
        "it has no option 'foo', but observation"
        in failed(capsys, "collect", "--out", "x", "--env", "foo=1")[1]
    )
    assert "workers is 0" in failed(capsys, "collect", "--out", "x", "--workers", "0")[1]
    assert not Path("x").exists()


def test_an_evaluation_that_cannot_work_is_refused_before_its_rollouts(folder, monkeypatch, capsys):
    evaluate = ["evaluate", "--policy", folder / "run", "--episodes", "1"]
    assert "it has no option 'foo', but" in failed(capsys, *evaluate, "--env", "foo=3")[1]
    assert "(14,)" in failed(capsys, *evaluate, "--task", "sweeping")[1]
    assert "cannot make the environment 'a/b-v0'" in failed(capsys, *evaluate, "--task", "a/b-v0")[1]
    assert "takes actions of the space Discrete(2)" in failed(capsys, *evaluate, "--task", "CartPole-v1")[1]
    assert "episodes is 0" in failed(capsys, *evaluate, "--episodes", "0")[1]
    assert "video_episodes is 0" in failed(capsys, *evaluate, "--video", "a.mp4", "--video-episodes", "0")[1]
    monkeypatch.setattr("ikp.runs.evaluate", None)  # must not be reached
    assert "is a folder" in failed(capsys, *evaluate, "--out", folder)[1]
    assert "is a folder" in failed(capsys, *evaluate, "--video", folder)[1]
    Path("file").touch()
    assert "cannot write into the folder file" in failed(capsys, *evaluate, "--out", "file/result.json")[1]


def test_warnings_are_one_line_too():
    lines = []

    def run():
        lines.append(warnings.formatwarning(UserWarning("two\nlines"), UserWarning, "file.py", 1))

    before = warnings.formatwarning
    assert cli.run_command(run, "ikp", "") == 0
    assert lines == ["ikp: warning: two lines\n"]
    assert warnings.formatwarning is before


def test_the_traceback_is_there_for_those_who_ask(monkeypatch):
    monkeypatch.setenv("IKP_DEBUG", "1")
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
    assert "has no attribute 'nothing'; it has Batch" in result.stderr
