"""The tables of the pages are made from the result files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from blocks import fill
from energy_table import energy_table
from ikp.rollouts.summary import summarize
from ikp_paper.rows import OUTDATED
from ikp_paper.run import resolve, result_path
from ikp_paper.tables import SWEEPING_MISCALIBRATED, TABLES, Cell
from insertion_tables import ahead_table, demo_table, insertion_table
from methods_table import methods_table
from sweeping_table import sweeping_table
from tables import behind, builders, pages

REPOSITORY = Path(__file__).parents[2]


def evaluation(errors_mm):
    """An evaluation with these final errors; within 10 mm is success."""
    info = [{"position_error": mm / 1e3, "yaw_error": 1.0} for mm in errors_mm]
    episodes = [
        {"seed": i, "success": mm <= 10, "steps": 20, "info": info[i]} for i, mm in enumerate(errors_mm)
    ]
    return {"episodes": episodes}


def store(results, cell, seed, errors_mm=(), seconds=60.0, **changes):
    """Store the record of a run whose episodes end with these errors."""
    run = resolve(cell, "standard", seed)
    record = {
        "run": {"name": run.name},
        "score": {"metric": "success"},
        "settings": {**json.loads(json.dumps(run.settings())), "episodes": len(errors_mm)},
        "episodes": {
            "first_seed": 0,
            "success": [int(mm <= 10) for mm in errors_mm],
            "position_error": [mm / 1e3 for mm in errors_mm],
            "yaw_error": [1.0] * len(errors_mm),
        },
        "training": {"seconds": seconds, "steps": 4000},
    }
    if errors_mm:
        record["summary"] = summarize(evaluation(errors_mm))
    path = result_path(results, "standard", run.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record | changes))


def cells_of(table, words):
    """The cells of the table's only row with these words."""
    (row,) = [line for line in table.splitlines() if words in line]
    return [cell.strip() for cell in row.strip("|").split("|")]


def test_the_demos_rows_hold_its_evaluation(tmp_path):
    trained = {"method": "ikp", "seconds": 120.0, "steps": 4000, "data": {"episodes": 7}}
    folder = tmp_path / "insertion_pixels"
    folder.mkdir()
    assert demo_table(tmp_path) == "not run"
    values = {"summary": summarize(evaluation([1.0, 1.0, 3.0, 50.0])), "policy": trained}
    (folder / "ikp.json").write_text(json.dumps(values))
    cells = cells_of(demo_table(tmp_path), "IKP")
    assert cells[1:3] == ["7", "2.0 min, 4000 steps"]
    assert [cell.split()[0] for cell in cells[3:6]] == ["75", "75", "50"]
    (folder / "ikp.json").write_text("{}")
    with pytest.raises(ValueError, match="not a result"):
        demo_table(tmp_path)


def test_seeds_of_a_setting_are_one_row(tmp_path):
    table = TABLES["state"]
    cell = table.cell(table.settings[1], "explicit")
    for seed, errors_mm in enumerate(([1.0, 3.0], [1.0, 50.0])):
        store(tmp_path, cell, seed, errors_mm, seconds=60.0 * (seed + 1))
    cells = cells_of(insertion_table(tmp_path, table.cells), "Explicit")
    assert cells[1:3] == ["1000", "1.5 min, 4000 steps"]
    assert [cell.split()[0] for cell in cells[3:6]] == ["75", "75", "50"]
    assert cells[6] == "2 x 2"


def test_differences_are_paired_within_each_tolerance(tmp_path):
    """Two seeds of four episodes; the other row has a third seed that the first one lacks."""
    table = TABLES["image"]
    errors_mm = {
        "ikp-image": ([1.0, 1.0, 1.0, 50.0], [1.0, 1.0, 1.0, 1.0]),
        "ikp": ([1.0, 5.0, 5.0, 50.0], [1.0, 5.0, 50.0, 50.0], [50.0] * 4),
    }
    for variant, seeds in errors_mm.items():
        for seed, errors in enumerate(seeds):
            store(tmp_path, table.cell(table.settings[0], variant), seed, errors)
    ahead = ahead_table(tmp_path, table, "ikp-image")
    assert len(ahead.splitlines()) == 3
    cells = cells_of(ahead, "IKP (")
    assert [cell.split()[0] for cell in cells[1:4]] == ["100", "+25.0", "+62.5"]
    assert cells[4] == "2"


def test_the_energies_scores_have_intervals_over_the_episodes_of_all_seeds(tmp_path):
    cell = Cell(SWEEPING_MISCALIBRATED, "ikp")
    for seed, scores in ((0, [0.5, 0.7]), (1, [0.7, 0.9])):
        episodes = {"first_seed": 0, "success": [0, 0], "score": scores}
        store(tmp_path, cell, seed, [50.0, 50.0], score={"metric": "score"}, episodes=episodes)
    assert cells_of(energy_table(tmp_path), "sweeping")[3] == "70.0 % (55.0 to 85.0 %), 2 x 2"


