"""What is pushed comes back with the same hash, or not at all; the card tells what the Hub and people read."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
import yaml
from huggingface_hub import ModelCard

from reincarnate import DQN, Kickstart, Run, Scratch, execute
from reincarnate.agents.agent import open_agent
from reincarnate.cli import main
from reincarnate.errors import UserError
from reincarnate.sharing import hub
from reincarnate.store.lineage import known_places, lineage_of
from reincarnate.teachers import open_teacher

SMALL = DQN(hidden=(8,), warmup=20, batch_size=8)


def train(out: str, method, **changes):
    settings = {"env_steps": 120, "evaluations": 2, "eval_episodes": 2, "final_episodes": 3, "reference_episodes": 3}
    return execute(Run("CartPole-v1", method, SMALL, **settings, **changes), Path(out))


@pytest.fixture(scope="module")
def grown(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        train("a", Scratch(), keep="all")
        main(["push", "a", "hf:me/first", "--local", "pushed"])
    return folder


@pytest.fixture(autouse=True)
def here(grown, tmp_path, monkeypatch):
    """A copy that a test may spoil."""
    shutil.copytree(grown, tmp_path / "hub")
    monkeypatch.chdir(tmp_path / "hub")


def card(folder: str = "pushed") -> ModelCard:
    return ModelCard.load(Path(folder) / "README.md")


# ---- the folder ----------------------------------------------------------------------------------------


def test_the_folder_holds_the_agent_its_card_and_its_learning_curve():
    names = {str(path.relative_to("pushed")) for path in Path("pushed").rglob("*") if path.is_file()}
    assert {"README.md", "learning_curve.png", "agent.json", "weights.safetensors", "card.md"} < names
    assert "optimizer.safetensors" in names and any(name.endswith("manifest.json") for name in names)
    assert Path("pushed/learning_curve.png").read_bytes()[:4] == b"\x89PNG"


def test_the_hub_can_read_the_card():
    data, result = card().data, json.loads(Path("a/result.json").read_text())
    assert data.library_name == "reincarnate" and {"reinforcement-learning", "CartPole-v1", "scratch"} <= set(data.tags)
    (score,) = data.eval_results
    assert score.task_type == "reinforcement-learning" and score.dataset_name == "CartPole-v1"
    mean, _, deviation = score.metric_value.partition(" +/- ")
    assert mean == f"{result['score']:.2f}" and float(deviation) >= 0 and score.metric_type == "mean_reward"


def test_a_person_reads_how_to_use_it_make_it_again_and_what_it_cost():
    text = card().text
    assert "reincarnate pull hf:me/first" in text and "reincarnate train scratch --env CartPole-v1" in text
    assert open_agent(Path("a")).sha256 in text and "| env steps | 120 | 120 |" in text
    assert str(Path.cwd()) not in text


def test_what_came_from_the_hub_becomes_the_base_model():
    main(["pull", "hf:me/first@abc123", "--local", "pushed", "--out", "pulled"])
    train("b", Kickstart(), teacher="store:pulled")
    main(["push", "b", "hf:me/second", "--local", "again"])
    assert card("again").data.base_model == ["me/first"]
    assert "hf:me/first@abc123" in card("again").text
    (parent,) = lineage_of("b", known_places(Path(".reincarnate"), ())).ancestors()
    assert parent.address == "hf:me/first@abc123" and parent.sha256 == open_agent(Path("a")).sha256


def test_an_agent_without_its_run_goes_without_curve_and_deviation():
    main(["push", "pushed", "hf:me/bare", "--local", "bare"])
    assert not Path("bare/learning_curve.png").exists() and "learning_curve" not in card("bare").text
    assert "+/-" not in card("bare").data.eval_results[0].metric_value


def test_names_that_yaml_could_mistake_stay_names():
    value = json.loads(Path("pushed/agent.json").read_text())
    value["about"]["label"] = "on: yes"
    Path("pushed/agent.json").write_text(json.dumps(value))
    main(["push", "pushed", "hf:me/odd", "--local", "odd"])
    front = yaml.safe_load(Path("odd/README.md").read_text().split("---\n")[1])
    assert front["tags"][2] == "on: yes"


# ---- back ----------------------------------------------------------------------------------------------


def test_what_is_pulled_has_the_same_hash_and_teaches(capsys):
    main(["pull", "--local", "pushed", "--out", "pulled"])
    before, after = open_agent(Path("a")), open_agent(Path("pulled"))
    assert after.sha256 == before.sha256 and after.about == before.about and after.sha256 in capsys.readouterr().out
    data = after.data()
    assert data is not None and data.id == before.kept["data"] and after.optimizer_state()
    assert open_teacher("store:pulled").card.sha256 == before.sha256
    main(["lineage", "verify", "pulled"])


def test_only_the_agents_own_files_are_taken():
    Path("pushed/evil.py").write_text("print('no')")
    Path("pushed/config.json").write_text("{}")
    main(["pull", "--local", "pushed", "--out", "pulled"])
    assert {path.name for path in Path("pulled").iterdir()} == {
        "agent.json", "weights.safetensors", "card.md", "optimizer.safetensors", "data", "origin.json",
    }  # fmt: skip


def spoil(name: str, change) -> None:
    path = next(Path("pushed").glob(name))
    path.write_bytes(change(path.read_bytes()))


@pytest.mark.parametrize("name, change, words", [
    ("weights.safetensors", lambda b: b[:-1] + bytes([b[-1] ^ 1]), "is not what agent.json describes"),
    ("agent.json", lambda b: b.replace(b'"gamma": 0.99', b'"gamma": 0.5'), "agent.json has changed"),
    ("agent.json", lambda b: b[:200], "cannot be read"),
    ("agent.json", lambda b: b'{"kind": "agent", "sha256": "x"}', "has no field"),
    ("agent.json", lambda b: b"[]", "should hold an object"),
    ("data/*/action.npy", lambda b: b[:-1] + bytes([b[-1] ^ 1]), "has changed"),
    ("optimizer.safetensors", lambda b: b[:-1], "optimizer.safetensors is missing, or not what"),
])  # fmt: skip
def test_an_agent_that_was_tampered_with_is_refused_whole(name, change, words, capsys):
    spoil(name, change)
    with pytest.raises(SystemExit) as stop:
        main(["pull", "--local", "pushed", "--out", "pulled"])
    error = capsys.readouterr().err.strip()
    assert stop.value.code == 2 and words in error and len(error.splitlines()) == 1
    assert not Path("pulled").exists() and not list(Path().glob(".staging*"))


@pytest.mark.parametrize("args, words", [
    (["pull", "--out", "x"], "pull what?"),
    (["pull", "hf:x", "--out", "x"], "write hf:ORG/NAME"),
    (["pull", "me/first", "--out", "x"], "write hf:ORG/NAME"),
    (["pull", "--local", "nowhere", "--out", "x"], "nowhere holds no agent"),
    (["pull", "--local", "pushed", "--out", "a"], "a exists already"),
    (["push", "a", "hf:me/x@main", "--local", "x"], "names a revision"),
    (["push", "a", "hf:me/x", "--local", "pushed"], "pushed exists already"),
    (["push", "nowhere", "hf:me/x", "--local", "x"], "holds no agent"),
    (["push", "a", "hf:datasets/me/x", "--local", "x"], "is no model"),
])  # fmt: skip
def test_bad_input_is_one_line(args, words, capsys):
    with pytest.raises(SystemExit) as stop:
        main(args)
    error = capsys.readouterr().err.strip()
    assert stop.value.code == 2 and words in error and len(error.splitlines()) == 1 and not Path("x").exists()


# ---- over the network, with a Hub made of folders ------------------------------------------------------------


@pytest.fixture
def remote(tmp_path, monkeypatch):
    """huggingface_hub's own functions, on a folder; what is asked of it is checked against its signatures by hand."""
    root = tmp_path / "remote"

    class Api:
        def __init__(self, library_name: str):
            assert library_name == "reincarnate"

        def create_repo(self, repo_id: str, *, exist_ok: bool, private: bool):
            (root / repo_id).mkdir(parents=True, exist_ok=exist_ok)

        def upload_folder(self, *, repo_id: str, folder_path: Path, commit_message: str):
            shutil.copytree(folder_path, root / repo_id, dirs_exist_ok=True)
            return SimpleNamespace(commit_url=f"https://hub.example/{repo_id}/commit/1")

        def model_info(self, repo_id: str, *, revision: str | None):
            if not (root / repo_id).exists():
                raise huggingface_hub.errors.HFValidationError(f"no such\nrepository {repo_id}")
            return SimpleNamespace(sha=revision or "f" * 40)

    def snapshot_download(repo_id: str, *, revision: str, allow_patterns: list[str], local_dir: str):
        for pattern in allow_patterns:
            for file in (root / repo_id).glob(pattern):
                place = Path(local_dir) / file.relative_to(root / repo_id)
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, place)

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return root


def test_an_agent_goes_to_the_hub_and_comes_back(remote, capsys):
    main(["push", "a", "hf:me/first"])
    assert "https://hub.example/me/first/commit/1" in capsys.readouterr().out
    assert (remote / "me/first/README.md").exists()
    main(["pull", "hf:me/first@v1", "--out", "pulled"])
    assert open_agent(Path("pulled")).sha256 == open_agent(Path("a")).sha256
    assert json.loads(Path("pulled/origin.json").read_text())["address"] == "hf:me/first@v1"
    main(["pull", "hf:me/first", "--out", "newest"])
    assert json.loads(Path("newest/origin.json").read_text())["address"] == f"hf:me/first@{'f' * 40}"


def test_what_the_hub_refuses_is_one_line(remote, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["pull", "hf:me/nothing", "--out", "pulled"])
    error = capsys.readouterr().err.strip()
    assert stop.value.code == 2 and error.endswith("no such repository me/nothing") and len(error.splitlines()) == 1


def test_without_the_library_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(UserError, match=r"reincarnate\[hub\]"):
        hub.download("me/first", None, Path("x"))
