"""Locations: whole files or none, one creator, no name that leads out, whatever the store is."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import numpy as np
import pytest

from ps.errors import FileMissingError, SpecError, StoreError, StoreUnavailableError
from ps.store.location import UNFINISHED, Location
from ps.store.opening import open_location

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def names(location: Location, folder: str = "") -> list[str]:
    return [info.name for info in location.list(folder)]


def test_what_was_written_is_read(location: Location) -> None:
    location.write("blocks/shard-0001/a.block", [b"abc", memoryview(b"de"), b"", b"f"])
    assert location.read("blocks/shard-0001/a.block") == b"abcdef"
    assert location.size("blocks/shard-0001/a.block") == 6


def test_writing_again_replaces(location: Location) -> None:
    location.write("a", [b"first and longer"])
    location.write("a", [b"second"])
    assert location.read("a") == b"second"


def test_arrays_are_parts(location: Location) -> None:
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    location.write("a", [array.data, np.empty((0, 4), dtype=np.float32).data])
    assert location.read("a") == array.tobytes()


def test_an_empty_file_is_a_file(location: Location) -> None:
    location.write("a", [])
    assert location.read("a") == b""
    assert names(location) == ["a"]


@pytest.mark.parametrize(
    ("offset", "size", "expected"),
    [(0, 3, b"012"), (4, 3, b"456"), (8, 5, b"89"), (10, 1, b""), (50, 1, b""), (3, 0, b"")],
)
def test_a_range_ends_where_the_file_does(
    location: Location, offset: int, size: int, expected: bytes
) -> None:
    location.write("a", [b"0123456789"])
    assert location.read_range("a", offset, size) == expected


def test_what_is_missing_is_said_to_be(location: Location) -> None:
    for _attempt in range(2):
        with pytest.raises(FileMissingError, match="commits/none is missing"):
            location.read("commits/none")
        with pytest.raises(FileMissingError):
            location.read_range("commits/none", 0, 1)
        with pytest.raises(FileMissingError):
            location.size("commits/none")
        # The second time in a store that exists, and a folder that does.
        location.write("commits/some", [b"x"])
        assert names(location, "bases") == []
    with pytest.raises(StoreError):
        location.read("commits")


def test_files_are_listed_by_name_with_their_sizes(location: Location) -> None:
    assert names(location) == []
    for name, size in [("b/two/x", 3), ("b/one", 1), ("a", 2), ("bb/x", 1)]:
        location.write(name, [bytes(size)])
    assert [(i.name, i.size) for i in location.list()] == [
        ("a", 2),
        ("b/one", 1),
        ("b/two/x", 3),
        ("bb/x", 1),
    ]
    assert names(location, "b") == ["b/one", "b/two/x"]
    assert all(info.modified_us > 1_500_000_000_000_000 for info in location.list())


def test_another_location_sees_a_new_file_at_once(url: str) -> None:
    one, other = open_location(url), open_location(url)
    assert names(other, "claims") == []
    one.write("claims/a", [b"x"])
    assert names(other, "claims") == ["claims/a"]
    one.delete(["claims/a"])
    assert names(other, "claims") == []
    with pytest.raises(FileMissingError):
        other.size("claims/a")


def test_deleting_what_is_gone_is_no_error(location: Location) -> None:
    location.delete(["a/none", "none"])
    for name in ("a/x", "a/y", "b"):
        location.write(name, [b"x"])
    location.delete(["a/x", "none", "b", "a/none"])
    assert names(location) == ["a/y"]


def test_a_file_is_created_once(location: Location) -> None:
    assert location.create("claims/a", b"first")
    assert not location.create("claims/a", b"second")
    assert location.read("claims/a") == b"first"
    assert names(location) == ["claims/a"]


def test_of_many_creators_one_succeeds(location: Location) -> None:
    ready = threading.Barrier(8)
    made: list[int] = []

    def create(number: int) -> None:
        ready.wait()
        if location.create("claims/a", b"%d" % number):
            made.append(number)

    threads = [threading.Thread(target=create, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [b"%d" % number for number in made] == [location.read("claims/a")]


class OwnError(Exception):
    pass


def breaking_off(parts: list[bytes], error: BaseException) -> Iterator[bytes]:
    yield from parts
    raise error


@pytest.mark.parametrize("error", [OwnError, KeyboardInterrupt, FileNotFoundError, OSError])
def test_an_exception_leaves_the_file_as_it_was(
    location: Location, error: type[BaseException]
) -> None:
    location.write("a/old", [b"old"])
    for name in ("a/old", "a/new"):
        with pytest.raises(error):
            location.write(name, breaking_off([b"half"], error("the caller's own")))
    assert names(location) == ["a/old"]
    assert location.read("a/old") == b"old"
    assert location.list_unfinished() == []


def test_a_file_is_not_there_before_it_is_whole(location: Location) -> None:
    with location.writer("a/new") as out:
        out.write(b"half")
        assert names(location) == []
        with pytest.raises(FileMissingError):
            location.read("a/new")
        # What this process is writing is nothing left behind.
        assert location.list_unfinished() == []
        out.write(b" and half")
    assert location.read("a/new") == b"half and half"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/etc/passwd",
        "../a",
        "a/../../b",
        "a//b",
        "a/./b",
        ".hidden",
        "a\\b",
        "a/",
        "~",
        "\u00e9",
    ],
)
def test_a_name_that_could_lead_out_is_refused(location: Location, name: str) -> None:
    for refused in (
        lambda: location.read(name),
        lambda: location.read(name + "\0"),
        lambda: location.read(name + "\n"),
        lambda: location.read(name + "x" * 300),
        lambda: location.write(name, [b"x"]),
        lambda: location.create(name, b"x"),
        lambda: location.delete([name]),
        lambda: location.size(name),
    ):
        with pytest.raises(StoreError, match="no name of a file"):
            refused()
    assert names(location) == []


def test_a_file_larger_than_one_part_is_sent_in_parts(
    location: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ps.store.remote._PART_BYTES", 5 << 20)  # the least S3 takes
    piece = bytes(range(256)) * (3 << 12)
    location.write("large", [piece] * 5)
    assert location.read("large") == piece * 5
    with pytest.raises(OwnError):
        location.write("half", breaking_off([piece] * 4, OwnError()))
    assert names(location) == ["large"]


@pytest.mark.parametrize("url", ["s3://bucket::memory://x", "nothing://x", "simplecache::/tmp"])
def test_what_is_no_store_is_refused(url: str) -> None:
    with pytest.raises(SpecError):
        open_location(url)


def test_file_urls_and_paths_are_one_folder(tmp_path: Path) -> None:
    open_location(f"file://{tmp_path}/store/").write("a", [b"x"])
    assert open_location(str(tmp_path / "other" / ".." / "store")).read("a") == b"x"
    assert open_location(str(tmp_path / "store")).is_local


def test_symbolic_links_lead_nowhere(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    root = tmp_path / "store"
    root.mkdir()
    (root / "blocks").symlink_to(outside)
    (root / "file").symlink_to(outside / "secret")
    store = open_location(str(root))
    with pytest.raises(StoreUnavailableError, match="symbolic link"):
        store.read("blocks/secret")
    with pytest.raises(StoreUnavailableError, match="symbolic link"):
        store.write("blocks/new", [b"x"])
    with pytest.raises(StoreUnavailableError, match="symbolic link"):
        store.delete(["blocks/secret"])
    with pytest.raises(StoreUnavailableError, match="symbolic link"):
        store.read("file")
    assert store.list() == []
    store.write("file", [b"mine"])  # replaces the link, not what it leads to
    assert not (root / "file").is_symlink()
    assert [p.name for p in outside.iterdir()] == ["secret"]
    assert (outside / "secret").read_bytes() == b"secret"


def test_what_a_dead_writer_left_is_listed_apart(tmp_path: Path) -> None:
    store = open_location(str(tmp_path))
    store.write("blocks/a", [b"x"])
    # In a container, the process before this one had its number.
    left = f"blocks/b{UNFINISHED}{os.getpid()}-123456789"
    (tmp_path / left).write_bytes(b"half")
    assert names(store) == ["blocks/a"]
    assert [info.name for info in store.list_unfinished()] == [left]
    store.delete([left])
    assert store.list_unfinished() == []


def test_the_store_is_imported_without_what_it_does_not_need() -> None:
    check = (
        "import sys; from ps.store.opening import open_location; open_location('/tmp').size; "
        "found = {'numba', 'ray', 'fsspec', 'numpy', 's3fs'} & set(sys.modules); sys.exit(str(found) if found else 0)"
    )
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
