"""Tables, comparisons and the report are made from records alone."""

import json
import re

import numpy as np
import pytest

from ikp.files import write_json
from ikp.recipes import RECIPES
from ikp.rollouts.intervals import bootstrap_interval
from ikp.rollouts.summary import TOLERANCES, count_of, tolerance_name
from ikp_paper.figures import trajectories
from ikp_paper.figures.plots import time_figure, training_figure
from ikp_paper.figures.trajectories import record_trajectories
from ikp_paper.record import score_of
from ikp_paper.report import write_reproduction
from ikp_paper.rows import (
    comparison_rows,
    markdown,
    recipes_with_results,
    reproduction_tables,
    table_rows,
    table_text,
)
from ikp_paper.run import resolve, result_path, run_name
from ikp_paper.statistics import CellRecords, cell_records
from ikp_paper.tables import TABLES, Cell, Setting
from ikp_paper.variants import VARIANTS

INSERTION = Setting("insertion", 100)
TABLE = TABLES["table2"]


def record(results, variant, seed, successes, recipe="standard", first=1_000_000):
    """Store a finished run of which the first so many of 20 episodes succeed."""
    run = resolve(Cell(INSERTION, variant), recipe, seed)
    success = [int(i < successes) for i in range(20)]
    episodes = [{"seed": first + i, "success": bool(hit), "info": {}} for i, hit in enumerate(success)]
    values = {
        "run": {"name": run.name, "recipe": recipe, "task": "insertion", "variant": variant, "seed": seed},
        "score": score_of("success", episodes),
        "training": {"steps": 20_000, "seconds": 60.0},
        "evaluation": {"seconds": 10.0},
        "settings": run.settings(),
        "provenance": {"commit": "abc"},
        "curve": {"step": [1, 2], "seconds": [30.0, 60.0], "loss": [2.0, 1.0], "miss": [0.5, 0.2]},
        "episodes": {"first_seed": first, "success": success},
    }
    return write_json(result_path(results, recipe, run.name), values)


def cells_of(rows, method):
    (row,) = [row for row in rows if row[0] == method]
    return dict(zip(rows[0], row, strict=True))


def test_ours_stands_beside_the_papers(tmp_path):
    for seed, successes in enumerate((18, 16, 20)):
        record(tmp_path, "ikp", seed, successes)
    record(tmp_path, "explicit", 0, 5)
    rows = table_rows(TABLE, tmp_path, "standard")
    title = "Insertion, miscalibrated (pixels, 100 demonstrations)"
    head = rows[0].index(title)
    ikp = rows[-1]
    assert ikp[head] == "90.0 ± 10.0"
    assert ikp[head + 1] == "88.8 ± 3.4"
    assert rows[1][head] == "25.0 (1 of 3 seeds)"
    assert rows[2][head] == "not run"
    assert ikp[1] == "not run"
    assert rows[0][1].startswith("Sweeping, miscalibrated")
    assert len(markdown(rows).splitlines()) == len(rows) + 1


def test_results_of_an_earlier_version_of_the_policy_are_marked(tmp_path):
    for variant in ("ikp", "explicit"):
        stored = json.loads(record(tmp_path, variant, 0, 18).read_text())
        del stored["settings"]["versions"]  # as in records from before there were any
        write_json(result_path(tmp_path, "standard", stored["run"]["name"]), stored)
        assert cell_records(Cell(INSERTION, variant), tmp_path, "standard").outdated
    state = Setting("insertion", 100, observation="state")
    assert resolve(Cell(state, "explicit"), "standard", 0).settings()["versions"] == {}
    assert resolve(Cell(state, "ikp"), "standard", 0).settings()["versions"] == {"regression": 2}
    assert resolve(Cell(INSERTION, "ikp"), "paper", 0).settings()["versions"] == {}


def test_results_of_earlier_settings_are_marked(tmp_path):
    path = record(tmp_path, "ikp", 0, 18)
    stored = json.loads(path.read_text())
    stored["settings"]["episodes"] = 7
    write_json(path, stored)
    assert "90.0 (1 of 3 seeds)" in table_rows(TABLE, tmp_path, "standard")[-1], "--episodes is free"
    stored["settings"]["train"]["learning_rate"] = 1.0
    write_json(path, stored)
    assert "90.0 (1 of 3 seeds)*" in table_rows(TABLE, tmp_path, "standard")[-1]


