"""Where figures come from: the commit, and whether the source was as committed."""

import subprocess

import pytest

from ikp import provenance as module


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout that the module believes to lie in."""
    for folder in ("src", "results"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "file").write_text("committed")
    identity = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    for command in (("init", "-q"), ("add", "."), (*identity, "commit", "-qm", "first")):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    monkeypatch.setattr(module, "__file__", str(tmp_path / "src" / "file"))
    return tmp_path


def commit() -> str | None:
    module._commit.cache_clear()
    try:
        return module._commit()
    finally:
        module._commit.cache_clear()


def test_the_commit_is_dirty_where_the_source_is_changed(checkout):
    clean = commit()
    assert clean is not None
    assert len(clean) == 12
    (checkout / "src" / "file").write_text("changed")
    assert commit() == f"{clean}-dirty"


def test_results_are_made_by_the_source_and_no_part_of_it(checkout):
    clean = commit()
    (checkout / "results" / "file").write_text("measured again")
    assert commit() == clean


def test_outside_a_checkout_there_is_no_commit(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "__file__", str(tmp_path / "file"))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert commit() is None
