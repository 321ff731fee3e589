"""The table of the calibration has a row per record, and errors of tips whose base is unknown after alignment."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import calibration as benchmark
from calibration_table import calibration_table
from ikp.files import write_json


def test_a_record_becomes_a_row(tmp_path):
    assert "not run" in calibration_table(tmp_path)
    draws = [benchmark.draw("ur5e", "poses-base-unknown", seed) for seed in range(2)]
    made = benchmark.summary(draws)
    record = {"kind": "poses-base-unknown", "configurations": 30, "draws": 2, "summary": made}
    write_json(tmp_path / "calibration" / "ur5e-poses-base-unknown.json", record)
    row = calibration_table(tmp_path).splitlines()[2]
    assert row.startswith("| ur5e | tip poses, base unknown | 30 | 5 of 6 |")
    assert f"| {made['tip_mm']['after_aligned']:.3f} mm |" in row
    assert made["tip_mm"]["after_aligned"] < 0.2
    assert f"| {made['drift_found'][0]} of 10 |" in row
