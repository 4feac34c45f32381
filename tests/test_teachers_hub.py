"""Teachers on the Hugging Face Hub: without any network, from a cache made here in the Hub's own layout."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
import torch
from huggingface_hub import constants
from zips import write_zip

from reincarnate.agents.agent import save_agent
from reincarnate.envs import spec as spec_of
from reincarnate.errors import UserError
from reincarnate.students import DQN
from reincarnate.teachers import open_teacher
from reincarnate.teachers.hub import choose, companions, inside, open_address, read_address, recognises

FIXTURES = Path(__file__).parent / "fixtures"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
CLEANRL = FIXTURES / "cleanrl" / "dqn_atari_jax.cleanrl_model"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch) -> Path:
    """The Hub's cache in a folder of its own; offline."""
    folder = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return folder


def snapshot(cache: Path, repo: str, commit: str = COMMIT, revision: str = "main") -> Path:
    """The folder of a repository at a commit."""
    folder = cache / f"models--{repo.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True, exist_ok=True)
    (folder / "refs" / revision).write_text(commit)
    (folder / "snapshots" / commit).mkdir(parents=True)
    return folder / "snapshots" / commit


def link(source: Path, target: Path) -> None:
    """As the cache does: a blob under its hash, and a link to it by name."""
    blobs = next(above for above in target.parents if above.name == "snapshots").parent / "blobs"
    blobs.mkdir(exist_ok=True)
    blob = blobs / f"{len(list(blobs.iterdir())):040d}"
    shutil.copy(source, blob)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(blob)


def test_a_fetched_agent_is_opened_offline_and_its_card_is_pinned(cache: Path):
    folder = snapshot(cache, "cleanrl/BreakoutNoFrameskip-v4-dqn_atari_jax-seed1")
    link(CLEANRL, folder / "dqn_atari_jax.cleanrl_model")
    link(Path(__file__), folder / "dqn_atari_jax.py")
    card = open_teacher("hf:cleanrl/BreakoutNoFrameskip-v4-dqn_atari_jax-seed1").card
    repo = "cleanrl/BreakoutNoFrameskip-v4-dqn_atari_jax-seed1"
    assert card.uri == f"hf:{repo}@{COMMIT}:dqn_atari_jax.cleanrl_model"
    assert (card.env, card.format) == ("BreakoutNoFrameskip-v4", "CleanRL flax model")
    assert open_teacher(card.uri).card == card


def test_the_environment_variables_of_the_hub_are_honoured(tmp_path: Path):
    folder = snapshot(tmp_path / "hub", "org/agent")
    link(CLEANRL, folder / "a.cleanrl_model")
    code = "from reincarnate.teachers import open_teacher; print(open_teacher('hf:org/agent').card.uri)"
    environment = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    environment.pop("HF_HUB_CACHE", None)
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == f"hf:org/agent@{COMMIT}:a.cleanrl_model", done.stderr


def test_statistics_beside_an_agent_come_with_it(cache: Path, tmp_path: Path):
    folder = snapshot(cache, "sb3/ppo-Task-v0")
    write_zip(tmp_path / "a.zip")
    link(tmp_path / "a.zip", folder / "ppo-Task-v0.zip")
    link(tmp_path / "a.zip", folder / "train_eval_metrics.zip")
    (tmp_path / "broken.pkl").write_bytes(b"nothing")
    assert open_teacher("hf:sb3/ppo-Task-v0").card.env == "Task-v0"
    link(tmp_path / "broken.pkl", folder / "vec_normalize.pkl")
    with pytest.raises(UserError, match="vec_normalize"):
        open_teacher("hf:sb3/ppo-Task-v0")


@pytest.mark.parametrize("inner", ["", "deep/agent/"])
def test_an_agent_of_ours_is_a_folder(inner: str, cache: Path, tmp_path: Path):
    student = DQN(hidden=(8,)).newborn(spec_of("CartPole-v1"), seed=0)
    made = save_agent(tmp_path / "agent", student, {}, "card")
    folder = snapshot(cache, "org/dqn")
    for name in ("agent.json", "weights.safetensors", "card.md"):
        link(made.path / name, folder / inner / name)
    whole = open_teacher("hf:org/dqn")
    assert whole.card.sha256 == made.sha256 and whole.card.uri == f"hf:org/dqn@{COMMIT}:{inner}agent.json"
    if inner:
        assert open_teacher(f"hf:org/dqn:{inner}").card.sha256 == made.sha256


