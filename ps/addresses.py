"""Addresses as operators write them: host:port, and whether other machines reach it."""

from __future__ import annotations

import ipaddress
import re

_HOST_PORT = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^\s/:\[\]]+):(\d{1,5})")


def is_host_port(text: str) -> bool:
    """Whether a text is host:port ([address]:port for IPv6), and not the URL or path of a store."""
    found = _HOST_PORT.fullmatch(text)
    return found is not None and int(found[2]) <= 65_535


def host_of(address: str) -> str:
    """The host of host:port, without brackets."""
    return address.rpartition(":")[0].strip("[]")


def joined(host: str, port: int) -> str:
    """host:port, in brackets where the host is an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a host's address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
