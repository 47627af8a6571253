"""Numbers as people read them."""

from __future__ import annotations

from datetime import UTC, datetime

UNKNOWN = "–"


def metric(value: float | None, digits: int = 4) -> str:
    """A metric, or a dash where there is none yet."""
    return UNKNOWN if value is None else f"{value:.{digits}f}"


def rate(per_s: float | None) -> str:
    """Things per second."""
    return UNKNOWN if per_s is None else f"{per_s:,.0f}/s"


def seconds(value: float | None) -> str:
    """A short span of time."""
    if value is None:
        return UNKNOWN
    return f"{value * 1e3:.0f} ms" if value < 1 else f"{value:.2f} s"


def span(value: float) -> str:
    """How long something took: 3.4 s, 2 min 05 s, 1 h 03 min."""
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def instant(ts_us: int) -> str:
    """An event time, UTC, to the second."""
    if ts_us <= 0:
        return UNKNOWN
    return datetime.fromtimestamp(ts_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S")


def size(n_bytes: float) -> str:
    """An amount of memory."""
    for unit in ("B", "KiB", "MiB"):
        if n_bytes < 1024:
            return f"{n_bytes:,.0f} {unit}"
        n_bytes /= 1024
    return f"{n_bytes:,.1f} GiB"
