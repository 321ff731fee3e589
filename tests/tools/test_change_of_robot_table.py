"""The table of the change of robot: arms and seeds together, an empty cell without a record."""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
from change_of_robot_table import change_of_robot_table


def test_arms_are_counted_together(tmp_path):
    folder = tmp_path / "change_of_robot"
    folder.mkdir()
    for arm, count, off in ((1, 10, 2.0), (2, 20, 4.0)):
        record = {
            "task": "insertion",
            "method": "ikp",
            "condition": "none",
            "arm": arm,
            "success": {"count": count},
            "episodes": 40,
            "tip_error_mm": off,
        }
        (folder / f"ikp-none-arm{arm}.json").write_text(json.dumps(record))
    (folder / "explicit-true.json").write_text(
        json.dumps(record | {"method": "explicit", "condition": "true", "tip_error_mm": 0.0})
    )
    lines = change_of_robot_table(tmp_path).splitlines()
    assert [cell.strip() for cell in lines[0].strip("|").split("|")] == ["calibration", "Explicit", "IKP"]
    assert "38 % (24 to 53 %), 2 x 40, tip off by 3.0 mm" in lines[2]
    assert "50 % (35 to 65 %), 1 x 40 |  |" in lines[3]


def test_pools_have_columns_of_their_own(tmp_path):
    folder = tmp_path / "change_of_robot"
    folder.mkdir()
    record = {"task": "insertion", "method": "ikp", "condition": "true", "arm": 1}
    record |= {"episodes": 40, "tip_error_mm": 0.0}
    for pool, count in ((None, 20), (3, 30)):
        more = {} if pool is None else {"pool": pool}
        (folder / f"{pool}.json").write_text(json.dumps({**record, **more, "success": {"count": count}}))
    lines = change_of_robot_table(tmp_path).splitlines()
    assert [cell.strip() for cell in lines[0].strip("|").split("|")] == ["calibration", "IKP", "IKP, 3 arms"]
    assert "50 %" in lines[2].split("|")[2]
    assert "75 %" in lines[2].split("|")[3]


def test_a_task_with_scores_has_a_table_of_its_own(tmp_path):
    folder = tmp_path / "change_of_robot"
    folder.mkdir()
    record = {"task": "sweeping-miscalibrated", "method": "ikp", "condition": "none", "episodes": 2}
    for arm, scores in ((1, [0.5, 0.7]), (2, [0.7, 0.9])):
        found = {"success": {"count": 0}, "scores": scores, "tip_error_mm": 1.0, "arm": arm}
        (folder / f"{arm}.json").write_text(json.dumps(record | found))
    assert change_of_robot_table(tmp_path) == "not run"
    lines = change_of_robot_table(tmp_path, "sweeping-miscalibrated").splitlines()
    assert "70.0 % (60.0 to 80.0 %), 2 x 2, tip off by 1.0 mm" in lines[2]


def test_no_record_reads_not_run(tmp_path):
    assert change_of_robot_table(tmp_path) == "not run"
