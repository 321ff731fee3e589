"""Damage files and command lines at random, and look for tracebacks, hangs, crashes and code that runs.

python tools/mutate.py                          500 of every kind; exit status 1 if there are findings
python tools/mutate.py --kinds urdf --count 50
python tools/mutate.py --out results/mutations   also a record of every kind, KIND.json
python tools/mutate.py --case data:17           one case again, with its files and its traceback (log) kept

Every case runs in a process of its own, with a limit of time and memory, up to the point where a command's work would
begin: the first training step, the first rollout step, the first demonstration. It has to end with the command's work
or with one line (a ValueError or OSError) that names the damaged file. What is accepted and yields
other numbers than the undamaged input is listed, because that is right only where the changed file is valid and means
something else; it counts as `warned` where a warning is given that the undamaged input does not get, else as `other`.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.compute  # noqa: F401  imported before the forks, since every case needs it
import torch
import torch._dynamo

import ikp.demo.run
import ikp.tasks.insertion.environment  # noqa: F401
from ikp import cli, runs
from ikp.data import load_dataset
from ikp.data.repair import repair_dataset
from ikp.demo.stages import Stages
from ikp.files import write_json
from ikp.kinematics import forward_kinematics, load_robot
from ikp.policies import Policy
from ikp.provenance import provenance
from ikp.rollouts import collect
from ikp.training.trainer import _Run
from mutations import (
    TRAP,
    change_arguments,
    change_json,
    change_table,
    change_tensors,
    change_xml,
    damage_bytes,
    flip_bit,
)

SECONDS, GIBIBYTES = 60, 8
"""Limits of a case, of processor time and memory."""
PATIENCE = 20
"""By the clock a case may take this many times as long, since the machine may be busy."""
LONGEST_MESSAGE = 1500
RUNS_CODE = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "subprocess.Popen", "pickle.find_class")
"""Events of Python's audit hooks that no case may cause."""

URDF = """<robot name="arm">
<link name="base"/><link name="upper"/><link name="fore"/><link name="hand"/><link name="f1"/>
<joint name="a" type="revolute"><parent link="base"/><child link="upper"/><origin xyz="0 0 0.3" rpy="0 0.1 0"/>
<axis xyz="0 0 1"/><limit lower="-2" upper="2" velocity="1.5" effort="1"/></joint>
<joint name="b" type="continuous"><parent link="upper"/><child link="fore"/><origin xyz="0.2 0 0"/><axis xyz="0 1 0"/>
<limit velocity="2" effort="1"/></joint>
<joint name="c" type="prismatic"><parent link="fore"/><child link="hand"/><axis xyz="1 0 0"/>
<limit lower="0" upper="0.1" velocity="0.2" effort="1"/></joint>
<joint name="d" type="revolute"><parent link="hand"/><child link="f1"/><axis xyz="0 0 1"/>
<limit lower="0" upper="1" velocity="1" effort="1"/><mimic joint="a" multiplier="0.5" offset="0.1"/></joint>
</robot>"""
MJCF = """<mujoco model="arm"><compiler angle="degree"/>
<default><joint axis="0 0 1" range="-90 90" limited="true"/></default><worldbody>
<body name="base" pos="0 0 0.1"><joint name="a"/><geom type="sphere" size="0.1" mass="1"/>
<body name="upper" pos="0.2 0 0" euler="0 10 0"><joint name="b" axis="0 1 0"/><geom type="box" size="0.1 0.1 0.1"/>
<site name="tool" pos="0 0 0.1"/><body name="hand" pos="0.1 0 0"><joint name="c" type="slide" range="0 0.1"/>
<geom type="sphere" size="0.05"/></body></body></body>
<replicate count="3" offset="0.1 0 0"><body name="post"><geom type="sphere" size="0.01"/></body></replicate></worldbody>
<equality><joint joint1="c" joint2="b" polycoef="0 0.5 0 0 0"/></equality></mujoco>"""
TINY = ["--recipe", "quick", "--steps", "2", "--batch-size", "4", "--threads", "1"]
COLLECT = ["collect", "--out", "data", "--episodes", "3", "--workers", "1", "--env", "offset_seed=0"]
TRAIN = ["train", "--data", "data", "--out", "new", *TINY]
RESUME = ["train", "--data", "data", "--out", "run", *TINY, "--resume"]
EVALUATE = ["evaluate", "--policy", "run", "--episodes", "1"]
CHECK = ["data", "check", "data"]
COMMANDS = (
    [
        "collect",
        "--out",
        "new",
        "--task",
        "sweeping",
        "--episodes",
        "1",
        "--observation",
        "state",
        "--seed",
        "3",
    ],
    [*COLLECT, "--perturbation", "0.1", "--expert", "profile=smooth", "--recipe", "quick"],
    [
        *TRAIN,
        "--image-plane",
        "True",
        "--residual",
        "offset",
        "--history",
        "2",
        "--encoder",
        "pool",
        "--width",
        "16",
    ],
    [*TRAIN, "--robot", "ur5e", "--tips", "flange", "--method", "ikp", "--seed", "1", "--minutes", "1"],
    [*TRAIN, "--method", "raw", "--cameras", "top", "--image-size", "48x48", "--episodes", "0-2"],
    RESUME,
    [*EVALUATE, "--video", "new.mp4", "--video-episodes", "1", "--out", "new.json", "--seed", "2"],
    [*EVALUATE, "--task", "insertion", "--env", "offset_seed=3"],
    [*CHECK, "--robot", "ur5e", "--units", "rad", "--gripper", "vacuum=0,1", "--save", "map.json"],
    [
        "demo",
        "--out",
        "new",
        "--recipe",
        "quick",
        "--episodes",
        "3",
        "--curve-episodes",
        "2",
        "--minutes",
        "1",
    ],
)


