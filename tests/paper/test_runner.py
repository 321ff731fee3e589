"""The runner of a matrix: killed, doubled, and with runs that fail, every cell ends once and with the same figures."""

import json
import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from ikp.data import load_dataset
from ikp.locks import is_locked, lock
from ikp_paper import record as records
from ikp_paper.estimates import memory_of
from ikp_paper.execute import ensure_data, execute, standing
from ikp_paper.executors import LocalExecutor, RayExecutor
from ikp_paper.queue import Runner, listing

HERE = str(Path(__file__).parent)
PATIENCE = 120.0


@pytest.fixture(scope="module")
def tiny_matrix():
    """The module with the tiny runs, as the runners' processes import it too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(HERE)
        import tiny_matrix

        yield tiny_matrix


@pytest.fixture(scope="module")
def undisturbed(tiny_matrix, tmp_path_factory):
    """Places of a matrix that one runner finished, with one run at a time."""
    places = tiny_matrix.places_in(tmp_path_factory.mktemp("undisturbed"))
    assert Runner(tiny_matrix.MATRIX, places, LocalExecutor(places, 1, 1), workers=1).run() == {}
    return places


def wait_until(condition, what):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.005)


def figures(places, matrix):
    """What must not depend on how a matrix was run: no times, dates, or numbers of starts."""
    found = {}
    for run in matrix:
        record = json.loads(places.result(run).read_text())
        curve = {key: value for key, value in record["curve"].items() if key != "seconds"}
        kept = {key: record[key] for key in ("run", "score", "summary", "settings", "episodes")}
        found[run.name] = {**kept, "curve": curve, "steps": record["training"]["steps"]}
    return found


class NoExecutor:
    """Has no room, so that any run to do would be waited for."""

    def has_room(self):
        return False

    def start(self, run):
        raise AssertionError(f"{run.name} was started")

    def ended(self):
        return []

    def stop(self):
        pass


def test_killed_again_and_again_every_run_ends_once_with_the_same_figures(tiny_matrix, undisturbed, tmp_path):
    matrix, places = tiny_matrix.MATRIX, tiny_matrix.places_in(tmp_path)

    def unfinished(pattern):
        works = [places.work(run) for run in matrix if not places.result(run).exists()]
        return any(list(work.glob(pattern)) for work in works)

    moments = {
        "a first checkpoint": lambda: unfinished("state/step-*.safetensors"),
        "an evaluation": lambda: unfinished("policy/model.safetensors"),
        "a first record": lambda: any(places.result(run).exists() for run in matrix),
    }
    for what, reached in moments.items():
        runner = tiny_matrix.start_runner(tmp_path, jobs=2)
        wait_until(reached, what)
        os.kill(runner.pid, signal.SIGKILL)
        runner.join()
        assert not all(places.result(run).exists() for run in matrix), "there is something left to do"
        held = [places.lock(run) for run in matrix]
        wait_until(lambda held=held: not any(is_locked(path) for path in held), "the end of the runs")
    runner = tiny_matrix.start_runner(tmp_path, jobs=2)
    runner.join()
    assert runner.exitcode == 0
    assert figures(places, matrix) == figures(undisturbed, matrix)
    stored = {path.stem for path in places.result(matrix[0]).parent.glob("*.json")}
    assert stored == {run.name for run in matrix}
    starts = [json.loads(places.result(run).read_text())["starts"] for run in matrix]
    assert max(starts) > 1, "some run was interrupted"


def test_two_runners_at_once_do_no_run_twice(tiny_matrix, undisturbed, tmp_path):
    matrix, places = tiny_matrix.MATRIX, tiny_matrix.places_in(tmp_path)
    runners = [tiny_matrix.start_runner(tmp_path, jobs=1) for _ in range(2)]
    for runner in runners:
        runner.join()
    assert [runner.exitcode for runner in runners] == [0, 0]
    assert [json.loads(places.result(run).read_text())["starts"] for run in matrix] == [1] * len(matrix)
    evaluations = [(places.work(run) / "log.txt").read_text().count("training toy") for run in matrix]
    assert evaluations == [1] * len(matrix)
    assert figures(places, matrix) == figures(undisturbed, matrix)


def test_what_is_finished_is_not_run_again(tiny_matrix, undisturbed):
    before = {path: path.read_bytes() for path in undisturbed.results.rglob("*.json")}
    assert Runner(tiny_matrix.MATRIX, undisturbed, NoExecutor(), workers=1).run() == {}
    assert {path: path.read_bytes() for path in undisturbed.results.rglob("*.json")} == before


def test_a_record_is_small_and_complete(tiny_matrix, undisturbed):
    run = tiny_matrix.MATRIX[0]
    text = undisturbed.result(run).read_text()
    record = json.loads(text)
    assert len(text) < 10_000
    assert len(text.splitlines()) < 160
    assert len(record["episodes"]["success"]) == run.episodes
    assert record["score"]["mean"] == pytest.approx(sum(record["episodes"]["success"]) / run.episodes)
    assert {"command", "commit", "machine", "date"} <= set(record["origin"])
    assert record["machine_share"] == {"jobs": 1, "threads": 1}
    assert record["curve"]["step"] == [20, 40, 60]
    assert record["training"]["seconds"] > 0


def test_other_settings_are_refused_and_named(tiny_matrix, undisturbed):
    longer = tiny_matrix.run_of(8, 0, episodes=21)
    with pytest.raises(
        ValueError, match=r"toy-width8-seed0\.json was made with.*episodes was 20, is 21.*delete"
    ):
        Runner([longer], undisturbed, NoExecutor(), workers=1).run()
    wrong = undisturbed.results / "wrong.json"
    wrong.write_text('{"run": {}}')
    with pytest.raises(ValueError, match="lacks score, settings, episodes"):
        records.read_record(wrong)
    wrong.unlink()


def test_records_of_before_have_the_choices_of_then(tiny_matrix, undisturbed, tmp_path):
    """What did not exist is at its default where that changed nothing, and what every policy did where it did."""
    run = tiny_matrix.run_of(8, 0)
    record = records.read_record(undisturbed.result(run))
    assert record is not None
    records.check_record(tmp_path, record, run)
    for key in ("fine_motion", "energy_gradient"):
        del record["settings"]["policy"][key]
    del record["settings"]["policy"]["encoder"]["stem"], record["settings"]["train"]["scene_turn"]
    path = tmp_path / "old.json"
    path.write_text(json.dumps(record))
    old = records.read_record(path)
    assert old is not None
    with pytest.raises(ValueError, match="was made with other settings") as refused:
        records.check_record(path, old, run)
    assert "fine_motion was False" in str(refused.value)
    assert "energy_gradient was 0.1" in str(refused.value)
    assert "stem" not in str(refused.value)
    assert "scene_turn" not in str(refused.value)


def test_a_run_that_fails_is_reported_and_disturbs_no_other(tiny_matrix, tmp_path):
    places = tiny_matrix.places_in(tmp_path)
    bad = tiny_matrix.run_of(8, 5, name="toy-bad", episodes=0)
    good = tiny_matrix.run_of(8, 0)
    failed = Runner([bad, good], places, LocalExecutor(places, 2, 1), workers=1).run()
    assert failed == {"toy-bad": "ValueError: episodes is 0: it must be at least 1"}
    assert "failed, see" in standing(bad, places).words
    assert standing(good, places).words.startswith("done: ")


def test_a_run_collects_from_its_own_expert(tiny_matrix, tmp_path):
    places = tiny_matrix.places_in(tmp_path)
    plain, slow = tiny_matrix.run_of(8, 0), tiny_matrix.run_of(8, 0, expert={"gain": 0.3})
    for run in (plain, slow):
        ensure_data(run, places, workers=1)
    full, half = (load_dataset(places.data(run)).action[0].item() for run in (plain, slow))
    assert half == pytest.approx(full / 2)


def test_a_killed_process_is_reported_and_its_run_continues(tiny_matrix, tmp_path):
    places, run = tiny_matrix.places_in(tmp_path), tiny_matrix.run_of(8, 0)
    ensure_data(run, places, workers=1)
    executor = LocalExecutor(places, 1, 1)
    executor.start(run)
    assert not executor.has_room()
    wait_until(lambda: 0 < standing(run, places).trained < 1, "a part of the training")
    (process,) = [child for child in multiprocessing.active_children() if child.name == run.name]
    process.kill()
    process.join()
    (outcome,) = executor.ended()
    assert "status -9" in outcome.error
    assert standing(run, places).words.startswith("interrupted at ")
    assert "interrupted at" in listing([run], places, jobs=1, workers=1)
    assert execute(run, places, {})
    assert json.loads(places.result(run).read_text())["starts"] == 2


def test_a_lock_keeps_others_out_and_dies_with_its_process(tmp_path):
    path = tmp_path / "run.lock"
    with lock(path) as held:
        assert held
        assert is_locked(path)
        with lock(path) as again:
            assert not again
        assert path.exists(), "who does not hold it does not remove it"
    assert not path.exists()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        with lock(path):
            os.write(writer, b"held")
            time.sleep(PATIENCE)
        os._exit(0)
    assert os.read(reader, 4) == b"held"
    assert is_locked(path)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert path.exists()
    assert not is_locked(path)
    with lock(path) as held:
        assert held


def test_ray_is_asked_for_by_its_extra(tiny_matrix, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ValueError, match=r"ikp\[ray\]"):
        RayExecutor(tiny_matrix.places_in(tmp_path), threads=1)


def test_a_run_asks_ray_for_no_more_than_a_machine_has(tiny_matrix, tmp_path, monkeypatch):
    """Against a stand-in that only notes what it is asked for; the test after this one runs Ray itself."""
    asked = {}

    class Remote:
        def options(self, **options):
            asked.update(options)
            return self

        def remote(self, *arguments):
            asked["share"] = arguments[2]
            return "reference"

    def remote(**options):
        asked.update(options)
        return lambda function: Remote()

    small, large, dead = ({"CPU": cores, "memory": cores * 1e9} for cores in (2.0, 4.0, 64.0))
    nodes = [{"Alive": machine is not dead, "Resources": machine} for machine in (small, large, dead)]
    ray = SimpleNamespace(
        is_initialized=lambda: True,
        nodes=lambda: nodes,
        cluster_resources=lambda: {"CPU": 6.0},
        remote=remote,
    )
    monkeypatch.setitem(sys.modules, "ray", ray)
    run, places = tiny_matrix.run_of(8, 0), tiny_matrix.places_in(tmp_path)
    RayExecutor(places, threads=2).start(run)
    assert asked["num_cpus"] == asked["share"]["threads"] == 2
    assert asked["memory"] == memory_of(run)
    assert asked["num_gpus"] == 0
    large["memory"] = 1e9
    RayExecutor(places, threads=16).start(run)
    assert asked["num_cpus"] == asked["share"]["threads"] == 4
    assert asked["memory"] == 1e9 < memory_of(run)


def test_a_local_ray_gives_the_same_figures(tiny_matrix, undisturbed, tmp_path, monkeypatch):
    ray = pytest.importorskip("ray", reason="the extra 'ray' is not installed")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([HERE, *filter(None, [os.environ.get("PYTHONPATH")])]))
    places, matrix = tiny_matrix.places_in(tmp_path), tiny_matrix.MATRIX[:2]
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
    try:
        assert Runner(matrix, places, RayExecutor(places, threads=1), workers=1).run() == {}
    finally:
        ray.shutdown()
    assert figures(places, matrix) == figures(undisturbed, matrix)