def test_settled_rows_are_shown_from_their_records_and_marked(tmp_path):
    table = TABLES["moved"]
    cell = table.cell(table.settings[0], "ikp-turned")
    assert "no longer in the configuration" not in table_text(table, tmp_path, "standard")
    stored = json.loads(record(tmp_path, "ikp", 0, 18).read_text())
    stored["settings"]["settled"] = {"train": {"scene_shift": 0.0}}
    name = run_name(cell, RECIPES["standard"])
    write_json(result_path(tmp_path, "standard", name), stored)
    text = table_text(table, tmp_path, "standard")
    assert "| IKP, scenes turned, not shifted † | 90.0 (1 of 3 seeds) |" in text
    assert "no longer in the configuration; measured with commit abc." in text
    assert not cell_records(cell, tmp_path, "standard").outdated


def test_a_small_recipe_says_that_it_has_fewer_demonstrations(tmp_path):
    heads = table_rows(TABLE, tmp_path, "quick")[0]
    assert "Insertion, miscalibrated (pixels, 1000 demonstrations, here 200)" in heads
    assert "Insertion, miscalibrated (pixels, 100 demonstrations)" in heads


def test_ikp_is_compared_with_the_best_single_space_on_common_seeds(tmp_path):
    assert len(comparison_rows(TABLE, tmp_path, "standard")) == 1, "nothing to compare yet"
    for seed in (0, 1):
        record(tmp_path, "ikp", seed, 18)
        record(tmp_path, "implicit-joint", seed, 12 + 2 * seed)
    record(tmp_path, "ikp", 2, 0)
    record(tmp_path, "explicit", 0, 11)
    record(tmp_path, "explicit-fk", 0, 20)
    (row,) = comparison_rows(TABLE, tmp_path, "standard")[1:]
    assert row[1:3] == ["Implicit (joints)", "+25.0"], "ExplicitFK sees both spaces; seed 2 has no rival"
    low, high = (float(bound) for bound in row[3].split(" to "))
    assert 0 <= low < 25 < high < 60
    assert row[4] == "2"


def test_runs_on_other_episodes_are_not_compared(tmp_path):
    record(tmp_path, "ikp", 0, 18)
    record(tmp_path, "implicit-joint", 0, 12, first=5)
    with pytest.raises(ValueError, match="evaluated on different episodes"):
        comparison_rows(TABLE, tmp_path, "standard")


def test_the_largest_recipe_with_results_is_shown(tmp_path):
    assert "Recipe `standard`" in reproduction_tables(tmp_path)
    record(tmp_path, "ikp", 0, 18, recipe="quick")
    assert recipes_with_results(tmp_path) == ["quick"]
    text = reproduction_tables(tmp_path)
    assert "Recipe `quick`, one seed" in text
    assert "| IKP (joints + link poses) | not run | 84.5 ± 1.2 | 90.0 | 88.8 ± 3.4 |" in text
    assert "Table I:" in text


def test_scores_have_their_own_interval():
    episodes = [{"seed": i, "success": False, "info": {"score": i / 10}} for i in range(11)]
    score = score_of("score", episodes)
    assert score["mean"] == pytest.approx(0.5)
    low, high = score["interval_95"]
    assert 0.25 < low < 0.4
    assert 0.6 < high < 0.75
    with pytest.raises(ValueError, match="is 'score', and its info at the end of episode 3 does not have it"):
        score_of("score", [{"seed": 3, "success": True, "info": {}}])


def test_the_bootstrap_agrees_with_theory():
    values = np.random.default_rng(1).normal(0.3, 1.0, (1, 400))
    low, high = bootstrap_interval(values)
    half = 1.96 * values.std(ddof=1) / 20
    assert low == pytest.approx(values.mean() - half, abs=0.02)
    assert high == pytest.approx(values.mean() + half, abs=0.02)
    # trainings that differ widen it, though the episodes of each are all alike
    low, high = bootstrap_interval(np.repeat([[0.0], [1.0]], 50, axis=1))
    assert (low, high) == pytest.approx((0.0, 1.0))
    with pytest.raises(ValueError, match="shape"):
        bootstrap_interval(np.zeros((1, 0)))