class WorkBegins(BaseException):
    """A command has checked everything and begins its work."""


@dataclass(frozen=True)
class Case:
    """A damaged input in a folder.

    Attributes:
        kind, number: of the case.
        damage: what was done to the input.
        read: reads it.
        named: pattern of its name that a refusal has to hold.
        reader: the name of `read` among the `READERS` of its kind.
    """

    kind: str
    number: int
    damage: str
    read: Callable[[], Any]
    named: str = ""
    reader: str = ""


@dataclass(frozen=True)
class Outcome:
    """How a case ended: `same`, `warned` or `other` (accepted, with other numbers), `refused`, or a finding."""

    state: str
    words: str
    warned: tuple[str, ...] = ()


class Made(NamedTuple):
    """The damage that a kind of case did, the name of the reader, and the pattern that a refusal has to hold."""

    damage: str
    reader: str
    named: str


def robot_file(name: str, text: str) -> Callable[[Path, random.Random], Made]:
    """Cases of a robot's description."""

    def make(folder: Path, rng: random.Random) -> Made:
        change = rng.choice((change_xml, change_xml, change_xml, damage_bytes))
        data, damage = change(text.encode(), rng)
        (folder / name).write_bytes(data)
        return Made(damage, "load", re.escape(name))

    return make


def _robot(path: Path) -> Any:
    robot = load_robot(path)
    poses = forward_kinematics(robot, torch.zeros(1, robot.dof, dtype=torch.float64))
    if not torch.isfinite(poses).all():
        raise AssertionError("poses are not finite")
    return robot.to_dict(), poses.tolist()


def data_set(folder: Path, rng: random.Random) -> Made:
    """Cases of a data set: it is checked and trained on."""
    path = rng.choice(sorted(path for path in (folder / "data").rglob("*") if path.is_file()))
    damage = _damaged(path, rng)
    reader = rng.choice(("train", "train", "data", "collect"))
    return Made(f"{path.relative_to(folder)}: {damage} ({reader})", reader, r"\bdata\b")


def data_flips(folder: Path, rng: random.Random) -> Made:
    """Cases of one flipped bit in a data file."""
    path = rng.choice(sorted((folder / "data/data").rglob("*.parquet")))
    data, damage = flip_bit(path.read_bytes(), rng)
    path.write_bytes(data)
    return Made(f"{path.relative_to(folder)}: {damage}", "train", r"\bdata\b")


def repairs(folder: Path, rng: random.Random) -> Made:
    """Cases of a damaged data set that is repaired, beside a whole copy."""
    shutil.copytree(folder / "data", folder / "whole")
    path = rng.choice(sorted(path for path in (folder / "data").rglob("*") if path.is_file()))
    return Made(f"{path.relative_to(folder)}: {_damaged(path, rng)}", "repair", r"\bdata\b")


