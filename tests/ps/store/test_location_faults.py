"""Stores that fail: full disks, calls that break off or never return, writers that are killed."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from ps.errors import FileMissingError, StoreUnavailableError
from ps.store.location import UNFINISHED, Location
from ps.store.opening import open_location

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[3]


def everything(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "No space left on device; free space on that disk"),
        (errno.EIO, "check the disk"),
        (errno.EDQUOT, "raise the quota"),
    ],
)
@pytest.mark.parametrize("call", ["write", "fsync", "rename", "link"])
def test_a_disk_that_fails_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int, advice: str
) -> None:
    store = open_location(str(tmp_path))
    store.write("a/old", [b"old"])
    before = everything(tmp_path)
    real = getattr(os, call)
    written = 0

    def failing(*args: Any, **options: Any) -> Any:
        nonlocal written
        if call == "write" and written < 6:
            # A disk fills up in the middle of a buffer.
            written += 3
            return real(args[0], args[1][:3])
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, call, failing)
    attempt = store.create if call == "link" else lambda name, data: store.write(name, [data])
    with pytest.raises(StoreUnavailableError) as failed:
        attempt("a/old", b"x" * 10)
    monkeypatch.undo()
    assert str(failed.value).startswith(f"{tmp_path}/a/old could not be written: ")
    assert advice in str(failed.value)
    assert everything(tmp_path) == before
    store.write("a/old", [b"new"])
    assert store.read("a/old") == b"new"


def test_a_folder_that_may_not_be_written_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_location(str(tmp_path))

    def refuse(*_: Any, **__: Any) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(StoreUnavailableError, match="let this user read and write the folder"):
        store.read("a")


def test_a_file_where_the_store_should_be_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "store").write_bytes(b"precious")
    store = open_location(str(tmp_path / "store"))
    with pytest.raises(StoreUnavailableError, match="put a folder in place"):
        store.write("a", [b"x"])
    assert (tmp_path / "store").read_bytes() == b"precious"
    assert store.list() == []


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_file_that_may_not_grow_leaves_nothing(tmp_path: Path) -> None:
    code = """
import resource, sys
from ps.errors import StoreUnavailableError
from ps.store.opening import open_location
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
store = open_location(sys.argv[1])
store.write("small", [bytes(100_000)])
try:
    store.write("large", [bytes(60_000)] * 3)
except StoreUnavailableError as error:
    print(error)
