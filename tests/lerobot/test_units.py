"""The same demonstrations in degrees and in radians, written by LeRobot and trained with one command."""

import pytest

pytest.importorskip("lerobot", reason="LeRobot has an environment of its own: make lerobot")

import numpy as np

import so101_units


def test_degrees_train_as_well_as_radians(tmp_path, capsys):
    made = so101_units.compare(tmp_path, episodes=4, held_out=2, steps=8)
    asked = [line for line in capsys.readouterr().out.splitlines() if "--units signed-percent" in line]
    assert len(asked) == 1, "one line asks for the unit"
    worst = {name: np.median(error.max(1)) for name, error in made.items()}
    assert worst["degrees"] == pytest.approx(worst["radians"], rel=0.1)
    assert so101_units.table(made).count("\n") == 8
