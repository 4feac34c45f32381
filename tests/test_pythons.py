"""Pythons for which no PyTorch is at hand: their compilers and their standard libraries are asked, and what is declared."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OTHERS = ("3.12", "3.13", "3.14")


def interpreter(version: str) -> str | None:
    """One that runs: pyenv's, or one on the path (which may be a shim of pyenv's that does not)."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for found in (*sorted(map(str, pyenv.glob(f"{version}.*/bin/python"))), f"python{version}"):
        try:
            if subprocess.run([found, "--version"], capture_output=True, check=False).returncode == 0:
                return found
        except OSError:
            continue
    return None


@pytest.mark.slow  # `.ci/pythons` does the same
@pytest.mark.parametrize("version", OTHERS)
def test_all_sources_compile_and_the_standard_library_has_what_they_import(version):
    python = interpreter(version)
    if python is None:
        pytest.skip(f"there is no Python {version} here")
    done = subprocess.run([python, ".ci/compiles.py", "src"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith(f"Python {version}.")


def test_a_file_that_does_not_compile_or_imports_what_is_not_there_is_told(tmp_path):
    (tmp_path / "a.py").write_text("from collections import NoSuchThing\nimport os.path\n")
    (tmp_path / "b.py").write_text("def f(:\n")
    command = [sys.executable, str(ROOT / ".ci" / "compiles.py"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "a.py: collections.NoSuchThing" in done.stdout and "b.py" in done.stdout
    assert "os.path" not in done.stdout


def test_the_versions_that_are_declared_are_those_that_are_looked_at():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = [line.rpartition(" ")[2] for line in project["classifiers"] if re.search(r":: 3\.\d+$", line)]
    assert declared == ["3.11", *OTHERS] and project["requires-python"] == ">=3.11"
    assert all(version in (ROOT / ".ci" / "pythons").read_text() for version in declared)
