"""The settings of a Predict server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from serving.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

_PORTS = range(65_536)


@dataclass(frozen=True, slots=True)
class ServingConfig:
    """Where to listen, and how much to take on.

    port, metrics_port: 0 takes any free one; metrics_port None serves no metrics. threads: calls
    under way at once, of all services. parallel_predictions: how many of them compute at once; more
    than one pays only where large requests spend their time outside the interpreter. max_concurrent_requests: those beyond are refused, waiting ones included; each
    client that watches the server's health counts as one. grace_s: how long a stop waits for calls
    under way. cert_file, key_file: PEM; both, or neither for plain text.
    Raises ConfigError for an impossible setting.
    """

    host: str = "127.0.0.1"
    port: int = 0
    threads: int = 4
    parallel_predictions: int = 1
    max_candidates: int = 10_000
    max_message_bytes: int = 4 << 20
    max_concurrent_requests: int = 1_000
    grace_s: float = 5.0
    metrics_host: str = "127.0.0.1"
    metrics_port: int | None = None
    cert_file: Path | None = None
    key_file: Path | None = None

    def __post_init__(self) -> None:
        for name in (
            "threads",
            "parallel_predictions",
            "max_candidates",
            "max_message_bytes",
            "max_concurrent_requests",
        ):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("port", "metrics_port"):
            port = getattr(self, name)
            if port is not None and port not in _PORTS:
                raise ConfigError(f"{name} is {port}; it must be 0 (any) to 65535")
        if not self.grace_s >= 0:
            raise ConfigError(f"grace_s is {self.grace_s}; it must be 0 or more")
        if (self.cert_file is None) != (self.key_file is None):
            raise ConfigError("TLS needs both cert_file and key_file; give both, or neither")
        if not self.host:
            raise ConfigError(
                "host is empty; use 127.0.0.1, or 0.0.0.0 to be reached from elsewhere"
            )
