"""An fsspec filesystem with deadlines, errors of ours, and what it can do in one step."""

from __future__ import annotations

import inspect
import threading
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import TYPE_CHECKING, Any, TypeVar

import fsspec

from ps.errors import FileMissingError, SpecError, StoreUnavailableError
from ps.store.unfinished import forget, name_beside

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

# Their put replaces a file in one step, or does nothing.
_ATOMIC = {"memory", "s3", "s3a", "gs", "gcs", "az", "abfs", "abfss"}
# What a call that moves bytes may take beyond its deadline.
_BYTES_PER_S = 1 << 20
# Connections that fail are tried again by the client, inside the deadline.
_S3_CLIENT = {
    "connect_timeout": 10,
    "read_timeout": 30,
    "retries": {"max_attempts": 3, "mode": "standard"},
}


class BoundedFilesystem:
    """fs, root: as fsspec has them; call() is the one way to use fs.

    in_memory: it is this process's own. puts_at_once: pipe_file() is atomic. creates: pipe_file()
    knows mode="create". Raises SpecError for a URL fsspec cannot open.
    """

    def __init__(self, url: str, *, deadline_s: float) -> None:
        options: dict[str, Any] = {}
        if url.split("://", 1)[0] in {"s3", "s3a"}:
            # Another process's files must be seen at once: no listing is remembered.
            options = {"config_kwargs": _S3_CLIENT, "use_listings_cache": False}
        self.url = url.rstrip("/")
        self._deadline_s = deadline_s
        # Some connect at once: to be given up like any other call.
        self.fs, root = self._opened(lambda: fsspec.core.url_to_fs(url, **options))
        self.root = root.rstrip("/")
        protocols = {self.fs.protocol} if isinstance(self.fs.protocol, str) else self.fs.protocol
        self.in_memory = "memory" in protocols
        self.puts_at_once = not _ATOMIC.isdisjoint(protocols)
        pipe = getattr(self.fs, "_pipe_file", self.fs.pipe_file)
        self.creates = "mode" in inspect.signature(pipe).parameters

    def _opened(self, connect: Callable[[], tuple[Any, str]]) -> tuple[Any, str]:
        """What connect() gives, within the deadline. Raises SpecError, StoreUnavailableError."""
        try:
            return _within(self._deadline_s, "opened", connect)
        except ImportError as error:
            raise SpecError(
                f"store {self.url} needs a library that is not installed ({error}); for s3:// "
                "install trilith[s3]"
            ) from error
        except ValueError as error:
            raise SpecError(f"store {self.url!r} is no URL that fsspec knows: {error}") from error
        except _NoAnswerError as error:
            raise StoreUnavailableError(
                f"store {self.url} could not be opened within {self._deadline_s:.3g} s; check that "
                "its host can be reached"
            ) from error
        # Clients raise what they like: see call().
        except Exception as error:
            raise StoreUnavailableError(
                f"store {self.url} could not be opened: {type(error).__name__}: {error}; check the "
                "URL, that its host can be reached, and that it takes these credentials"
            ) from error

    def call(self, name: str, what: str, function: Callable[[], T], size: int = 0) -> T:
        """The function's result, within the deadline; size: bytes it moves.

        Raises FileMissingError, StoreUnavailableError.
        """
        deadline_s = self._deadline_s + size / _BYTES_PER_S
        try:
            return _within(deadline_s, what, function)
        except FileNotFoundError as error:
            if what == "read":
                raise FileMissingError(self.url, name) from error
            raise self._unavailable(name, what, error) from error
        except _NoAnswerError as error:
            raise StoreUnavailableError(
                f"{self.url}/{name} could not be {what} within {deadline_s:.3g} s; check that the "
                "store can be reached"
            ) from error
        except PermissionError as error:
            raise StoreUnavailableError(
                f"{self.url}/{name} could not be {what}: {error}; let these credentials read, "
                "write, list and delete there"
            ) from error
        # Clients raise what they like: errors of their own, of their transport, of their parser.
        except Exception as error:
            raise self._unavailable(name, what, error) from error

    def exists(self, path: str) -> bool:
        """Whether a path is there now. Inside call()."""
        self.fs.invalidate_cache(path)
        return bool(self.fs.exists(path))

    def put(self, path: str, data: bytes) -> None:
        """A whole file in one step, as far as the filesystem has such. Inside call()."""
        if self.puts_at_once:
            self.fs.pipe_file(path, data)
            return
        beside = self.beside(path)
        try:
            self.fs.pipe_file(beside, data)
            self.fs.mv(beside, path)
        except BaseException:
            if self.exists(beside):
                self.fs.rm_file(beside)
            raise
        finally:
            forget(beside)

    def beside(self, path: str) -> str:
        """Where a file is written before it is moved to its path. Inside call()."""
        self.fs.makedirs(path.rpartition("/")[0], exist_ok=True)
        return name_beside(path)

    def _unavailable(self, name: str, what: str, error: Exception) -> StoreUnavailableError:
        return StoreUnavailableError(
            f"{self.url}/{name} could not be {what}: {type(error).__name__}: {error}; check that "
            "the store can be reached, exists and takes these credentials"
        )


class _NoAnswerError(Exception):
    """A call that has not come back within its deadline."""


def _within(deadline_s: float, what: str, function: Callable[[], T]) -> T:
    """The function's result, or what it raises; _NoAnswerError where it takes longer."""
    outcome: Future[T] = Future()

    def run() -> None:
        try:
            outcome.set_result(function())
        except BaseException as error:  # noqa: BLE001 - raised again by result(), below
            outcome.set_exception(error)

    # A daemon, so that a call that never returns does not keep the process from ending.
    threading.Thread(target=run, name=f"store {what}", daemon=True).start()
    try:
        return outcome.result(timeout=deadline_s)
    except FutureTimeoutError as error:
        if outcome.done():  # then it is the function's own
            raise
        raise _NoAnswerError from error
