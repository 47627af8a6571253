"""One run of the command: the job or the store it is about, and where its answer goes."""

from __future__ import annotations

import json
import socket
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, is_dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import typer

from ps.addresses import is_host_port
from ps.admin.cli.exits import NothingRunsError
from ps.admin.cli.waiting import waiting
from ps.errors import NoStoreError, SpecError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from rich.console import RenderableType

    from ps.admin.client import AdminClient
    from ps.admin.offline import OfflineStore


@dataclass
class Session:
    """What the common options come to. Connects when it is first asked to; a context manager.

    Raises SpecError for options that cannot be; what it connects to raises AdminError, StoreError.
    """

    target: str
    token: str | None = None
    token_file: Path | None = None
    tls_ca: Path | None = None
    timeout_s: float | None = None
    as_json: bool = False
    _stack: ExitStack = field(default_factory=ExitStack, repr=False)
    _client: AdminClient | None = field(default=None, repr=False)
    _store: OfflineStore | None = field(default=None, repr=False)
    _looked: bool = field(default=False, repr=False)

    def __enter__(self) -> Self:
        if not self.target:
            raise SpecError(
                "which job or store? Give --target HOST:PORT or --target STORE, or set TRILITH_TARGET"
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def running(self) -> AdminClient | None:
        """The job, if one runs; None where the target is a store and nothing does."""
        if not self._looked:
            self._looked = True
            address: str | None = self.target
            if not is_host_port(self.target):
                with waiting(f"looking who writes to {self.target}"):
                    address = self.store().admin_address()
            if address is not None:
                self._client = self._connect(address)
        return self._client

    def job(self) -> AdminClient:
        """The running job. Raises NothingRunsError."""
        client = self.running()
        if client is None:
            with waiting(f"looking who wrote to {self.target}"):
                why = self.store().why_nothing_answers()
            raise NothingRunsError(why)
        return client

    def store(self) -> OfflineStore:
        """The store named, or the job's own, read by this process. Raises NoStoreError."""
        if self._store is None:
            from ps.admin.offline import OfflineStore

            url = self._store_url()
            with waiting(f"opening {url}"):
                self._store = OfflineStore.at(url, deadline_s=self.timeout_s)
        return self._store

    def show(self, answer: Any, render: Callable[[], RenderableType]) -> None:
        """Print a dataclass or a mapping as JSON (null for what is not finite), or as a person reads it."""
        if self.as_json:
            typer.echo(json.dumps(_plain(answer), allow_nan=False))
            return
        picture = render()
        if isinstance(picture, str):
            typer.echo(picture)
            return
        from ps.admin.cli.screen import console

        console().print(picture)

    def say(self, message: str) -> None:
        """Tell a person something beside the answer."""
        typer.echo(message, err=True)

    def _store_url(self) -> str:
        if not is_host_port(self.target):
            return self.target
        status = self.job().status()
        if status.store is None:
            raise NoStoreError("this command")
        url = status.store.url
        if "://" not in url and status.host != socket.gethostname() and not Path(url).exists():
            raise SpecError(
                f"{url} is a folder of {status.host}, where the job runs; run ps-admin there"
            )
        return url

    def _connect(self, address: str) -> AdminClient:
        from ps.admin.client import AdminClient

        client = AdminClient(
            address,
            token=self._said_token(),
            tls_ca=None if self.tls_ca is None else _read(self.tls_ca, "--tls-ca"),
            timeout_s=self.timeout_s,
        )
        return self._stack.enter_context(client)

    def _said_token(self) -> str | None:
        if self.token is not None or self.token_file is None:
            return self.token
        return _read(self.token_file, "--token-file").decode(errors="replace").strip()


def _read(file: Path, option: str) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise SpecError(f"{option} {file}: {error.strerror}") from error


def _plain(answer: Any) -> Any:
    """What JSON can hold: dataclasses as objects, keyed by their fields; no NaN or infinity."""
    if is_dataclass(answer) and not isinstance(answer, type):
        return _plain(asdict(answer))
    if isinstance(answer, dict):
        return {key: _plain(value) for key, value in answer.items()}
    if isinstance(answer, (list, tuple)):
        return [_plain(value) for value in answer]
    if isinstance(answer, float) and not isfinite(answer):
        return None
    return answer
