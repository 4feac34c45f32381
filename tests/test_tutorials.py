"""The tutorials: every command in them parses; every page is in the site; each can be followed to its end."""

import re
import shlex
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
import yaml
from torch import nn

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


# ---- followed to the end, with small numbers ------------------------------------------------------------

FEW = {"--reference-episodes": "2", "--eval-episodes": "2", "--evaluations": "1", "--final-episodes": "2"}
SMALL = {
    **dict.fromkeys(("1e5", "5e4", "3e4", "2e4", "20000", "6000"), "150"),
    **dict.fromkeys(("100", "50", "10"), "2"),
}
FETCHED = "hf:cleanrl/CartPole-v1-dqn-seed1"  # what is not in reach of a test is there as a file
LARGE = ("dopamine:checkpoint",)  # an Atari agent of Dopamine's is too large for a test


def small(args: list[str]) -> list[str]:
    """The same command with little to do. What a tutorial names as yours is in the folder."""
    said = [SMALL.get(item, item).replace(FETCHED, "cleanrl:dqn.cleanrl_model") for item in args]
    if said[0] == "train":
        said += [part for pair in FEW.items() for part in pair]
        method = said[1]
        said += ["--data-env-steps", "150"] if method in ("qdagger", "dagger") else []
        said += ["--offline-updates", "20"] if method in ("qdagger", "pretrain") else []
    return said + (["--episodes", "2"] if said[0] in ("inspect", "advise") and "--episodes" not in said else [])


def lander(folder: Path) -> None:
    from stable_baselines3 import PPO

    PPO("MlpPolicy", "LunarLander-v3", n_steps=8, batch_size=8, device="cpu").save(folder / "lander.zip")


def log(folder: Path) -> None:
    import h5py

    env, rng, rows = gymnasium.make("CartPole-v1"), np.random.default_rng(0), []
    for seed in range(12):
        obs, _ = env.reset(seed=seed)
        over = False
        while not over:
            action = int(rng.integers(2))
            following, reward, over, _, _ = env.step(action)
            rows.append((obs, action, reward, over))
            obs = following
    seen, actions, rewards, ends = (np.array(column) for column in zip(*rows, strict=True))
    with h5py.File(folder / "log.h5", "w") as file:
        names = {"observations": seen, "actions": actions, "rewards": rewards, "terminals": ends}
        for name, column in {**names, "episode_terminals": ends, "discrete_action": True, "version": "1.0"}.items():
            file[name] = column


def breakout(folder: Path) -> None:
    network = nn.Sequential(nn.Conv2d(4, 4, 8, 8), nn.ReLU(), nn.Flatten(), nn.Linear(400, 4))
    screens = torch.zeros(1, 4, 84, 84)
    axes = {"obs": {0: "n"}, "logits": {0: "n"}}
    names = {"input_names": ["obs"], "output_names": ["logits"], "dynamic_axes": axes}
    torch.onnx.export(network, (screens,), str(folder / "breakout.onnx"), dynamo=False, **names)
    (folder / "my_agent.py").write_text("import torch\ndef policy(obs):\n    return torch.zeros(len(obs), 4)\n")


def cleanrl(folder: Path) -> None:
    layers = {"network.0": (120, 4), "network.2": (84, 120), "network.4": (2, 84)}
    weights = {f"{name}.weight": torch.randn(shape) for name, shape in layers.items()}
    torch.save(weights | {f"{n}.bias": torch.zeros(s[0]) for n, s in layers.items()}, folder / "dqn.cleanrl_model")


YOURS = {"sb3": lander, "log": log, "atari": breakout, "cleanrl": cleanrl}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:You are using the legacy TorchScript-based ONNX export")
@pytest.mark.filterwarnings("ignore:The feature will be removed")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_tutorial_can_be_followed_from_its_first_command_to_its_last(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    YOURS.get(page.stem, lambda folder: None)(tmp_path)
    for _, *args in commands_of(page):
        if not any(large in args for large in LARGE):
            main(small(args))
    if page.stem == "smaller":
        assert (tmp_path / "small.onnx").exists()
