"""A store anywhere fsspec reaches: S3 and the like, memory://, and file systems on the network.

Object stores put a file in one step. Elsewhere it is written beside and moved. Exclusive creation
asks the store for it where its fsspec class can (s3fs, gcsfs, adlfs: mode="create"); where not, or
where an S3-compatible store ignores the condition, the file is looked for and then written, and two
who try at the same instant may both believe they made it: a claim is therefore read again after it
was put, and before every commit (ps.store.claim).

Every call is given up after a deadline. What was given up may still happen later; a name is never
used again for other contents, so that does no harm. Multi-part uploads that a killed process left
are not files; let the bucket's lifecycle abort them.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ps.errors import FileMissingError, StoreUnavailableError
from ps.store.filesystem import BoundedFilesystem
from ps.store.location import UNFINISHED, FileInfo, Location, check_name
from ps.store.unfinished import forget, is_left_behind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ps.store.location import Buffer, FileWriter, Listing

# Up to here a file is gathered and put at once; above, it goes up in parts of this size (at most
# 10,000 parts, so 320 GB).
_PART_BYTES = 32 << 20
# A far store takes as long to delete one file as many.
_DELETERS = 16
# A memory:// store asks "is it there" and puts in two steps; nobody outside the process sees it.
_MEMORY_LOCK = threading.Lock()


class RemoteLocation(Location):
    """A folder or a bucket's prefix behind an fsspec URL. Raises SpecError."""

    is_local = False

    def __init__(self, url: str, *, deadline_s: float) -> None:
        self._remote = BoundedFilesystem(url, deadline_s=deadline_s)
        self.url = self._remote.url

    def read(self, name: str) -> bytes:
        """A whole file."""
        path, fs = self._path(name), self._remote.fs
        size = self.size(name)
        data: bytes = self._remote.call(name, "read", lambda: fs.cat_file(path), size)
        return data

    def read_range(self, name: str, offset: int, size: int) -> bytes:
        """`size` bytes from `offset`; fewer, or none, where the file ends before."""
        path, fs = self._path(name), self._remote.fs
        # A range that begins behind the end is an error to some stores.
        end = min(offset + size, self.size(name))
        if end <= offset:
            return b""
        data: bytes = self._remote.call(
            name, "read", lambda: fs.cat_file(path, start=offset, end=end), size
        )
        return data

    def size(self, name: str) -> int:
        """A file's size in bytes."""
        path, fs = self._path(name), self._remote.fs

        def look() -> int:
            fs.invalidate_cache(path)
            info = fs.info(path)
            if info["type"] != "file":
                raise FileNotFoundError(path)
            return int(info["size"])

        return self._remote.call(name, "read", look)

    def create(self, name: str, data: bytes) -> bool:
        """Write a small file that must not be there yet; False where it is (see the module)."""
        path, remote = self._path(name), self._remote

        def put() -> bool:
            if remote.in_memory:
                with _MEMORY_LOCK:
                    if remote.exists(path):
                        return False
                    remote.put(path, data)
            elif remote.creates:
                remote.fs.pipe_file(path, data, mode="create")
            elif remote.exists(path):
                return False
            else:
                remote.put(path, data)
            return True

        try:
            return remote.call(name, "written", put)
        except StoreUnavailableError:
            # That a file is there is told in many ways, also to a client that repeats a call that
            # had succeeded unheard: what is there now decides.
            try:
                return self.read(name) == data
            except FileMissingError:
                pass
            raise

    @contextmanager
    def writer(self, name: str) -> Iterator[FileWriter]:
        """A file to be written piece by piece; there once the context is left cleanly."""
        out = _Upload(self._remote, name, self._path(name))
        try:
            yield out
            out.finish()
        except BaseException:
            out.abandon()
            raise

    def list(self, folder: str = "") -> Listing:
        """The files in a folder and below, by name, without what is being written."""
        return [info for info in self._walk(folder) if UNFINISHED not in info.name]

    def list_unfinished(self) -> Listing:
        """What other processes have left behind or are writing."""
        if self._remote.puts_at_once:
            return []
        return [info for info in self._walk("") if is_left_behind(info.name)]

    def delete(self, names: Iterable[str]) -> None:
        """Delete files; one that is gone already is no error."""
        paths = {name: self._path(name) for name in names}

        def delete(name: str) -> None:
            def remove() -> None:
                try:
                    self._remote.fs.rm_file(paths[name])
                except FileNotFoundError:
                    return

            self._remote.call(name, "deleted", remove)

        if len(paths) < 2 or self._remote.in_memory:
            for name in paths:
                delete(name)
            return
        with ThreadPoolExecutor(_DELETERS, thread_name_prefix="delete") as deleters:
            for _ in deleters.map(delete, paths):
                pass

    def why_empty(self) -> str:
        """Why there may be no file of a store here, as far as that can be known."""
        remote = self._remote
        if remote.in_memory:
            return "this process has nothing in its memory; another process's can only be asked for"
        bucket = remote.root.partition("/")[0]
        if not remote.puts_at_once or not bucket:
            return "no file is there"
        try:
            there = remote.call(".", "listed", lambda: remote.exists(bucket))
        except StoreUnavailableError as error:
            return f"no file is there that these credentials can list ({error})"
        if there:
            return f"bucket {bucket} has nothing there that these credentials can list"
        return f"there is no bucket {bucket} that these credentials can see"

    def _path(self, name: str) -> str:
        return "/".join([self._remote.root, *check_name(name)])

    def _walk(self, folder: str) -> Listing:
        start, fs = self._path(folder) if folder else self._remote.root, self._remote.fs

        def find() -> dict[str, dict[str, Any]]:
            fs.invalidate_cache(start)
            try:
                found: dict[str, dict[str, Any]] = fs.find(start, detail=True)
            except FileNotFoundError:
                return {}
            return found

        prefix = self._remote.root + "/"
        found = []
        for path, info in self._remote.call(folder or ".", "listed", find).items():
            if info["type"] == "file" and path.startswith(prefix):
                name = path.removeprefix(prefix)
                found.append(FileInfo(name, int(info["size"] or 0), _modified_us(info)))
        return sorted(found, key=lambda info: info.name)


