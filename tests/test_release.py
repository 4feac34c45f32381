"""What goes with a release: files that name one version, and a distribution that holds what it must."""

import re
from pathlib import Path

import yaml

import reincarnate

ROOT = Path(__file__).parents[1]


def test_the_version_is_semantic_and_the_same_everywhere():
    version = reincarnate.__version__
    assert re.fullmatch(r"\d+\.\d+\.\d+([-+.]\w+)*", version)
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == version
    assert f'version = "{version}"' in (ROOT / "pyproject.toml").read_text()
    assert f"## {version} " in (ROOT / "CHANGELOG.md").read_text()


def test_every_logger_with_a_package_has_an_extra_of_its_name():
    from reincarnate.run.loggers import PACKAGES

    extras = (ROOT / "pyproject.toml").read_text()
    assert all(re.search(rf"^{name} = \[", extras, re.MULTILINE) for name in PACKAGES)


def test_the_commands_of_the_cluster_examples_are_ours():
    script = (ROOT / "examples" / "cluster" / "study.slurm").read_text()
    assert "reincarnate study run" in script and "--workers" in script
    compile((ROOT / "examples" / "cluster" / "ray_job.py").read_text(), "ray_job.py", "exec")
