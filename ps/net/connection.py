"""How the two ends of the data path find each other: names, settings of gRPC, the token."""

from __future__ import annotations

from typing import Final

SERVICE: Final = "trilith.ShardData"
PULL: Final = "Pull"
PUSH: Final = "Push"
FENCE: Final = "Fence"
POSITIONS: Final = "Positions"
READ: Final = "Read"
BASE: Final = "Base"

_TOKEN_KEY = "authorization"  # noqa: S105  # the header's name
_TOKEN_SCHEME = "Bearer "  # noqa: S105

# A machine that is gone says nothing: it is asked for a sign of life this often, and given so long.
# gRPC waits for the answer as long as its ping timeout says, a minute by default, whatever the
# timeout of keepalive.
_KEEPALIVE_MS = 2_000
_KEEPALIVE_TIMEOUT_MS = 3_000

_BOTH_ENDS: Final[tuple[tuple[str, int], ...]] = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
    ("grpc.keepalive_timeout_ms", _KEEPALIVE_TIMEOUT_MS),
    ("grpc.http2.ping_timeout_ms", _KEEPALIVE_TIMEOUT_MS),
    ("grpc.http2.max_pings_without_data", 0),
)

SERVER_OPTIONS: Final[tuple[tuple[str, int], ...]] = (
    *_BOTH_ENDS,
    # Else a second process on the same port would share its calls, unnoticed.
    ("grpc.so_reuseport", 0),
    # Signs of life are asked for while a call is long under way; that is no abuse.
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", _KEEPALIVE_MS // 2),
)

CLIENT_OPTIONS: Final[tuple[tuple[str, int], ...]] = (
    *_BOTH_ENDS,
    # A process that was restarted is found within a second.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # What is sent again is for the caller to decide.
    ("grpc.enable_retries", 0),
    # No two handles share a connection, and no proxy of the environment leads into a cluster.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
)


def path(method: str) -> str:
    """What gRPC calls a method."""
    return f"/{SERVICE}/{method}"


def credentials(token: str) -> tuple[tuple[str, str], ...]:
    """What a call carries, to be let in."""
    return ((_TOKEN_KEY, _TOKEN_SCHEME + token),)


def said_token(metadata: tuple[tuple[str, str | bytes], ...]) -> bytes:
    """The token that a call carries; empty where it carries none."""
    sent = dict(metadata).get(_TOKEN_KEY, "")
    said = sent.encode() if isinstance(sent, str) else sent
    return said.removeprefix(_TOKEN_SCHEME.encode())
