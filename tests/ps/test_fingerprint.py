"""The fingerprint: the same for the same code, another for any other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from ps.fingerprint import code_fingerprint, describe, sources_hash

ROOT = Path(__file__).resolve().parents[2]


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_the_same_code_has_the_same_fingerprint_in_any_process() -> None:
    code = "from ps.fingerprint import code_fingerprint; print(code_fingerprint())"
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    version, python, _ = code_fingerprint().split(" ")
    assert told.stdout.strip() == f"{version} {python} {sources_hash(ROOT)}"


def test_any_change_of_the_sources_changes_the_hash(tmp_path: Path) -> None:
    files = {"ps/a.py": "x = 1\n", "ps/deep/b.py": "", "worker/c.py": "y = 2\n"}
    changes: dict[str, dict[str, str]] = {
        "as it is": files,
        "a byte": {**files, "ps/a.py": "x = 2\n"},
        "a file more": {**files, "serving/d.py": ""},
        "a file less": {name: text for name, text in files.items() if name != "ps/deep/b.py"},
        "a name": {"ps/z.py": "x = 1\n", "ps/deep/b.py": "", "worker/c.py": "y = 2\n"},
        "a border": {**files, "ps/a.py": "x = 1", "ps/deep/b.py": "\n"},
    }
    hashes = {what: sources_hash(tree(tmp_path / what, made)) for what, made in changes.items()}
    assert len(set(hashes.values())) == len(changes)
    assert sources_hash(tree(tmp_path / "again", files)) == hashes["as it is"]


def test_what_is_no_source_does_not_count(tmp_path: Path) -> None:
    root = tree(tmp_path, {"ps/a.py": "x = 1\n"})
    before = sources_hash(root)
    tree(root, {"ps/notes.txt": "", "ps/__pycache__/a.pyc": "", "tests/t.py": ""})
    assert sources_hash(root) == before


def test_people_can_read_it() -> None:
    words = describe(code_fingerprint())
    assert f"on Python {sys.version_info.major}.{sys.version_info.minor}, sources " in words
    assert words.startswith("trilith ")