def test_the_report_opens_offline_and_is_rebuilt_from_records(tmp_path):
    results = tmp_path / "results"
    for variant, successes in (("ikp", 18), ("implicit-joint", 15)):
        record(results, variant, 0, successes)
    page = write_reproduction(tmp_path / "report", results, "standard")
    html, text = page.read_text(), (page.parent / "tables.md").read_text()
    assert not re.search(r"https?://|@import|url\(", re.sub(r"data:[^\"]*", "", html))
    assert "90.0 (1 of 3 seeds)" in html
    assert "+15.0" in html
    pictures = re.findall(r"\]\((figures/[^)]+)\)", text)
    assert pictures
    assert html.count("data:image/png;base64") == len(pictures)
    assert all((page.parent / name).stat().st_size > 10_000 for name in pictures)
    assert "Flipping: not run" in text
    assert "Insertion, miscalibrated: not run" in text
    assert write_reproduction(tmp_path / "again", results, "standard").read_text() == html


def test_trainings_that_were_validated_once_have_no_learning_curve(tmp_path):
    results = tmp_path / "results"
    path = record(results, "ikp", 0, 18)
    values = json.loads(path.read_text())
    values["curve"] = {key: curve[-1:] for key, curve in values["curve"].items()}
    write_json(path, values)
    page = write_reproduction(tmp_path / "once", results, "standard")
    assert not list(page.parent.glob("figures/table2-*.png"))
    record(results, "explicit", 0, 5)
    page = write_reproduction(tmp_path / "twice", results, "standard")
    assert len(list(page.parent.glob("figures/table2-*.png"))) == 1


@pytest.mark.filterwarnings("error")
def test_the_legend_of_many_methods_lies_below_their_curves(tmp_path):
    variants = [name for name, variant in VARIANTS.items() if not variant.settled]
    for variant in variants:
        record(tmp_path, variant, 0, 10)
    made = training_figure("all", [cell_records(Cell(INSERTION, v), tmp_path, "standard") for v in variants])
    made.savefig(tmp_path / "figure.png")
    (legend,) = made.legends
    assert len(legend.get_texts()) == len(variants)
    for ax in made.axes:
        lines, box = ax.get_tightbbox(), ax.get_window_extent()
        assert legend.get_window_extent().y1 <= lines.y0
        assert box.height > 200


def test_the_experts_motion_shows_the_offsets(tmp_path, monkeypatch):
    path = record_trajectories("insertion", tmp_path / "results", tmp_path / "out")
    recorded = json.loads(path.read_text())
    assert len(path.read_text()) < 40_000
    assert len(recorded["episodes"]) == trajectories.EPISODES
    offset = np.array(recorded["q_offset"])
    assert 0.1 < np.degrees(np.abs(offset)).max() <= 2
    first = recorded["episodes"][0]
    error = np.linalg.norm(np.array(first["position_true"]) - np.array(first["position_seen"]), axis=-1)
    assert 1e-3 < error.max() < 0.1, "a degree or two at an arm's length"
    assert np.ptp(error) > 1e-4, "constant offsets, yet the Cartesian error changes along the way"
    monkeypatch.delattr(trajectories, "collect")
    assert record_trajectories("insertion", tmp_path / "results", tmp_path / "out") == path
    page = write_reproduction(tmp_path / "report", tmp_path / "results", "standard")
    assert (page.parent / "figures" / "figure5-insertion.png").stat().st_size > 20_000


def test_success_over_time_puts_the_seeds_together():
    def finished(seconds, hits):
        shares = [count_of(hit, 20) for hit in hits]
        records = {
            seed: {
                "training": {"seconds": seconds + seed},
                "episodes": {"success": [1] * 20},
                "summary": {"success": share, "within": {tolerance_name(t): share for t in TOLERANCES}},
            }
            for seed, share in enumerate(shares)
        }
        return CellRecords(TABLES["time"].cells[0], records)

    drawn = time_figure({"ikp": [finished(60, [10]), finished(119, [18, 14, 16])]})
    line = drawn.axes[0].lines[0]
    assert line.get_xdata() == pytest.approx([1.0, 2.0])
    assert line.get_ydata() == pytest.approx([50.0, 80.0])