class _Upload:
    """A file on its way: gathered while it is small, sent in parts once it is not."""

    def __init__(self, remote: BoundedFilesystem, name: str, path: str) -> None:
        self._remote = remote
        self._name = name
        self._path = path
        self._pieces: list[bytes] = []
        self._gathered = 0
        self._file: Any = None
        # Where files cannot be put in one step, parts go to a file beside.
        self._beside: str | None = None

    def write(self, data: Buffer) -> None:
        """Append; the buffer may be reused at once."""
        self._pieces.append(bytes(data))
        self._gathered += len(self._pieces[-1])
        # What is this process's own memory is there in one step anyhow.
        if self._gathered >= _PART_BYTES and not self._remote.in_memory:
            self._send()

    def finish(self) -> None:
        """Make the file appear."""
        remote, path = self._remote, self._path
        if self._file is None:
            data = b"".join(self._pieces)
            remote.call(self._name, "written", lambda: remote.put(path, data), len(data))
            return
        self._send()

        def commit() -> None:
            self._file.close()
            if self._beside is None:
                self._file.commit()
            else:
                remote.fs.mv(self._beside, path)

        remote.call(self._name, "written", commit, _PART_BYTES)
        forget(self._beside or "")

    def abandon(self) -> None:
        """Leave nothing behind, as far as the store lets us: an error here would hide the first."""
        if self._file is None:
            return

        def discard() -> None:
            if self._beside is None:
                # Or it would be sent after all when it is collected.
                self._file.closed = True
                self._file.discard()
            else:
                self._file.close()
                self._remote.fs.rm_file(self._beside)

        try:
            self._remote.call(self._name, "discarded", discard)
        except (StoreUnavailableError, FileMissingError):
            return
        finally:
            forget(self._beside or "")

    def _send(self) -> None:
        remote, path = self._remote, self._path
        data, self._pieces, self._gathered = b"".join(self._pieces), [], 0

        def send() -> None:
            if self._file is None and remote.puts_at_once:
                self._file = remote.fs.open(path, "wb", block_size=_PART_BYTES, autocommit=False)
            elif self._file is None:
                self._beside = remote.beside(path)
                self._file = remote.fs.open(self._beside, "wb", block_size=_PART_BYTES)
            self._file.write(data)

        remote.call(self._name, "written", send, len(data))


def _modified_us(info: dict[str, Any]) -> int:
    for key in ("LastModified", "last_modified", "updated", "mtime", "modified", "created"):
        at = info.get(key)
        if isinstance(at, datetime):
            return int(at.timestamp() * 1e6)
        if isinstance(at, int | float):
            return int(at * 1e6)
    return 0