def test_a_checkpoint_of_tensorflow_comes_with_its_data(cache: Path):
    folder = snapshot(cache, "org/dqn")
    for name in ("tf_ckpt-7", "tf_ckpt-199"):
        for path in (FIXTURES / "dopamine_agents" / "tensorflow").glob(f"{name}.*"):
            link(path, folder / path.name)
    assert open_teacher("hf:org/dqn").card.uri.endswith(":tf_ckpt-199.index")
    assert open_teacher("hf:org/dqn:tf_ckpt-7.index").card.algorithm == "DQN"


def test_revisions_and_commits_name_what_was_fetched(cache: Path):
    link(CLEANRL, snapshot(cache, "org/agent", "a" * 40, "v1") / "old.cleanrl_model")
    link(CLEANRL, snapshot(cache, "org/agent") / "new.cleanrl_model")
    assert open_teacher("hf:org/agent@v1").card.uri == f"hf:org/agent@{'a' * 40}:old.cleanrl_model"
    assert open_teacher(f"hf:org/agent@{'a' * 40}").card.uri.endswith(":old.cleanrl_model")
    assert open_teacher("hf:org/agent").card.uri.endswith(":new.cleanrl_model")


def test_what_follows_the_file_is_for_its_kind(cache: Path):
    name = "td3_continuous_action_jax.cleanrl_model"
    link(FIXTURES / "cleanrl" / name, snapshot(cache, "org/td3") / name)
    card = open_teacher(f"hf:org/td3:{name}?tells=means&low=-2&high=2").card
    assert card.bounds == ((-2.0,) * 3, (2.0,) * 3) and card.uri.endswith(f":{name}?tells=means&low=-2&high=2")


# ---- with the Hub answering -----------------------------------------------------------------------------


@pytest.fixture
def hub(tmp_path: Path, monkeypatch):
    """A Hub that answers from a folder, and remembers what was asked of it."""
    asked: list[str] = []
    folder = tmp_path / "there"
    folder.mkdir()

    def model_info(self, repo, revision=None):
        files = [SimpleNamespace(rfilename=str(path.relative_to(folder))) for path in sorted(folder.rglob("*.*"))]
        return SimpleNamespace(sha=COMMIT, siblings=[*files, SimpleNamespace(rfilename="../../outside.zip")])

    def download(repo, name, revision):
        assert revision == COMMIT
        asked.append(name)
        return str(folder / name)

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    return SimpleNamespace(folder=folder, asked=asked)


def test_only_the_files_that_are_needed_are_fetched(hub):
    write_zip(hub.folder / "dqn-CartPole-v1.zip")
    for name in ("replay.mp4", "README.md", "train_eval_metrics.zip", "config.yml", "dqn.py"):
        (hub.folder / name).write_text("not wanted")
    assert open_address("sb3/dqn-CartPole-v1").card.env == "CartPole-v1"
    assert hub.asked == ["dqn-CartPole-v1.zip", "config.yml"]  # whose `normalize` says whether statistics are missing


def test_a_hub_that_cannot_be_reached_is_replaced_by_the_cache(hub, tmp_path: Path, monkeypatch):
    def unreachable(self, repo, revision=None):
        raise ConnectionError("no route\nto the host")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", unreachable)
    with pytest.raises(
        UserError,
        match=r"hf:org/agent: the Hub was not reached \(ConnectionError: no route to the host\), .* fetched before",
    ):
        open_address("org/agent")
    link(CLEANRL, snapshot(tmp_path / "cache", "org/agent") / "a.cleanrl_model")
    assert open_address("org/agent").card.warnings == ("the Hub was not reached: taken from what was fetched before",)


def test_a_repository_that_is_not_there_is_one_line(hub, tmp_path: Path, monkeypatch):
    class RepositoryNotFoundError(Exception):
        pass

    def missing(self, repo, revision=None):
        raise RepositoryNotFoundError("404 Client Error.\n\nRepository Not Found")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", missing)
    link(CLEANRL, snapshot(tmp_path / "cache", "org/agent") / "a.cleanrl_model")  # gone since
    with pytest.raises(UserError, match=r"RepositoryNotFoundError: 404 Client Error\. Repository Not Found"):
        open_address("org/agent")


def test_a_download_that_fails_is_one_line(hub, monkeypatch):
    (hub.folder / "a.cleanrl_model").write_text("")

    def full(repo, name, revision):
        raise OSError("no space left\non device")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", full)
    with pytest.raises(UserError, match=r"hf:org/agent: a\.cleanrl_model: OSError: no space left on device"):
        open_address("org/agent")


# ---- addresses and choices ------------------------------------------------------------------------------