def test_methods_that_decide_differently_are_compared_by_their_energies_alone(tmp_path):
    """IKP pools its energies with the regression, and so does not the older record beside it."""
    table = TABLES["ablations"]
    cell = table.cell(table.settings[0], "ikp")
    older = table.cell(table.settings[0], "ikp-tip-only")
    alone = json.loads(json.dumps(resolve(older, "standard", 0).settings()))
    alone["policy"]["search"]["regression"] = 0.0
    store(tmp_path, cell, 0, [1.0] * 4)
    store(tmp_path, older, 0, [50.0] * 4, settings=alone)
    assert ahead_table(tmp_path, table, "ikp") == "not run"
    store(tmp_path, replace(cell, variant="ikp-energies-alone"), 0, [1.0, 1.0, 50.0, 50.0])
    ahead = ahead_table(tmp_path, table, "ikp")
    assert cells_of(ahead, "tip's pose alone*")[2].startswith("+50.0")
    assert ahead.endswith(OUTDATED)


def test_trainings_of_different_versions_are_not_compared(tmp_path):
    table = TABLES["ablations"]
    ours, other = (table.cell(table.settings[0], variant) for variant in ("ikp", "ikp-tip-only"))
    store(tmp_path, ours, 0, [1.0] * 4)
    store(tmp_path, other, 0, [50.0] * 4)
    assert cells_of(ahead_table(tmp_path, table, "ikp"), "tip's pose alone")[2].startswith("+100.0")
    before = json.loads(json.dumps(resolve(other, "standard", 0).settings()))
    del before["versions"]
    store(tmp_path, other, 0, [50.0] * 4, settings=before)
    assert ahead_table(tmp_path, table, "ikp") == "not run"


def test_a_method_is_not_ahead_of_itself_under_another_name(tmp_path):
    """IKP's residual is a constant offset: this row of the ablations is the same training."""
    table = TABLES["ablations"]
    for variant, error in (("ikp", 1.0), ("ikp-residual-none", 50.0)):
        store(tmp_path, table.cell(table.settings[0], variant), 0, [error] * 4)
    rows = ahead_table(tmp_path, table, "ikp").splitlines()[2:]
    assert [row.strip("|").split("|")[0].strip() for row in rows] == ["IKP, no residual"]


def test_sweeping_with_encoders_that_are_off_has_the_papers_result_for_it(tmp_path):
    score = {"metric": "score", "mean": 0.5, "interval_95": [0.4, 0.6]}
    cell = Cell(SWEEPING_MISCALIBRATED, "explicit")
    old = {"score": score, "episodes": {"score": [0.4, 0.6], "success": [0, 0]}, "settings": {"episodes": 2}}
    store(tmp_path, cell, 0, **old)
    assert cells_of(sweeping_table(tmp_path), "Explicit") == [
        "Explicit (joints)", "off", "1000", "1.0 min, 4000 steps", "50.0 % (40 to 60 %)", "2", "38.2 ± 3.4",
    ]  # fmt: skip
    star = "50.0 % (40.0 to 60.0 %)*"  # other settings than the recipe's
    assert cells_of(methods_table(tmp_path), "Explicit")[1:] == ["", "", "", star]


def test_blocks_are_filled_and_mistakes_in_them_are_named():
    made = {"a": lambda: "new", "b": lambda: "other"}
    text = "top\n<!-- table:a -->\nold\n<!-- /table:a -->\nmiddle <!-- note -->\n<!-- table:b -->\n<!-- /table:b -->\n"
    filled = fill(text, made, "page")
    assert filled.split("\n\n") == [
        "top\n<!-- table:a -->", "new", "<!-- /table:a -->\nmiddle <!-- note -->\n<!-- table:b -->", "other",
        "<!-- /table:b -->\n",
    ]  # fmt: skip
    assert fill(filled, made, "page") == filled
    with pytest.raises(ValueError, match="page has the block 'table:c': choose one of a, b"):
        fill(text.replace("table:b", "table:c"), made, "page")
    for broken in (text.replace("/table:a", "/table:b"), text.replace("<!-- /table:a -->\n", "")):
        with pytest.raises(ValueError, match="page: every table needs its own lines"):
            fill(broken, made, "page")


def test_every_markdown_file_may_hold_any_block(tmp_path):
    (tmp_path / "docs" / "notes").mkdir(parents=True)
    for page in (tmp_path / "README.md", tmp_path / "docs" / "notes" / "a.md"):
        page.write_text("<!-- table:quick -->\n<!-- /table:quick -->\n")
    changed = behind(tmp_path, {"quick": lambda: "rows"})
    assert list(changed) == pages(tmp_path)
    assert all("rows" in text for text in changed.values())


def test_the_pages_of_this_repository_are_up_to_date():
    made = builders(REPOSITORY / "results")
    assert {str(page.relative_to(REPOSITORY)) for page in behind(REPOSITORY, made)} == set()
    assert made["methods"]() != "not run", "the README's table"
