"""The ps-admin command. Its modules import what is heavy only when a command needs it."""

from ps.admin.cli.app import main

__all__ = ["main"]