def test_the_parts_of_an_address():
    assert read_address("org/name") == ("org/name", "", "", "")
    assert read_address("org/name@refs/pr/1:a/b.zip?x=1") == ("org/name", "refs/pr/1", "a/b.zip", "?x=1")


@pytest.mark.parametrize("rest", ["name", "org/name/more", "org/na me", "org/name@", "org/name:", "https://x/y", ""])
def test_what_is_no_address_is_refused(rest: str):
    with pytest.raises(UserError, match="write hf:ORG/NAME"):
        read_address(rest)


@pytest.mark.parametrize(
    "file", ["../x.zip", "a/../../x.zip", "/etc/passwd", "a/..", "..\\x.zip", "C:x.zip", "~/x.zip", "a\x00.zip"]
)
def test_a_file_outside_the_repository_is_refused(file: str):
    with pytest.raises(UserError, match="does not lie within"):
        read_address(f"org/name:{file}")
    assert not inside(file)


@pytest.mark.parametrize("revision", ["../../x", "/x"])
def test_a_revision_outside_the_cache_is_refused(revision: str):
    with pytest.raises(UserError, match="does not lie within"):
        read_address(f"org/name@{revision}")


def test_code_in_a_repository_is_never_run():
    with pytest.raises(UserError, match="code from a repository is never run"):
        open_address("org/name:agent.py")


def test_a_reference_that_points_outside_the_cache_is_not_followed(cache: Path, tmp_path: Path):
    folder = snapshot(cache, "org/agent")
    link(CLEANRL, folder / "a.cleanrl_model")
    (folder.parents[1] / "refs" / "main").write_text(f"../../../{tmp_path.name}")
    with pytest.raises(UserError, match="nothing of it was fetched before"):
        open_address("org/agent")


@pytest.mark.parametrize(
    ("names", "repo", "found"),
    [
        (["README.md", "a.zip"], "org/x", "a.zip"),
        (
            ["ppo-CartPole-v1.zip", "best.zip", "ppo-CartPole-v1/policy.pth"],
            "sb3/ppo-CartPole-v1",
            "ppo-CartPole-v1.zip",
        ),
        (["agent/agent.json", "agent/weights.safetensors"], "org/x", "agent/agent.json"),
        (["ckpt.3", "ckpt.20", "ckpt.100"], "org/x", "ckpt.100"),
        (["checkpoints/tf_ckpt-1.index", "checkpoints/tf_ckpt-9.index"], "org/x", "checkpoints/tf_ckpt-9.index"),
        (["model.onnx", "model.onnx.data"], "org/x", "model.onnx"),
    ],
)
def test_the_agent_among_the_files_is_found(names: list[str], repo: str, found: str):
    assert choose(names, repo) == found


def test_where_several_could_be_meant_they_are_named():
    with pytest.raises(UserError, match=r"several agents; name one, hf:org/x:FILE, of a\.zip, b\.onnx"):
        choose(["b.onnx", "a.zip", "README.md"], "org/x")


@pytest.mark.parametrize("names", [["README.md", "model.bin"], []])
def test_where_there_is_none_what_is_there_is_named(names: list[str]):
    with pytest.raises(
        UserError, match=r"no file of a kind that can be read; it holds (README\.md, model\.bin|nothing)"
    ):
        choose(names, "org/x")


def test_a_file_that_is_not_there_is_one_line_naming_those_that_are():
    with pytest.raises(UserError, match=r"hf:org/x:b\.zip: there is no b\.zip; the repository holds a\.zip"):
        companions("b.zip", ["a.zip"], "hf:org/x:b.zip")


def test_nothing_fetched_before_is_one_line(cache: Path):
    with pytest.raises(UserError, match="nothing of it was fetched before, and HF_HUB_OFFLINE"):
        open_address("org/agent")
    assert not recognises(cache)


def test_without_the_library_a_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match=r'pip install "reincarnate\[hub\]"'):
        open_address("org/agent")


def test_a_damaged_agent_is_one_line(cache: Path, tmp_path: Path):
    (tmp_path / "a").write_bytes(b"PK\x03\x04 and nothing more")
    link(tmp_path / "a", snapshot(cache, "org/agent") / "a.cleanrl_model")
    with pytest.raises(UserError, match="torch's zip format") as caught:
        open_address("org/agent")
    assert "\n" not in str(caught.value)


def test_opening_leaves_the_global_generator_alone(cache: Path):
    link(CLEANRL, snapshot(cache, "org/agent") / "a.cleanrl_model")
    before = torch.get_rng_state()
    open_address("org/agent")
    assert torch.equal(before, torch.get_rng_state())