"""
    done = run(code, str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "large could not be written: File too large" in done.stdout
    assert {name: len(data) for name, data in everything(tmp_path).items()} == {"small": 100_000}


def test_a_writer_killed_in_the_middle_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    code = """
import os, signal, sys
from ps.store.opening import open_location
store = open_location(sys.argv[1])
with store.writer("blocks/a") as out:
    out.write(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    store = open_location(str(tmp_path))
    store.write("blocks/a", [b"whole"])
    assert run(code, str(tmp_path)).returncode == -9
    assert store.read("blocks/a") == b"whole"
    assert [info.name for info in store.list()] == ["blocks/a"]
    left = store.list_unfinished()
    assert [(info.name.split(UNFINISHED)[0], info.size) for info in left] == [("blocks/a", 4)]


class FaultyFileSystem(MemoryFileSystem):  # type: ignore[misc]
    """Memory that is reached over a network: fails or hangs in the named call, after some bytes."""

    protocol: Any = "faulty"
    store: dict[str, Any] = {}  # noqa: RUF012 - as its base class has it
    pseudo_dirs = [""]  # noqa: RUF012
    fails_in = ""
    error: Exception | None = None
    let_go = threading.Event()

    @classmethod
    def set_fault(cls, call: str, error: Exception | None = None) -> None:
        cls.fails_in, cls.error = call, error

    def _pass(self, call: str) -> None:
        if call == self.fails_in:
            if self.error is not None:
                raise self.error
            self.let_go.wait()

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: Any) -> None:
        if self.fails_in == "pipe_file":
            super().pipe_file(path, value[: len(value) // 2])
        self._pass("pipe_file")
        super().pipe_file(path, value, mode=mode, **kwargs)

    def mv(self, path1: str, path2: str, **kwargs: Any) -> None:
        self._pass("mv")
        super().mv(path1, path2, **kwargs)

    def find(self, path: str, **kwargs: Any) -> Any:
        self._pass("find")
        return super().find(path, **kwargs)

    def cat_file(self, path: str, **kwargs: Any) -> Any:
        self._pass("cat_file")
        return super().cat_file(path, **kwargs)

    def rm_file(self, path: str) -> None:
        self._pass("rm_file")
        self._rm(path)


class FaultyObjectStore(FaultyFileSystem):
    """The same, whose put is atomic."""

    protocol = ("faulty-s3", "s3")

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: Any) -> None:
        self._pass("pipe_file")
        MemoryFileSystem.pipe_file(self, path, value, mode=mode, **kwargs)


@pytest.fixture(params=["faulty", "faulty-s3"])
def faulty(request: pytest.FixtureRequest) -> Iterator[Location]:
    fsspec.register_implementation("faulty", FaultyFileSystem, clobber=True)
    fsspec.register_implementation("faulty-s3", FaultyObjectStore, clobber=True)
    FaultyFileSystem.store.clear()
    FaultyFileSystem.let_go = threading.Event()
    store = open_location(f"{request.param}://bucket/store", deadline_s=0.2)
    store.write("a/old", [b"old"])
    yield store
    FaultyFileSystem.set_fault("")
    FaultyFileSystem.let_go.set()
    # What was given up still happens; not to the next test.
    for thread in threading.enumerate():
        if thread.name.startswith("store "):
            thread.join()


class UnreachableFileSystem(MemoryFileSystem):  # type: ignore[misc]
    """One that connects as soon as it is named, and cannot."""

    protocol: Any = "unreachable"
    cachable = False
    error: Exception | None = None
    let_go = threading.Event()

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        if self.error is None:
            self.let_go.wait()
            return
        raise self.error


@pytest.mark.parametrize(
    "error",
    [
        socket.gaierror(-2, "Name or service not known"),
        ConnectionRefusedError("refused"),
        TimeoutError("the client's own"),
        FileNotFoundError("no such share"),
        RuntimeError("whatever a client raises"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_store_that_cannot_be_opened_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    fsspec.register_implementation("unreachable", UnreachableFileSystem, clobber=True)
    monkeypatch.setattr(UnreachableFileSystem, "error", error)
    with pytest.raises(StoreUnavailableError) as failed:
        open_location("unreachable://host/store/")
    message = str(failed.value)
    assert message.startswith(
        f"store unreachable://host/store could not be opened: {type(error).__name__}: {error}; "
    )
    assert "check the URL, that its host can be reached" in message


def test_opening_a_store_that_hangs_is_given_up() -> None:
    fsspec.register_implementation("unreachable", UnreachableFileSystem, clobber=True)
    with pytest.raises(StoreUnavailableError, match=r"could not be opened within 0\.1 s; check"):
        open_location("unreachable://host/store", deadline_s=0.1)
    UnreachableFileSystem.let_go.set()


def calls_of(store: Location) -> dict[str, Any]:
    return {
        "pipe_file": lambda: store.write("a/old", [b"new"] * 10),
        "find": lambda: store.list("a"),
        "cat_file": lambda: store.read("a/old"),
        "rm_file": lambda: store.delete(["a/old"]),
    }


@pytest.mark.parametrize("call", ["pipe_file", "find", "cat_file", "rm_file"])
@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EIO, "server said 500"),
        ConnectionResetError("connection reset"),
        PermissionError("AccessDenied"),
        TimeoutError("the client's own"),
        RuntimeError("whatever a client raises"),
    ],
)
def test_what_a_store_raises_is_told_with_the_file(
    faulty: Location, call: str, error: Exception
) -> None:
    FaultyFileSystem.set_fault(call, error)
    with pytest.raises(StoreUnavailableError) as failed:
        calls_of(faulty)[call]()
    assert f"{faulty.url}/a" in str(failed.value)
    assert str(error) in str(failed.value)
    FaultyFileSystem.set_fault("")
    assert faulty.read("a/old") == b"old"
    assert [info.name for info in faulty.list()] == ["a/old"]
    assert faulty.list_unfinished() == []


@pytest.mark.parametrize("call", ["pipe_file", "find", "cat_file", "rm_file"])
def test_a_store_that_hangs_is_given_up(faulty: Location, call: str) -> None:
    FaultyFileSystem.set_fault(call)
    with pytest.raises(StoreUnavailableError, match=r"within 0\.2 s; check that the store can be"):
        calls_of(faulty)[call]()
    FaultyFileSystem.set_fault("")
    assert faulty.read("a/old") == b"old"
    assert [info.name for info in faulty.list()] == ["a/old"]


def test_a_move_that_fails_leaves_nothing_beside(faulty: Location) -> None:
    if "s3" in faulty.url:
        pytest.skip("an object store moves nothing")
    FaultyFileSystem.set_fault("mv", OSError(errno.EIO, "no"))
    with pytest.raises(StoreUnavailableError):
        faulty.write("a/new", [b"x"])
    assert [path.rpartition("/store/")[2] for path in FaultyFileSystem.store] == ["a/old"]


def test_what_was_put_though_the_answer_was_lost_was_created(
    faulty: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = FaultyFileSystem.pipe_file

    def lose_the_answer(self: Any, path: str, value: bytes, **options: Any) -> None:
        put(self, path, value, **options)
        raise ConnectionResetError

    monkeypatch.setattr(FaultyObjectStore, "pipe_file", lose_the_answer)
    if "s3" not in faulty.url:
        pytest.skip("nothing is created there in one step")
    assert faulty.create("claims/a", b"mine")
    assert not faulty.create("claims/a", b"another's")
    assert faulty.read("claims/a") == b"mine"


def test_large_files_that_break_off_leave_nothing(
    faulty: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "s3" in faulty.url:
        pytest.skip("multi-part uploads are tested against a server")
    monkeypatch.setattr("ps.store.remote._PART_BYTES", 1000)
    faulty.write("a/large", [bytes(700)] * 5)
    assert faulty.size("a/large") == 3500
    FaultyFileSystem.set_fault("mv", OSError(errno.EIO, "no"))
    with pytest.raises(StoreUnavailableError):
        faulty.write("a/other", [bytes(700)] * 5)
    left = sorted(path.rpartition("/store/")[2] for path in FaultyFileSystem.store)
    assert left == ["a/large", "a/old"]


def test_a_bucket_that_does_not_exist_is_told(s3_bucket: str) -> None:
    store = open_location("s3://no-such-bucket/store")
    for write in (lambda: store.write("a", [b"x"]), lambda: store.create("a", b"x")):
        with pytest.raises(
            StoreUnavailableError, match="check that the store can be reached, exist"
        ):
            write()
    with pytest.raises(FileMissingError):
        store.read("a")
    assert store.list() == []
    assert store.why_empty() == "there is no bucket no-such-bucket that these credentials can see"
    empty = open_location(f"{s3_bucket}/nothing-there")
    assert "has nothing there that these credentials can list" in empty.why_empty()
