"""Finding and opening the files of a source: local, in memory or in an object store."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, Self, cast

import fsspec
import pyarrow as pa

from worker.errors import SourceError, SourceSpecError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from io import IOBase

    Codec = Literal["gzip", "zstd"]

_GLOB_SIGNS = frozenset("*?[")
_CODEC_OF_SUFFIX: dict[str, Codec] = {".gz": "gzip", ".zst": "zstd"}
# What fsspec, its back ends and the decompressors raise when bytes cannot be had.
READ_ERRORS = (OSError, EOFError, zlib.error, pa.ArrowException, ValueError)


@dataclass(frozen=True, slots=True)
class DataFile:
    """One file of a source, which is one partition of its stream.

    partition: the file's name relative to what the source was opened on, so that positions stay
    valid when the data moves. path: as its file system knows it.
    """

    partition: str
    path: str
    filesystem: Any

    @property
    def url(self) -> str:
        """Where find_files would find it again."""
        return str(self.filesystem.unstrip_protocol(self.path))

    @property
    def suffixes(self) -> list[str]:
        """The name's suffixes in lower case: ['.csv', '.gz']."""
        return [suffix.lower() for suffix in PurePosixPath(self.path).suffixes]

    @property
    def codec(self) -> Codec | None:
        """The compression its name stands for: gzip, zstd or None."""
        return _CODEC_OF_SUFFIX.get(self.suffixes[-1]) if self.suffixes else None

    @property
    def local_path(self) -> str | None:
        """Where to map it into memory; None where the file is not on this machine's disk."""
        protocol = self.filesystem.protocol
        names = (protocol,) if isinstance(protocol, str) else protocol
        return self.path if "file" in names else None

    def open(self) -> BinaryIO:
        """The raw bytes, seekable. Raises SourceError where it cannot be opened."""
        try:
            return cast("BinaryIO", self.filesystem.open(self.path, "rb"))
        except READ_ERRORS as error:
            raise SourceError(
                self.partition,
                0,
                f"cannot open {self.path}: {error}; check the path and its rights",
            ) from error

    def beside(self, name: str) -> DataFile | None:
        """The file called name in the same folder, maybe compressed; None where there is none."""
        for found in (name, *(name + suffix for suffix in _CODEC_OF_SUFFIX)):
            path = str(PurePosixPath(self.path).with_name(found))
            if self.filesystem.isfile(path):
                return DataFile(found, path, self.filesystem)
        return None


def find_files(url: str) -> Sequence[DataFile]:
    """The files behind a path, a folder or a glob, sorted by name; at least one.

    url: anything fsspec opens (a local path, file://, memory://, s3://). Of a folder, files whose
    name begins with a dot or an underscore are left out, as everywhere in data lakes.
    Raises SourceError where nothing is there.
    """
    try:
        filesystem, root = fsspec.core.url_to_fs(url)
    except (ValueError, ImportError) as error:
        raise SourceSpecError(f"cannot open {url!r}: {error}") from error
    if _GLOB_SIGNS & set(root):
        prefix = root[: min(root.index(sign) for sign in _GLOB_SIGNS if sign in root)]
        base = prefix.rpartition("/")[0]
        paths = [path for path in filesystem.glob(root) if filesystem.isfile(path)]
        nothing = "no file matches this pattern; check the path, or quote it in the shell"
    elif filesystem.isdir(root):
        base = root
        paths = [path for path in filesystem.find(root) if not _hidden(path, root)]
        nothing = "this folder holds no files; wait for the data, or point to another folder"
    elif filesystem.isfile(root):
        base = str(PurePosixPath(root).parent)
        paths = [root]
        nothing = ""
    else:
        raise SourceError(url, 0, "no such file or folder; check the path")
    if not paths:
        raise SourceError(url, 0, nothing)
    return [DataFile(_relative(path, base), path, filesystem) for path in sorted(paths)]


def _relative(path: str, base: str) -> str:
    return path.removeprefix(base).lstrip("/")


def _hidden(path: str, root: str) -> bool:
    return any(part.startswith((".", "_")) for part in PurePosixPath(_relative(path, root)).parts)


class BrokenStreamError(Exception):
    """Bytes end or turn bad inside a file; everything before has been handed over."""


def read_blocks(file: DataFile, block_bytes: int = 1 << 20) -> Iterator[bytes]:
    """The decompressed content in blocks of at most block_bytes.

    The same file always yields the same blocks. A truncated or damaged compressed file yields every
    byte that can be recovered before BrokenStreamError is raised.
    """
    delivered = 0
    with _Content(file) as content:
        while True:
            try:
                block = content.read(block_bytes)
            except READ_ERRORS as error:
                failure = error
                break
            if not block:
                return
            delivered += len(block)
            yield block
    rest = _salvage(file, delivered, block_bytes)
    if rest:
        yield rest
    raise BrokenStreamError(str(failure)) from failure


def _salvage(file: DataFile, skip: int, limit: int) -> bytes:
    """What a failed read of up to limit bytes after skip could still have given, byte by byte."""
    found = bytearray()
    with _Content(file) as content:
        try:
            while skip > 0:
                skip -= len(content.read(min(skip, 1 << 20)))
            while len(found) < limit and (byte := content.read(1)):
                found += byte
        except READ_ERRORS:
            return bytes(found)
    return bytes(found)


class _Content:
    """A file's decompressed bytes as a context manager that closes what it opened."""

    def __init__(self, file: DataFile) -> None:
        self._raw = file.open()
        self._stream: BinaryIO | pa.NativeFile = self._raw
        if file.codec is not None:
            self._stream = pa.CompressedInputStream(
                pa.PythonFile(cast("IOBase", self._raw), mode="r"), file.codec
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._raw.close()

    def read(self, n_bytes: int) -> bytes:
        return self._stream.read(n_bytes)
