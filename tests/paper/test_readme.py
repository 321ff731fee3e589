"""The README's table follows from the result files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ikp.rollouts.summary import summarize
from ikp_paper.matrix import SWEEPING_MISCALIBRATED, TABLES, Cell
from ikp_paper.readme import results_table, sections, update
from ikp_paper.run import resolve, result_path

REPOSITORY = Path(__file__).parents[2]


def shown(errors_mm: list[float]) -> dict:
    """An evaluation with these final errors; within 10 mm is success."""
    info = [{"position_error": mm / 1e3, "yaw_error": 1.0} for mm in errors_mm]
    episodes = [
        {"seed": i, "success": mm <= 10, "steps": 20, "info": info[i]} for i, mm in enumerate(errors_mm)
    ]
    return {"episodes": episodes}


def result_file(folder: Path, method: str, errors_mm: list[float]) -> None:
    trained = {
        "method": method,
        "seconds": 120.0,
        "steps": 4000,
        "data": {"episodes": 7},
        "train": {"minutes": None},
    }
    values = {"summary": summarize(shown(errors_mm)), "policy": trained}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{method}.json").write_text(json.dumps(values))


def test_rows_hold_what_was_measured(tmp_path):
    result_file(tmp_path / "insertion_pixels", "ikp", [1.0, 1.0, 3.0, 50.0])
    table = results_table(tmp_path)
    (row,) = [line for line in table.splitlines() if "IKP" in line]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[1:3] == ["7", "2.0 min, 4000 steps"]
    assert [cell.split()[0] for cell in cells[3:6]] == ["75", "75", "50"]
    assert "not run" in table.split("from object poses")[1]


def test_seeds_of_a_setting_are_one_row(tmp_path):
    table = TABLES["state"]
    cell = table.cell(table.columns[1], "explicit")
    for seed, errors_mm in enumerate(([1.0, 3.0], [1.0, 50.0])):
        run = resolve(cell, "standard", seed)
        record = {
            "run": {"name": run.name}, "score": {}, "settings": {"episodes": 2}, "episodes": {"success": [0, 0]},
            "summary": summarize(shown(errors_mm)), "training": {"seconds": 60.0 * (seed + 1), "steps": 4000},
        }  # fmt: skip
        path = result_path(tmp_path, "standard", run.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record))
    (row,) = [line for line in results_table(tmp_path).splitlines() if "Explicit" in line]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[1:3] == ["1000", "1.5 min, 4000 steps"]
    assert [cell.split()[0] for cell in cells[3:6]] == ["75", "75", "50"]
    assert cells[6] == "2 x 2"


def record_errors(root, table, errors_mm):
    """Records of a table's first column: variant to seeds of four episodes' errors."""
    for variant, seeds in errors_mm.items():
        for seed, errors in enumerate(seeds):
            run = resolve(table.cell(table.columns[0], variant), "standard", seed)
            episodes = {"first_seed": 0, "success": [int(mm <= 10) for mm in errors]}
            episodes |= {"position_error": [mm / 1e3 for mm in errors], "yaw_error": [1.0] * 4}
            record = {
                "run": {"name": run.name},
                "score": {},
                "settings": {"episodes": 4},
                "episodes": episodes,
            }
            record |= {"summary": summarize(shown(errors)), "training": {"seconds": 60.0, "steps": 750}}
            path = result_path(root, "standard", run.name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(record))


def test_the_image_planes_lead_is_paired_within_each_tolerance(tmp_path):
    """Of two seeds of four episodes; the rival has a third seed that IKP + image plane lacks."""
    errors_mm = {
        "ikp-image": ([1.0, 1.0, 1.0, 50.0], [1.0, 1.0, 1.0, 1.0]),
        "ikp": ([1.0, 5.0, 5.0, 50.0], [1.0, 5.0, 50.0, 50.0], [50.0] * 4),
    }
    record_errors(tmp_path, TABLES["image"], errors_mm)
    rows = [
        line for line in sections(tmp_path)["docs/image_plane.md"]["ahead"].splitlines() if "IKP (" in line
    ]
    cells = [cell.strip() for cell in rows[0].strip("|").split("|")]
    assert len(rows) == 1
    assert [cell.split()[0] for cell in cells[1:4]] == ["100", "+25.0", "+62.5"]
    assert cells[4] == "2"


def test_a_method_is_not_ahead_of_itself_under_another_name(tmp_path):
    """IKP's residual is a constant offset: this row of the ablations is the same training."""
    record_errors(tmp_path, TABLES["ablations"], {"ikp": [[1.0] * 4], "ikp-residual-none": [[50.0] * 4]})
    rows = sections(tmp_path)["docs/reproduce.md"]["ahead-ablations"].splitlines()[2:]
    assert [row.strip("|").split("|")[0].strip() for row in rows] == ["IKP, no residual"]


def test_pages_are_rewritten_between_their_markers(tmp_path):
    def marked(name):
        return f"<!-- {name}:begin - note -->\nold\n<!-- {name}:end -->\n"

    pages = {tmp_path / page: list(tables) for page, tables in sections(tmp_path).items()}
    for page, names in pages.items():
        page.parent.mkdir(exist_ok=True)
        page.write_text("top\n" + "".join(map(marked, names)) + "bottom\n")
    assert update(tmp_path, tmp_path)
    for page in pages:
        assert "old" not in page.read_text()
        assert page.read_text().startswith("top\n")
        assert page.read_text().endswith("bottom\n")
    assert not update(tmp_path, tmp_path)
    for page, names in pages.items():
        for name in names:
            kept = page.read_text()
            page.write_text(kept.replace(f"{name}:begin", "other"))
            with pytest.raises(ValueError, match=f"{name}:begin"):
                update(tmp_path, tmp_path)
            page.write_text(kept)


def test_other_files_are_refused(tmp_path):
    (tmp_path / "insertion_pixels").mkdir()
    (tmp_path / "insertion_pixels" / "x.json").write_text("{}")
    with pytest.raises(ValueError, match="no result"):
        results_table(tmp_path)


def test_these_pages_are_up_to_date(tmp_path):
    for page in sections(tmp_path):
        copy = tmp_path / page
        copy.parent.mkdir(exist_ok=True)
        copy.write_text((REPOSITORY / page).read_text())
    assert not update(tmp_path, REPOSITORY / "results")


def test_sweeping_with_encoders_that_are_off_has_the_papers_figure_for_it(tmp_path):
    cell = Cell(SWEEPING_MISCALIBRATED, "explicit")
    run = resolve(cell, "standard", 0)
    record = {
        "run": {"name": run.name},
        "score": {"mean": 0.5, "interval_95": [0.4, 0.6]},
        "settings": {"episodes": 2},
        "episodes": {"score": [0.4, 0.6], "success": [0, 0]},
        "training": {"seconds": 60.0, "steps": 8000},
    }
    path = result_path(tmp_path, "standard", run.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record))
    (row,) = [line for line in results_table(tmp_path).splitlines() if "Explicit" in line]
    assert [cell.strip() for cell in row.strip("|").split("|")] == [
        "Explicit (joints)", "off", "1000", "1.0 min, 8000 steps", "50.0 % (40 to 60 %)", "2", "38.2 ± 3.4",
    ]  # fmt: skip
