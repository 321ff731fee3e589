"""Free memory: the machine's, or what the narrowest limit of the process's control groups leaves."""

import pytest

from ikp import memory

GIB = 2**30


@pytest.fixture
def system(tmp_path, monkeypatch):
    """Set the machine's memory [GiB] and the files of control groups."""

    def system(available, groups="", **files):
        (tmp_path / "meminfo").write_text(f"MemTotal: 1 kB\nMemAvailable: {available * 2**20} kB\n")
        (tmp_path / "cgroup").write_text(groups)
        for name, text in files.items():
            path = tmp_path / "fs" / name.replace("__", "/").replace("DOT", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
        monkeypatch.setattr(memory, "OWN_GROUPS", tmp_path / "cgroup")
        monkeypatch.setattr(memory, "CGROUP", tmp_path / "fs")

    return system


def version_2(limit, used, cache, folder=""):
    names = {"memoryDOTmax": f"{limit}\n", "memoryDOTcurrent": f"{used}\n"}
    return {folder + name: text for name, text in names.items()} | {
        f"{folder}memoryDOTstat": f"anon 5\ninactive_file {cache}\n"
    }


def version_1(limit, used, cache, folder=""):
    names = {"memoryDOTlimit_in_bytes": f"{limit}\n", "memoryDOTusage_in_bytes": f"{used}\n"}
    return {f"memory__{folder}{name}": text for name, text in names.items()} | {
        f"memory__{folder}memoryDOTstat": f"inactive_file 7\ntotal_inactive_file {cache}\n"
    }


def test_a_machine_without_limits(system):
    system(8)
    assert memory.free_memory() == 8 * GIB
    system(8, "0::/\n", **version_2("max", GIB, 0))
    assert memory.free_memory() == 8 * GIB
    system(8, "4:memory:/\n1:cpu:/x\n", **version_1(9223372036854771712, GIB, 0))
    assert memory.free_memory() == 8 * GIB


@pytest.mark.parametrize("version", [version_1, version_2])
@pytest.mark.parametrize("folder", ["", "outer__", "outer__inner__"])
def test_the_limit_of_a_group(system, version, folder):
    controllers = "4:memory:" if version is version_1 else "0::"
    system(8, f"{controllers}/outer/inner\n", **version(4 * GIB, 3 * GIB, GIB, folder))
    assert memory.free_memory() == 2 * GIB


def test_the_narrowest_limit_counts(system):
    files = version_2(6 * GIB, GIB, 0, "a__") | version_2(3 * GIB, GIB, 0, "a__b__")
    system(8, "0::/a/b\n", **files)
    assert memory.free_memory() == 2 * GIB


def test_nothing_is_known(tmp_path, monkeypatch):
    for name in ("MEMINFO", "OWN_GROUPS", "CGROUP"):
        monkeypatch.setattr(memory, name, tmp_path / "missing")
    assert memory.free_memory() is None