def _repaired() -> Any:
    """Repair, compare every episode that comes back with the whole one, and return those that are lost."""
    report = repair_dataset("data", "new", progress=False)
    found = load_dataset("data" if report.root is None else "new", progress=False)
    whole = load_dataset("whole" if Path("whole").exists() else "data", progress=False)
    for new, old in report.recovered.items():
        rows, right = found.frames_of([new]), whole.frames_of([old])
        pairs = [(found.state, whole.state), (found.action, whole.action)]
        pairs += [(found.images[camera], whole.images[camera]) for camera in found.images]
        known = [
            (one, other) for one, other in pairs if one.shape[1:] == other.shape[1:]
        ]  # as info.json says
        if not all(torch.equal(one[rows], other[right]) for one, other in known):
            raise AssertionError(f"episode {old} came back with other values")
    return sorted(report.lost)


def checkpoint(folder: Path, rng: random.Random) -> Made:
    """Cases of a run: its policy is evaluated, its training is resumed."""
    names = ["policy/config.json"] * 3 + ["policy/model.safetensors"] * 2 + ["train.json"]
    names += [f"state/{path.name}" for path in (folder / "run/state").iterdir()]
    name = rng.choice(names)
    damage = _damaged(folder / "run" / name, rng)
    reader = "evaluate" if name.startswith("policy") else "train"
    return Made(f"run/{name}: {damage} ({reader})", reader, r"\brun\b|its weights are damaged")


KINDS: dict[str, Callable[[Path, random.Random], Made]] = {
    "urdf": robot_file("arm.urdf", URDF),
    "mjcf": robot_file("arm.xml", MJCF),
    "data": data_set,
    "flips": data_flips,
    "repair": repairs,
    "checkpoint": checkpoint,
}
READERS: dict[str, dict[str, Callable[[], Any]]] = {
    "urdf": {"load": lambda: _robot(Path("arm.urdf"))},
    "mjcf": {"load": lambda: _robot(Path("arm.xml"))},
    "data": {words[0]: partial(cli.main, words) for words in (TRAIN, CHECK, COLLECT)},
    "flips": {"train": partial(cli.main, TRAIN)},
    "repair": {"repair": _repaired},
    "checkpoint": {words[0]: partial(cli.main, words) for words in (EVALUATE, RESUME)},
}
"""Readers of the inputs of a kind, damaged and undamaged ones, by name."""
COMMAND_LINES = "command"
"""The kind of commands with wrong words, which has no undamaged input."""


def _damaged(path: Path, rng: random.Random) -> str:
    """Damage a file in the way of its kind, or its bytes; return what was done."""
    structured: dict[str, Callable[[], str]] = {
        ".json": lambda: _rewritten(path, change_json(path.read_bytes(), rng)),
        ".parquet": lambda: change_table(path, rng),
        ".safetensors": lambda: change_tensors(path, rng),
    }
    if path.suffix in structured and rng.random() < 0.7:
        return structured[path.suffix]()
    return _rewritten(path, damage_bytes(path.read_bytes(), rng))


def _rewritten(path: Path, changed: tuple[bytes, str]) -> str:
    path.write_bytes(changed[0])
    return changed[1]


def make_base(base: Path) -> None:
    """The undamaged data set and run."""
    with _quiet(base / "log"), contextlib.chdir(base):
        assert cli.main(COLLECT) == 0
        assert cli.main([*TRAIN[:4], "run", *TINY]) == 0


def make_case(kind: str, number: int, seed: int, base: Path, folder: Path) -> Case:
    """The case of a number, in a folder of its own."""
    rng = random.Random(f"{seed}:{kind}:{number}")
    if kind not in ("urdf", "mjcf"):
        shutil.copytree(base, folder, dirs_exist_ok=True)
    (folder / f"{TRAP}.py").write_text("open('executed', 'w').close()\n")
    if kind == COMMAND_LINES:
        (folder / "base.json").write_text("{}")
        (folder / "cut.safetensors").write_bytes(b"\x10")
        words = change_arguments(rng.choice(COMMANDS), rng)
        return Case(kind, number, " ".join(word[:60] for word in words), partial(cli.main, words))
    damage, reader, named = KINDS[kind](folder, rng)
    return Case(kind, number, damage, READERS[kind][reader], named, reader)


