"""Running ps-admin: in this process, or in one of its own that says what it imported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typer.testing import CliRunner

from ps.admin.cli.app import app

if TYPE_CHECKING:
    from typer.testing import Result

DEADLINE_S = 60.0

_HEAVY = ("numba", "numpy", "pyarrow", "ray", "fsspec", "pandas")
# Prints on standard error which of them were imported.
COUNT_IMPORTS = f"""
import sys
from ps.admin.cli import main
try:
    main()
finally:
    print([name for name in {_HEAVY} if name in sys.modules], file=sys.stderr)
"""


def run(*arguments: object, says: str | None = None, **env: str) -> Result:
    """One command. says: what is typed; env: variables set for it."""
    return CliRunner(env=env).invoke(app, [*map(str, arguments)], input=says)
