"""The command `ikp-paper`: a dry run tells what would happen, contradictions are refused."""

from __future__ import annotations

from ikp_paper.cli import main
from ikp_paper.figures.trajectories import trajectory_path
from ikp_paper.tables import FIGURES


def test_a_dry_run_of_a_figure_lists_its_recordings(tmp_path, capsys):
    options = ["--results", str(tmp_path / "results"), "--out", str(tmp_path / "out"), "--dry-run"]
    assert main(["figure4", *options]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        f"expert of {task}: will be recorded in {trajectory_path(tmp_path / 'results', task)}"
        for task in FIGURES["figure4"][1]
    ]
    assert not list(tmp_path.iterdir())


def test_a_dry_run_and_a_report_contradict_each_other(capsys):
    assert main(["table2", "--dry-run", "--report-only"]) == 1
    assert "leave one of them out" in capsys.readouterr().err
