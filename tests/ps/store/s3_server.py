"""An S3 server of this machine's own, for as long as a context lasts."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

BUCKET = "trilith"


@contextmanager
def s3_server() -> Iterator[dict[str, str]]:
    """Starts moto's server on a free port of the loopback; yields the environment clients need."""
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "NO_COLOR": "1"}
    with subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        try:
            assert server.stderr is not None
            said = ""
            while (address := re.search(r"Running on (http://127\.0\.0\.1:\d+)", said)) is None:
                line = server.stderr.readline()
                if not line:
                    raise RuntimeError(f"moto's server ended before it listened:\n{said}")
                said += line
            # It says a line per request, which would fill the pipe.
            threading.Thread(target=server.stderr.read, daemon=True).start()
            yield {
                "AWS_ENDPOINT_URL": address[1],
                "AWS_ACCESS_KEY_ID": "test",
                "AWS_SECRET_ACCESS_KEY": "test",
                "AWS_DEFAULT_REGION": "us-east-1",
            }
        finally:
            server.kill()