def run_case(
    case: Case, folder: Path, reference: Outcome | None, seconds: float = PATIENCE * SECONDS
) -> Outcome:
    """Run a case in a process of its own, which is killed after some seconds."""
    process = os.fork()
    if process == 0:
        os.setpgid(0, 0)
        with contextlib.suppress(BaseException):
            _child(case, folder)
        os._exit(3)
    status = _waited(process, seconds)
    if status is None:
        return Outcome("HANG", f"longer than {seconds:g} s")
    if (folder / "executed").exists():
        return Outcome("CODE", "the trap was imported")
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU:
        return Outcome("HANG", f"longer than {SECONDS} s of processor time")
    if os.WIFSIGNALED(status):
        return Outcome("CRASH", signal.Signals(os.WTERMSIG(status)).name)
    if not (folder / "outcome.json").exists():
        return Outcome("CRASH", f"exit status {os.waitstatus_to_exitcode(status)}")
    state, words, warned = json.loads((folder / "outcome.json").read_text())
    if state == "accepted":
        state = "same"
        if reference is not None and words != reference.words:
            state = "warned" if set(warned) - set(reference.warned) else "other"
    return Outcome(state, words, tuple(warned))


def _waited(process: int, seconds: float) -> int | None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            return status
        time.sleep(0.005)
    os.killpg(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return None


def _child(case: Case, folder: Path) -> None:
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    os.environ["IKP_DEBUG"] = "1"  # the command line then shows the class of an error
    resource.setrlimit(resource.RLIMIT_AS, (GIBIBYTES * 2**30, GIBIBYTES * 2**30))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 5))
    seen = _stop_where_work_begins()
    ran: list[str] = []
    sys.addaudithook(
        lambda event, words: ran.append(f"{event} {words}") if _runs_code(event, words) else None
    )
    with _quiet(folder / "log"), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        state, words = _ended(case, seen)
        warned = [str(warning.message) for warning in caught if warning.category is UserWarning]
        print(*warned, sep="\n")
    if ran:
        state, words = "CODE", ", ".join(ran)
    (folder / "outcome.json").write_text(json.dumps((state, words, warned)))
    os._exit(0)


def _runs_code(event: str, words: tuple) -> bool:
    """Whether an event of the audit hooks starts a program; git may, for the commit in results."""
    own = event == "subprocess.Popen" and str(words[0]).rpartition("/")[2] == "git"
    return event in RUNS_CODE and not own


def _ended(case: Case, seen: dict[str, Any]) -> tuple[str, str]:
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            seen["result"] = case.read()
    except WorkBegins:
        pass
    except SystemExit as error:
        if error.code == 1:  # `data check` prints the errors and ends
            lines = printed.getvalue().splitlines()
            return _refused(case, [line for line in lines if line.startswith("refused: ")])
        is_parser = error.code in (0, 2)
        return ("refused", f"exit status {error.code}") if is_parser else ("ERROR", str(error.code))
    except (ValueError, OSError) as error:
        return _refused(case, [" ".join(str(error).split())])
    except BaseException as error:
        traceback.print_exc()
        place = traceback.extract_tb(error.__traceback__)[-1]
        return (
            "ERROR",
            f"{type(error).__name__}: {str(error)[:300]} ({Path(place.filename).name}:{place.lineno})",
        )
    finally:
        print(printed.getvalue())  # into the log
    text = json.dumps(seen, default=str, sort_keys=True)
    return "accepted", hashlib.sha256(text.encode()).hexdigest()[:16]


def _refused(case: Case, messages: list[str]) -> tuple[str, str]:
    """How a case ended that was refused with some messages: a finding where one is long or names no file."""
    for words in messages:
        if len(words) > LONGEST_MESSAGE:
            return "LONG", f"{len(words)} characters: {words[:200]}"
        if not re.search(case.named, words):
            return "UNNAMED", words
    return ("refused", "; ".join(messages)) if any(messages) else ("UNNAMED", "no message")


def _stop_where_work_begins() -> dict[str, Any]:
    """Let every command stop where its work would begin; return what it has read until then."""
    seen: dict[str, Any] = {}
    load, step, act = runs.load_dataset, _Run._step, Policy.act

    def stop(*_: Any, **__: Any) -> Any:
        raise WorkBegins

    def loaded(*args: Any, **kwargs: Any) -> Any:
        data = load(*args, **kwargs)
        tensors = [data.state, data.action, data.environment_state, *data.images.values(), data.success]
        seen["data"] = [hashlib.sha256(t.contiguous().numpy().tobytes()).hexdigest() for t in tensors]
        seen["spec"] = data.spec.to_json()
        return data

    def stepped(self: Any) -> Any:
        step(self)
        raise WorkBegins

    def acted(self: Any, observation: Any) -> Any:
        seen["action"] = act(self, observation).tolist()
        raise WorkBegins

    runs.load_dataset, _Run._step, Policy.act = loaded, stepped, acted
    collect._produce, Stages.run = stop, stop
    return seen


