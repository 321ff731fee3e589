"""Long jobs continue where they stopped and never mix settings."""

import pytest

from ikp.demo.stages import LEDGER, Stage, Stages


def test_finished_stages_are_not_repeated_and_an_interrupted_one_is(tmp_path, capsys):
    ran = []

    def interrupted():
        ran.append("second")
        raise KeyboardInterrupt

    first = Stage("first", "the first", {"n": 1}, lambda: ran.append("first"))
    with pytest.raises(KeyboardInterrupt):
        Stages(tmp_path).run([first, Stage("second", "the second", {}, interrupted)])
    stages = Stages(tmp_path)
    stages.run([first, Stage("second", "the second", {}, lambda: ran.append("second again"))])
    assert ran == ["first", "second", "second again"]
    assert stages.done["second"]["runs"] == 2
    assert "[1/2] the first: done before" in capsys.readouterr().out


def test_changed_settings_are_refused_before_anything_runs(tmp_path):
    ran = []
    Stages(tmp_path).run(
        [Stage("train", "training", {"policy": {"width": 128}, "seeds": (1, 2)}, lambda: None)]
    )
    changed = Stage("train", "training", {"policy": {"width": 256}, "seeds": (1, 2)}, lambda: ran.append(1))
    with pytest.raises(ValueError, match=r"train: policy\.width was 128, is 256.*another --out"):
        Stages(tmp_path).run([Stage("new", "more", {}, lambda: ran.append(0)), changed])
    assert not ran


def test_further_stages_can_be_added_later(tmp_path):
    ran = []
    one = Stage("one", "one", {}, lambda: ran.append("one"))
    Stages(tmp_path).run([one])
    Stages(tmp_path).run([one, Stage("two", "two", {}, lambda: ran.append("two"))])
    assert ran == ["one", "two"]


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"a": 3}', '{"a": {"seconds": 1.0}}', '{"a": {"settings": []}}']
)
def test_a_damaged_ledger_is_named_with_its_fix(tmp_path, content):
    (tmp_path / LEDGER).write_text(content)
    with pytest.raises(ValueError, match=rf"{LEDGER}.*: delete it; finished stages then run again"):
        Stages(tmp_path)
