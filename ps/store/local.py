"""A store in a local folder: written beside, synced, renamed.

Folders are opened one after the other without following symbolic links, so that no name, whatever
stands in the folder, leads out of it. Network mounts count as local: a call to one that hangs cannot
be given up.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self

from ps.errors import FileMissingError, SpecError, StoreUnavailableError
from ps.store.location import UNFINISHED, FileInfo, Location, check_name
from ps.store.unfinished import forget, is_left_behind, name_beside

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ps.store.location import Buffer, FileWriter, Listing

_ADVICE = {
    errno.ENOSPC: "free space on that disk, or keep fewer restore points",
    errno.EDQUOT: "raise the quota, or keep fewer restore points",
    errno.EFBIG: "raise the limit on file sizes (ulimit -f)",
    errno.EACCES: "let this user read and write the folder",
    errno.EPERM: "let this user read and write the folder",
    errno.EROFS: "mount the file system for writing, or name another folder",
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
    errno.ELOOP: "put a folder in place of the symbolic link; a store follows none",
    errno.ENOTDIR: "put a folder in place of what stands there (symbolic links are not followed)",
    errno.EISDIR: "move the folder of that name away",
    errno.EIO: "check the disk",
}


class LocalLocation(Location):
    """A folder, made when the first file is written. Raises SpecError for what is no path."""

    is_local = True

    def __init__(self, path: str) -> None:
        if not path or "\0" in path:
            raise SpecError(f"store {path!r} is no path; name a folder")
        # The folder itself may be reached through links: whoever configured it chose it.
        try:
            self.path = Path(path).expanduser().resolve()
        except (OSError, RuntimeError) as error:
            raise SpecError(f"store {path!r} leads nowhere ({error}); name a folder") from error
        self.url = str(self.path)

    def read(self, name: str) -> bytes:
        """A whole file."""
        with self._told(name, "read"), self._opened(name) as fd:
            return _read_up_to(fd, os.fstat(fd).st_size)

    def read_range(self, name: str, offset: int, size: int) -> bytes:
        """`size` bytes from `offset`; fewer, or none, where the file ends before."""
        with self._told(name, "read"), self._opened(name) as fd:
            os.lseek(fd, offset, os.SEEK_SET)
            return _read_up_to(fd, min(size, max(0, os.fstat(fd).st_size - offset)))

    def read_into(self, name: str, offset: int, buffer: memoryview) -> int:
        """Fill buffer from `offset`, without a copy in between."""
        with self._told(name, "read"), self._opened(name) as fd:
            done = 0
            while done < len(buffer):
                n = os.preadv(fd, [buffer[done:]], offset + done)
                if n == 0:
                    break
                done += n
            return done

    def size(self, name: str) -> int:
        """A file's size in bytes."""
        with self._told(name, "read"), self._opened(name) as fd:
            return os.fstat(fd).st_size

    def create(self, name: str, data: bytes) -> bool:
        """Write a small file that must not be there yet; False where it is."""
        with self._told(name, "written"), self._folder(name, make=True) as (folder, last):
            unfinished, fd = _unfinished(folder, last)
            try:
                with _Descriptor(fd) as out:
                    out.write(data)
                    out.sync()
                try:
                    os.link(unfinished, last, src_dir_fd=folder, dst_dir_fd=folder)
                except FileExistsError:
                    return False
                except OSError as error:
                    if error.errno not in {errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK}:
                        raise
                    return _create_without_link(folder, last, data)
            finally:
                _unlink_if_there(unfinished, folder)
                forget(unfinished)
            os.fsync(folder)
            return True

    @contextmanager
    def writer(self, name: str) -> Iterator[FileWriter]:
        """A file to be written piece by piece; there, durable, once the context is left cleanly."""
        with self._told(name, "written"), self._folder(name, make=True) as (folder, last):
            unfinished, fd = _unfinished(folder, last)
            try:
                with _Descriptor(fd) as out:
                    # What the caller's own block raises is the caller's, even an OSError.
                    try:
                        yield _Told(self.full_name(name), out)
                    except OSError as error:
                        raise _CallersError from error
                    out.sync()
                os.rename(unfinished, last, src_dir_fd=folder, dst_dir_fd=folder)
            except BaseException:
                _unlink_if_there(unfinished, folder)
                raise
            finally:
                forget(unfinished)
            os.fsync(folder)

    def list(self, folder: str = "") -> Listing:
        """The files in a folder and below, by name, without what is being written."""
        return [info for info in self._walk(folder) if UNFINISHED not in info.name]

    def list_unfinished(self) -> Listing:
        """What other processes have left behind or are writing."""
        return [info for info in self._walk("") if is_left_behind(info.name)]

    def delete(self, names: Iterable[str]) -> None:
        """Delete files; one that is gone already is no error."""
        by_folder: dict[str, list[str]] = {}
        for name in names:
            by_folder.setdefault(name.rpartition("/")[0], []).append(name)
        for among in by_folder.values():
            with self._told(among[0], "deleted"):
                try:
                    with self._folder(among[0], make=False) as (fd, _):
                        for name in among:
                            _unlink_if_there(check_name(name)[-1], fd)
                        os.fsync(fd)
                except FileNotFoundError:
                    continue

    def _walk(self, folder: str) -> Listing:
        start = self.path.joinpath(*check_name(folder)) if folder else self.path
        found = []
        with self._told(folder or ".", "listed"):
            if not start.is_dir():
                return []
            for at, folders, names, fd in os.fwalk(start, onerror=_unless_missing):
                folders.sort()
                inside = Path(at).relative_to(self.path)
                for name in names:
                    try:
                        status = os.stat(name, dir_fd=fd, follow_symlinks=False)
                    except FileNotFoundError:  # deleted since
                        continue
                    if stat.S_ISREG(status.st_mode):
                        found.append(
                            FileInfo(
                                (inside / name).as_posix(),
                                status.st_size,
                                status.st_mtime_ns // 1_000,
                            )
                        )
        return sorted(found, key=lambda info: info.name)

    @contextmanager
    def _folder(self, name: str, *, make: bool) -> Iterator[tuple[int, str]]:
        """(descriptor of the folder a file is in, the file's name in it)."""
        *folders, last = check_name(name)
        if make and not self.path.is_dir():
            _make_root(self.path)
        fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for part in folders:
                if make:
                    _make_folder(part, fd)
                inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
                os.close(fd)
                fd = inner
            yield fd, last
        finally:
            os.close(fd)

    @contextmanager
    def _opened(self, name: str) -> Iterator[int]:
        with self._folder(name, make=False) as (folder, last):
            # Not to wait for ever on a pipe someone put there.
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
            fd = os.open(last, flags, dir_fd=folder)
            try:
                if not stat.S_ISREG(os.fstat(fd).st_mode):
                    raise IsADirectoryError(errno.EISDIR, "is no file")
                yield fd
            finally:
                os.close(fd)

    @contextmanager
    def _told(self, name: str, what: str) -> Iterator[None]:
        """Turns the operating system's errors into ours."""
        try:
            yield
        except _CallersError as wrapped:
            cause = wrapped.__cause__
            if cause is None:
                raise
            raise cause from None
        except OSError as error:
            if isinstance(error, FileNotFoundError) and what == "read":
                raise FileMissingError(self.url, name) from error
            raise _unavailable(self.full_name(name), what, error) from error


