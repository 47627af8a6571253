"""The trilith command. Its modules import what is heavy only when a command runs."""

from cluster.cli.app import main

__all__ = ["main"]