@contextlib.contextmanager
def _quiet(log: Path) -> Iterator[None]:
    """Send what is printed to a file, C libraries included."""
    kept = [os.dup(1), os.dup(2)]
    with log.open("a") as file:
        sys.stdout.flush()
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            sys.stdout.flush()
            for number, copy in enumerate(kept, start=1):
                os.dup2(copy, number)
                os.close(copy)


def _reference(kind: str, base: Path, work: Path) -> dict[str, Outcome]:
    """The outcome of the undamaged input, by what reads it; empty for command lines."""
    found = {}
    for name, read in READERS.get(kind, {}).items():
        folder = work / f"{kind}-reference-{name}"
        shutil.copytree(base, folder)
        (folder / "arm.urdf").write_text(URDF)
        (folder / "arm.xml").write_text(MJCF)
        outcome = run_case(Case(kind, -1, "undamaged", read), folder, None)
        if outcome.state != "same":
            raise RuntimeError(f"the undamaged {kind} {name}: {outcome.state} {outcome.words}")
        found[name] = outcome
        shutil.rmtree(folder)
    return found


def run_kind(
    kind: str, numbers: range, seed: int, base: Path, work: Path, *, keep: bool, verbose: bool
) -> dict[str, Any]:
    """Run the cases of a kind; return how many ended in each way, those accepted with other numbers, the findings."""
    findings: list[str] = []
    others: dict[str, list[str]] = {"other": [], "warned": []}
    counts: Counter = Counter()
    reference = _reference(kind, base, work)
    for number in numbers:
        folder = work / f"{kind}-{number}"
        folder.mkdir()
        case = make_case(kind, number, seed, base, folder)
        outcome = run_case(case, folder, reference[case.reader] if case.reader else None)
        counts[outcome.state] += 1
        line = f"{kind}:{number} {outcome.state}: {case.damage}: {outcome.words}"
        if outcome.state.isupper():
            findings.append(line)
        if outcome.state in others:
            others[outcome.state].append(f"{kind}:{number} {case.damage}")
        if outcome.state.isupper() or outcome.state in others or keep or verbose:
            print(f"{line} {folder if keep else ''}", flush=True)
        if not keep:
            shutil.rmtree(folder)
    ended = dict(counts.most_common())
    return {"seed": seed, "cases": len(numbers), "ended": ended, **others, "findings": findings}


def main() -> int:
    """Run what the arguments say; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--kinds", nargs="+", choices=[*KINDS, COMMAND_LINES], default=[*KINDS, COMMAND_LINES]
    )
    parser.add_argument("--count", type=int, default=500, help="cases of every kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--verbose", action="store_true", help="show every case")
    parser.add_argument("--out", type=Path, help="folder for a record of every kind")
    parser.add_argument("--case", help="only this one, as KIND:NUMBER, with its files kept")
    args = parser.parse_args()
    began = provenance()
    torch.set_num_threads(1)  # other threads would not survive a fork
    work = Path(tempfile.mkdtemp(prefix="mutate-"))
    base = work / "base"
    base.mkdir()
    process = os.fork()  # what the preparation starts must not live on in this process
    if process == 0:
        os.setpgid(0, 0)
        make_base(base)
        os._exit(0)
    if _waited(process, 10 * SECONDS) != 0:
        raise RuntimeError(f"the undamaged data set and run could not be made: see {base / 'log'}")
    kinds, numbers = args.kinds, range(args.count)
    if args.case:
        kind, _, number = args.case.partition(":")
        kinds, numbers = [kind], range(int(number), int(number) + 1)
    findings: list[str] = []
    for kind in kinds:
        record = run_kind(
            kind, numbers, args.seed, base, work, keep=args.case is not None, verbose=args.verbose
        )
        findings += record["findings"]
        counts = ", ".join(f"{count} {state}" for state, count in record["ended"].items())
        print(f"{kind}: {counts}", flush=True)
        if args.out is not None:
            write_json(args.out / f"{kind}.json", record | {"provenance": began})
    if args.case is None:
        shutil.rmtree(work)
    print(f"{len(findings)} findings", *findings, sep="\n")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