class _CallersError(Exception):
    """Carries an OSError of whoever uses a writer past the translation of our own."""


class _Descriptor:
    """An open file that is written to, closed at the end of its context."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def write(self, data: Buffer) -> None:
        view = memoryview(data)
        if view.nbytes == 0:
            return
        view = view.cast("B")
        while view:
            view = view[os.write(self._fd, view) :]

    def sync(self) -> None:
        os.fsync(self._fd)


class _Told:
    """A writer whose errors are ours from the start, and so never taken for the caller's."""

    def __init__(self, full_name: str, out: _Descriptor) -> None:
        self._full_name = full_name
        self._out = out

    def write(self, data: Buffer) -> None:
        try:
            self._out.write(data)
        except OSError as error:
            raise _unavailable(self._full_name, "written", error) from error


def _unavailable(full_name: str, what: str, error: OSError) -> StoreUnavailableError:
    advice = _ADVICE.get(error.errno or 0, "check the folder and the disk it is on")
    return StoreUnavailableError(
        f"{full_name} could not be {what}: {error.strerror or error}; {advice}"
    )


def _unfinished(folder: int, name: str) -> tuple[str, int]:
    """A new file beside the one to be written: its name and descriptor."""
    while True:
        candidate = name_beside(name)
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            return candidate, os.open(candidate, flags, 0o666, dir_fd=folder)
        except FileExistsError:  # of a process with this one's number, here or on another machine
            forget(candidate)
        except BaseException:
            forget(candidate)
            raise


def _create_without_link(folder: int, name: str, data: bytes) -> bool:
    """For file systems without hard links: still one winner, but a reader may see it half-written,
    and a crash may leave it so; the checksum in it says so.
    """
    try:
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666, dir_fd=folder)
    except FileExistsError:
        return False
    with _Descriptor(fd) as out:
        out.write(data)
        out.sync()
    os.fsync(folder)
    return True


def _read_up_to(fd: int, size: int) -> bytes:
    """`size` bytes, or what there is: one read() returns 2 GiB at the most."""
    data = os.read(fd, size)
    if len(data) == size:
        return data
    pieces = [data]
    left = size - len(data)
    while left and pieces[-1]:
        pieces.append(os.read(fd, left))
        left -= len(pieces[-1])
    return b"".join(pieces)


def _make_root(path: Path) -> None:
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir(exist_ok=True)
        _sync_folder(folder.parent)


def _sync_folder(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _make_folder(name: str, parent: int) -> None:
    try:
        os.mkdir(name, dir_fd=parent)
    except FileExistsError:
        return
    os.fsync(parent)


def _unlink_if_there(name: str, folder: int) -> None:
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        return


def _unless_missing(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error
