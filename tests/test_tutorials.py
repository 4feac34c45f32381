"""The tutorials: every command in them parses; every page is in the site; the quick one runs."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from reincarnate.cli import main
from reincarnate.cli.commands import COMMANDS, command_of
from reincarnate.cli.parsing import flags_of
from reincarnate.cli.task_flags import FLAGS, with_task

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted((DOCS / "tutorials").glob("*.md"))
VERBS = {"study": ("run", "report"), "lineage": ("show", "verify", "diff", "index")}


def commands_of(page: Path) -> list[list[str]]:
    blocks = re.findall(r"```sh\n(.*?)```", page.read_text(), re.DOTALL)
    return [shlex.split(line, comments=True) for block in blocks for line in block.splitlines() if line.strip()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_of_a_tutorial_parses(page, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    commands = commands_of(page)
    assert len(commands) >= 3
    known: dict[tuple[str, ...], list[str]] = {}
    for program, name, *args in commands:
        assert program == "reincarnate" and name in COMMANDS
        if name == "train" and "--weights" not in args:  # weights would have to be there
            main(["train", *args, "--print-config"])
            continue
        words = args[:1] if name in VERBS or name == "train" else []
        if (name, *words) not in known:
            known[name, *words] = flags_of(command_of(name), words)
        asked = [item for item in with_task(args) if item.startswith("--")]
        assert {flag.partition("=")[0] for flag in asked} - {"--student"} <= set(known[name, *words]) | set(FLAGS), args
    assert not list(tmp_path.iterdir())


def test_every_page_of_the_site_is_there_and_every_tutorial_is_in_it():
    config = yaml.safe_load(re.sub(r"!!python\S+", "", (DOCS.parent / "mkdocs.yml").read_text()))
    named = re.findall(r"[\w/-]+\.md", str(config["nav"]))
    assert all((DOCS / name).exists() for name in named)
    assert {f"tutorials/{page.name}" for page in PAGES} <= set(named)


@pytest.mark.slow
def test_the_tutorial_about_a_smaller_agent_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _, *args in commands_of(DOCS / "tutorials" / "smaller.md"):
        small = ["100" if item in ("6000", "2e4") else "2" if item in ("10", "50") else item for item in args]
        if small[0] == "train":
            small += [
                "--data-env-steps",
                "200",
                "--reference-episodes",
                "2",
                "--eval-episodes",
                "2",
                "--evaluations",
                "1",
            ]
        main(small)
    assert (tmp_path / "small.onnx").exists()
