"""Rows of data files: sorted by frame, or refused where some are missing, repeated, exchanged or never were videos."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from ikp.data import DatasetError, DatasetWriter, load_dataset
from ikp.data.check import check_dataset
from ikp.data.layout import data_path


def reorder(path, rows) -> None:
    table = pq.read_table(path)
    pq.write_table(table.take(np.asarray(rows)), path)


def join_files(root) -> None:
    """All episodes in one file, as other writers do it; no ikp.json."""
    paths = sorted(root.glob("data/*/*.parquet"))
    tables = [pq.read_table(path).replace_schema_metadata({}) for path in paths]
    for path in paths:
        path.unlink()
    (root / "meta/ikp.json").unlink()
    import pyarrow as pa

    pq.write_table(pa.concat_tables(tables), paths[0])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("joined", [False, True])
def test_rows_in_any_order_are_sorted(dataset, seed, joined):
    root, _ = dataset
    right = load_dataset(root)
    if joined:  # rows of the four episodes end up mixed
        join_files(root)
    rng = np.random.default_rng(seed)
    for path in root.glob("data/*/*.parquet"):
        reorder(path, rng.permutation(len(pq.read_table(path))))
    loaded = load_dataset(root)
    assert torch.equal(loaded.action, right.action)
    assert torch.equal(loaded.state, right.state)
    assert torch.equal(loaded.images["top"], right.images["top"])
    assert torch.equal(loaded.frame_index, right.frame_index)


CHANGES = {
    "first half": [0, 1, 2],
    "last half": [4, 5, 6],
    "every second": [0, 2, 4, 6],
    "one missing": [0, 1, 2, 4, 5, 6],
    "one twice": [0, 1, 1, 2, 3, 4, 5, 6],
    "doubled": [0, 1, 2, 3, 4, 5, 6] * 2,
    "one instead of another": [0, 1, 2, 2, 4, 5, 6],
}


@pytest.mark.parametrize("rows", CHANGES.values(), ids=CHANGES)
def test_lost_and_repeated_rows_are_refused(dataset, rows):
    root, _ = dataset
    reorder(root / data_path(2), rows)
    with pytest.raises(DatasetError, match=r"file-002\.parquet: .*episode 2.*episodes=\["):
        load_dataset(root)
    assert load_dataset(root, episodes=[0, 1, 3]).episodes == 3


def lose_a_row(root):
    reorder(root / data_path(2), [0, 1, 3])


def leave_a_pointer(root):
    (root / data_path(2)).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")


def cut_a_file(root):
    path = root / data_path(2)
    path.write_bytes(path.read_bytes()[:-40])


def copy_a_file(root):
    join_files(root)
    path = root / data_path(0)
    pq.write_table(pq.read_table(path).slice(6, 7), root / data_path(1))


@pytest.mark.parametrize("damage", [lose_a_row, leave_a_pointer, cut_a_file, copy_a_file])
def test_a_check_says_what_a_training_says_and_which_episodes_are_whole(dataset, damage):
    root, _ = dataset
    damage(root)
    with pytest.raises(DatasetError) as raised:
        load_dataset(root)
    report = check_dataset(root)
    mend = f"`ikp data repair {root}` recovers the rows on disk"
    assert report.refused == [f"{raised.value}; {mend}; the other episodes are --episodes 0-1,3"]
    assert load_dataset(root, episodes=[0, 1, 3]).episodes == 3


def test_a_check_of_a_data_set_without_one_whole_episode_says_why(dataset):
    root, _ = dataset
    for index in range(4):
        (root / data_path(index)).write_text("version https://git-lfs.github.com/spec/v1\n")
    (refused,) = check_dataset(root).refused
    assert "run `git lfs pull`" in refused


def test_a_check_shows_few_of_many_errors(dataset, helpers):
    root, _ = dataset
    with DatasetWriter.reopen(root) as writer:
        for seed in range(4, 9):
            helpers.add_episode(writer, seed, 3)
    for index in range(1, 9):
        (root / data_path(index)).write_bytes(b"PAR1 cut")
    refused = check_dataset(root).refused
    assert len(refused) == 5
    assert refused[-1].endswith("rows on disk; the other episodes are --episodes 0,")
    assert "(and 3 more files or episodes)" in refused[-1]


def test_exchanged_frame_numbers_are_refused(dataset):
    root, _ = dataset
    path = root / data_path(2)
    table = pq.read_table(path)
    position = table.column_names.index("frame_index")
    pq.write_table(
        table.set_column(position, "frame_index", table["frame_index"].take([1, 0, 2, 3, 4, 5, 6])), path
    )
    with pytest.raises(DatasetError, match=r"the column index goes -1 after frame 0 \(rows were exchanged\)"):
        load_dataset(root)


def test_the_number_of_all_rows_is_checked_without_a_list_of_episodes(dataset):
    root, _ = dataset
    join_files(root)
    (root / "meta/episodes/chunk-000/file-000.parquet").unlink()
    assert len(load_dataset(root)) == 16
    reorder(root / data_path(0), range(15))
    with pytest.raises(DatasetError, match=r"has 15 rows, total_frames of its meta/info\.json is 16"):
        load_dataset(root)


def test_an_episode_in_two_files_is_refused(dataset):
    root, _ = dataset
    join_files(root)
    (root / data_path(1)).write_bytes((root / data_path(0)).read_bytes())
    with pytest.raises(DatasetError, match=r"episode 0 is in .*file-000\.parquet and in .*file-001\.parquet"):
        load_dataset(root)


def edit_info(root, **values) -> None:
    path = root / "meta/info.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_indices_may_have_gaps_where_all_listed_episodes_are_there(dataset):
    root, _ = dataset
    join_files(root)
    reorder(root / data_path(0), [*range(5), *range(6, 16)])
    edit_info(root, total_episodes=3, total_frames=15)
    assert load_dataset(root).episode_index.unique().tolist() == [0, 2, 3]
    assert load_dataset(root, episodes=2).episode_index.unique().tolist() == [0, 2]
    assert load_dataset(root, episodes=[2]).episode_index.unique().tolist() == [2]
    with pytest.raises(DatasetError, match="episode 1 is requested"):
        load_dataset(root, episodes=[0, 1])
    edit_info(root, total_episodes=4)
    with pytest.raises(DatasetError, match="1 of 4 episodes are missing, first episode 1"):
        load_dataset(root)


@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize("wanted", [10**12, range(10**12), range(10**6), [10**12], [0, 7]])
def test_more_episodes_than_there_are(dataset, wanted, joined):
    root, _ = dataset
    if joined:
        join_files(root)
    with pytest.raises(DatasetError, match=r"requested: .*has 4 episodes"):
        load_dataset(root, episodes=wanted)


@pytest.mark.parametrize("wanted", [-1, [-1], [True], 0, []])
def test_episodes_that_are_no_indices(dataset, wanted):
    with pytest.raises(DatasetError, match=r"whole numbers from 0 up|no episode is requested"):
        load_dataset(dataset[0], episodes=wanted)


@pytest.mark.parametrize("joined", [False, True])
def test_a_hostile_number_of_episodes(dataset, joined):
    root, _ = dataset
    if joined:
        join_files(root)
    edit_info(root, total_episodes=10**12)
    with pytest.raises(
        DatasetError, match=r"999999999996 of 1000000000000 episodes are missing, first episode 4"
    ):
        load_dataset(root)
    assert load_dataset(root, episodes=4).episodes == 4


def test_a_writer_that_was_killed_leaves_metadata_behind_its_files(dataset, helpers):
    root, _ = dataset
    meta = {path: path.read_bytes() for path in (root / "meta").rglob("*") if path.is_file()}
    with DatasetWriter.reopen(root) as writer:
        helpers.add_episode(writer, 9, 4)
    for path, content in meta.items():
        path.write_bytes(content)
    assert load_dataset(root).episodes == 5
