"""The public surface: complete, documented, and light to import."""

import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import reincarnate
from reincarnate.envs import FAMILIES
from reincarnate.methods import METHODS
from reincarnate.students import STUDENTS
from reincarnate.teachers import SCHEMES

ROOT = Path(__file__).parents[1]
MODULES = [m.name for m in pkgutil.walk_packages(reincarnate.__path__, "reincarnate.")]


def test_exported_names_exist_and_are_documented():
    for name in reincarnate.__all__:
        value = getattr(reincarnate, name)
        if callable(value):
            assert value.__doc__ and not value.__doc__.startswith(f"{name}("), name


def test_every_method_and_student_that_ships_is_offered_by_its_class():
    offered = {
        getattr(reincarnate, name) for name in reincarnate.__all__ if isinstance(getattr(reincarnate, name), type)
    }
    assert {METHODS[name] for name in METHODS.ours} | {STUDENTS[name] for name in STUDENTS.ours} <= offered


def test_every_module_and_everything_public_in_it_has_a_docstring():
    for name in MODULES:
        module = importlib.import_module(name)
        assert module.__doc__, name
        for attribute, value in vars(module).items():
            mine = getattr(value, "__module__", None) == name and not attribute.startswith("_")
            if mine and (inspect.isclass(value) or inspect.isfunction(value)):
                assert value.__doc__, f"{name}.{attribute}"


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_a_short_file_with_a_page_and_a_line_in_the_readme(method):
    source = Path(inspect.getfile(METHODS[method]))
    assert source.name == f"{method}.py" and len(source.read_text().splitlines()) <= 60
    page = (ROOT / "docs" / "methods" / f"{method}.md").read_text()
    assert "paper" in page and f"reincarnate train {method}" in page
    assert f"`{method}`" in (ROOT / "README.md").read_text()


def test_the_readme_names_every_student_teacher_and_family_of_tasks():
    readme = (ROOT / "README.md").read_text()
    assert all(f"`{name}`" in readme for name in STUDENTS)
    assert all(f"`{scheme}:" in readme for scheme in SCHEMES)
    assert all(prefix in readme for prefix in FAMILIES)


def test_the_version_on_the_command_line_is_the_packages():
    done = subprocess.run([sys.executable, "-m", "reincarnate", "--version"], capture_output=True, text=True)
    assert done.stdout.strip() == reincarnate.__version__


def test_the_ten_lines_of_python_in_the_readme_run(tmp_path, monkeypatch, capsys):
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    small = code.replace("store:priors", f"store:{ROOT}/priors").replace("20_000", "300").replace("6_000", "20")
    small = small.replace("env_steps=300", "env_steps=300, data_env_steps=300, reference_episodes=2, evaluations=1")
    small = small.replace("env_steps=300", "env_steps=300, eval_episodes=2, final_episodes=2", 1)
    monkeypatch.chdir(tmp_path)
    exec(compile(small, "README.md", "exec"), {})
    assert "over 20 episodes" in capsys.readouterr().out
