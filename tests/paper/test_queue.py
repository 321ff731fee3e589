"""The queue: killed, doubled, and with runs that fail, every run ends once and with the same results."""

import json
import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

import ikp_paper
from ikp.data import load_dataset
from ikp.locks import is_locked
from ikp_paper import record as records
from ikp_paper.execute import ensure_data, execute, standing
from ikp_paper.queue.cluster import RayExecutor
from ikp_paper.queue.estimates import memory_of
from ikp_paper.queue.local import LocalExecutor
from ikp_paper.queue.runner import Runner, listing

HERE = str(Path(__file__).parent)
PATIENCE = 120.0


@pytest.fixture(scope="module")
def tiny_runs():
    """The module with the tiny runs, as the runners' processes import it too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(HERE)
        import tiny_runs

        yield tiny_runs


@pytest.fixture(scope="module")
def undisturbed(tiny_runs, tmp_path_factory):
    """Places of runs that one runner finished, one at a time."""
    places = tiny_runs.places_in(tmp_path_factory.mktemp("undisturbed"))
    assert Runner(tiny_runs.RUNS, places, LocalExecutor(places, 1, 1), workers=1).run() == {}
    return places


def wait_until(condition, what):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.005)


def outcomes(places, runs):
    """The part of the records that must not depend on how the runs were executed: no times, dates, starts."""
    found = {}
    for run in runs:
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


def test_killed_again_and_again_every_run_ends_once_with_the_same_results(tiny_runs, undisturbed, tmp_path):
    runs, places = tiny_runs.RUNS, tiny_runs.places_in(tmp_path)

    def unfinished(pattern):
        works = [places.work(run) for run in runs if not places.result(run).exists()]
        return any(list(work.glob(pattern)) for work in works)

    moments = {
        "a first checkpoint": lambda: unfinished("state/step-*.safetensors"),
        "an evaluation": lambda: unfinished("policy/model.safetensors"),
        "a first record": lambda: any(places.result(run).exists() for run in runs),
    }
    for what, reached in moments.items():
        runner = tiny_runs.start_runner(tmp_path, jobs=2)
        wait_until(reached, what)
        os.kill(runner.pid, signal.SIGKILL)
        runner.join()
        assert not all(places.result(run).exists() for run in runs), "there is something left to do"
        held = [places.lock(run) for run in runs]
        wait_until(lambda held=held: not any(is_locked(path) for path in held), "the end of the runs")
    runner = tiny_runs.start_runner(tmp_path, jobs=2)
    runner.join()
    assert runner.exitcode == 0
    assert outcomes(places, runs) == outcomes(undisturbed, runs)
    stored = {path.stem for path in places.result(runs[0]).parent.glob("*.json")}
    assert stored == {run.name for run in runs}
    starts = [json.loads(places.result(run).read_text())["starts"] for run in runs]
    assert max(starts) > 1, "some run was interrupted"


def test_two_runners_at_once_do_no_run_twice(tiny_runs, undisturbed, tmp_path):
    runs, places = tiny_runs.RUNS, tiny_runs.places_in(tmp_path)
    runners = [tiny_runs.start_runner(tmp_path, jobs=1) for _ in range(2)]
    for runner in runners:
        runner.join()
    assert [runner.exitcode for runner in runners] == [0, 0]
    assert [json.loads(places.result(run).read_text())["starts"] for run in runs] == [1] * len(runs)
    evaluations = [(places.work(run) / "log.txt").read_text().count("training toy") for run in runs]
    assert evaluations == [1] * len(runs)
    assert outcomes(places, runs) == outcomes(undisturbed, runs)


def test_what_is_finished_is_not_run_again(tiny_runs, undisturbed):
    before = {path: path.read_bytes() for path in undisturbed.results.rglob("*.json")}
    assert Runner(tiny_runs.RUNS, undisturbed, NoExecutor(), workers=1).run() == {}
    assert {path: path.read_bytes() for path in undisturbed.results.rglob("*.json")} == before


def test_a_record_is_small_and_complete(tiny_runs, undisturbed):
    run = tiny_runs.RUNS[0]
    text = undisturbed.result(run).read_text()
    record = json.loads(text)
    assert len(text) < 10_000
    assert len(text.splitlines()) < 160
    assert len(record["episodes"]["success"]) == run.episodes
    assert record["score"]["mean"] == pytest.approx(sum(record["episodes"]["success"]) / run.episodes)
    assert {"command", "commit", "machine", "date"} <= set(record["provenance"])
    assert record["machine_share"] == {"jobs": 1, "threads": 1}
    assert record["curve"]["step"] == [20, 40, 60]
    assert record["training"]["seconds"] > 0


def test_other_settings_are_refused_and_named(tiny_runs, undisturbed):
    longer = tiny_runs.run_of(8, 0, episodes=21)
    with pytest.raises(
        ValueError, match=r"toy-width8-seed0\.json was made with.*episodes was 20, is 21.*delete"
    ):
        Runner([longer], undisturbed, NoExecutor(), workers=1).run()
    wrong = undisturbed.results / "wrong.json"
    wrong.write_text('{"run": {}}')
    with pytest.raises(ValueError, match="lacks score, settings, episodes"):
        records.read_record(wrong)
    wrong.unlink()


def test_a_run_that_fails_is_reported_and_disturbs_no_other(tiny_runs, tmp_path):
    places = tiny_runs.places_in(tmp_path)
    bad = tiny_runs.run_of(8, 5, name="toy-bad", episodes=0)
    good = tiny_runs.run_of(8, 0)
    failed = Runner([bad, good], places, LocalExecutor(places, 2, 1), workers=1).run()
    assert failed == {"toy-bad": "ValueError: episodes is 0: it must be from 1 to 1000000"}
    assert "failed, see" in standing(bad, places).words
    assert standing(good, places).words.startswith("done: ")


def test_a_run_collects_from_its_own_expert(tiny_runs, tmp_path):
    places = tiny_runs.places_in(tmp_path)
    plain, slow = tiny_runs.run_of(8, 0), tiny_runs.run_of(8, 0, expert={"gain": 0.3})
    for run in (plain, slow):
        ensure_data(run, places, workers=1)
    full, half = (load_dataset(places.data(run)).action[0].item() for run in (plain, slow))
    assert half == pytest.approx(full / 2)


def test_a_killed_process_is_reported_and_its_run_continues(tiny_runs, tmp_path):
    places, run = tiny_runs.places_in(tmp_path), tiny_runs.run_of(8, 0)
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


def test_ray_is_asked_for_by_its_extra(tiny_runs, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ValueError, match=r"ikp\[ray\]"):
        RayExecutor(tiny_runs.places_in(tmp_path), threads=1)


def test_a_run_asks_ray_for_no_more_than_a_machine_has(tiny_runs, tmp_path, monkeypatch):
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
    run, places = tiny_runs.run_of(8, 0), tiny_runs.places_in(tmp_path)
    RayExecutor(places, threads=2).start(run)
    assert asked["num_cpus"] == asked["share"]["threads"] == 2
    assert asked["memory"] == memory_of(run)
    assert asked["num_gpus"] == 0
    large["memory"] = 1e9
    RayExecutor(places, threads=16).start(run)
    assert asked["num_cpus"] == asked["share"]["threads"] == 4
    assert asked["memory"] == 1e9 < memory_of(run)


class Watched(RayExecutor):
    """Notes how many runs are executed at the same time."""

    most = 0

    def ended(self):
        running = [self.places.result(run).with_suffix(".lock") for run in self.watched]
        self.most = max(self.most, sum(map(is_locked, running)))
        return super().ended()


def test_two_ray_workers_give_the_same_results(tiny_runs, undisturbed, tmp_path, monkeypatch):
    import ray

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([HERE, str(Path(ikp_paper.__file__).parents[1])]))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    places, runs = tiny_runs.places_in(tmp_path), tiny_runs.RUNS
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        executor = Watched(places, threads=1)
        executor.watched = runs
        assert Runner(runs, places, executor, workers=1).run() == {}
    finally:
        ray.shutdown()
    assert executor.most == 2
    assert outcomes(places, runs) == outcomes(undisturbed, runs)
