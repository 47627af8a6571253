# ruff: noqa: INP001, T201  # a command, not a package
"""Compile proto/ into the Python stubs that are committed beside their users.

    python scripts/generate_stubs.py            write them
    python scripts/generate_stubs.py --check    fail, naming the files, where the committed ones differ

Run it with the versions that pyproject.toml pins in its dev extra: other versions write other bytes.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTO = ROOT / "proto"
STUB_SUFFIXES = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "_pb2_grpc.pyi")
GENERATORS = ("grpcio-tools", "mypy-protobuf")

# The generated code refuses to be imported under older runtimes than these lines state.
STATED_FLOORS = {
    "protobuf": re.compile(r"^# Protobuf Python Version: ([\d.]+)$", re.MULTILINE),
    "grpcio": re.compile(r"^GRPC_GENERATED_VERSION = '([\d.]+)'$", re.MULTILINE),
}


def compile_stubs(out: Path) -> dict[str, bytes]:
    """Compile every .proto below proto/ into `out`; the generated files by path below `out`."""
    sources = sorted(str(path.relative_to(PROTO)) for path in PROTO.rglob("*.proto"))
    flags = [f"--{plugin}_out={out}" for plugin in ("python", "grpc_python")]
    flags += [f"--{plugin}_out=quiet:{out}" for plugin in ("mypy", "mypy_grpc")]
    command = [sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={PROTO}"]
    # protoc finds the mypy plugins on PATH; they lie beside the interpreter that runs this.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    subprocess.run(  # noqa: S603  # our own arguments
        [*command, *flags, *sources],
        check=True,
        timeout=120,
        env={**os.environ, "PATH": path},
    )
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*_pb2*.py*")}


def differences(generated: dict[str, bytes]) -> list[str]:
    """One line for every committed stub that differs, is absent, or has lost its source."""
    found = []
    for name, content in sorted(generated.items()):
        path = ROOT / name
        if not path.exists():
            found.append(f"{name}: absent")
        elif path.read_bytes() != content:
            found.append(f"{name}: differs from what {PROTO.name}/ compiles to")
    for folder in {Path(name).parent for name in generated}:
        for path in sorted((ROOT / folder).iterdir()):
            name = str(path.relative_to(ROOT))
            if name.endswith(STUB_SUFFIXES) and name not in generated:
                found.append(f"{name}: has no source in {PROTO.name}/ any more")
    return found


def wrong_pins(generated: dict[str, bytes]) -> list[str]:
    """One line for every pin in pyproject.toml that the generated code cannot live with."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = []
    dev = project["optional-dependencies"]["dev"]
    for name in GENERATORS:
        wanted = f"{name}=={version(name)}"
        if wanted not in dev:
            found.append(
                f'pyproject.toml: the dev extra must pin "{wanted}", which wrote the stubs'
            )
    text = b"\n".join(generated.values()).decode()
    for name, pattern in STATED_FLOORS.items():
        floor = max(pattern.findall(text), key=_numbers)
        stated = re.search(rf"{name}\s*>=\s*([\d.]+)", "\n".join(project["dependencies"]))
        if stated is None or _numbers(stated[1]) < _numbers(floor):
            found.append(f'pyproject.toml: the stubs need "{name}>={floor}" at run time')
    return found


def _numbers(dotted: str) -> tuple[int, ...]:
    return tuple(int(part) for part in dotted.split("."))


def main() -> int:
    """Write or check the stubs; 1 where a check fails."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="compare only, write nothing")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        generated = compile_stubs(Path(folder))
    if not arguments.check:
        for name, content in sorted(generated.items()):
            (ROOT / name).write_bytes(content)
            print(f"wrote {name}")
        return 0
    problems = [*differences(generated), *wrong_pins(generated)]
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        print("run `make stubs` and commit what it writes", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
