"""Values of files in messages are short, and numbers of things are in words."""

from ikp.words import counted, differences


def test_differences_are_short_whatever_the_files_hold():
    assert differences({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}) == ["a.c was 2, is 3"]
    (said,) = differences({"a": "x" * 10_000}, {"a": 1})
    assert said.startswith("a was 'xxx")
    assert said.endswith(" ..., is 1")
    assert len(said) < 200


def test_one_thing_is_no_plural():
    assert [counted(n, "frame") for n in (0, 1, 2)] == ["0 frames", "1 frame", "2 frames"]
