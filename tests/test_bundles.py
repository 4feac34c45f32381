"""The ready set of priors: what the manifest says, what lies here, and what is refused."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from reincarnate import envs
from reincarnate.agents import bundles
from reincarnate.agents.bundles import find, read_manifest
from reincarnate.cli import main
from reincarnate.errors import UserError
from reincarnate.methods import Kickstart
from reincarnate.priors import played
from reincarnate.priors.bundles import fetch
from reincarnate.priors.reference import given_data
from reincarnate.priors.weights import open_weights
from reincarnate.run.prepare import prepare
from reincarnate.run.settings import Run
from reincarnate.store.nodes import of_data
from reincarnate.store.scan import local
from reincarnate.teachers import open_teacher

ROOT = Path(__file__).parents[1]
OWN = "minatar-breakout-dqn"


def test_the_shipped_bundle_is_here_and_names_the_agent_that_it_always_named():
    bundle = find(OWN)
    teacher = open_teacher(bundle.address)
    assert bundle.folder() == ROOT / "priors" / OWN
    assert teacher.card.uri == bundle.address
    assert teacher.card.sha256 == json.loads((ROOT / "priors" / OWN / "agent.json").read_text())["sha256"]
    assert prepare(Run(bundle.task, Kickstart(), teacher=bundle.address)).teacher.card.sha256 == teacher.card.sha256


def test_every_bundle_says_what_a_fair_comparison_needs():
    for bundle in bundles.bundles().values():
        assert bundle.files and bundle.licence and bundle.source and bundle.protocol["env"] == bundle.task
        random, teacher = bundle.reference["random"], bundle.reference["teacher"]
        assert random["mean"] < teacher["mean"] and teacher["episodes"] == 100


def test_another_hash_an_unknown_name_and_a_bundle_that_is_not_here_are_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=f"this version's {OWN} has the hash {find(OWN).hash[:12]}"):
        open_teacher(f"prior:{OWN}@0123456789")
    with pytest.raises(UserError, match="there is no bundle 'nothing'; there are: minatar-breakout-dqn"):
        open_teacher("prior:nothing")
    with pytest.raises(UserError, match="is not here: reincarnate priors fetch minatar-asterix-pgx --source PATH"):
        open_teacher("prior:minatar-asterix-pgx")


def test_a_foreign_bundle_is_fetched_whole_or_not_at_all(tmp_path, monkeypatch, teachers, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "pgx_ppo_asterix.npz").write_bytes(b"another")
    with pytest.raises(UserError, match=r"holds no pgx_ppo_asterix\.npz of that content"):
        fetch("minatar-asterix-pgx", tmp_path / "mine")
    assert not (tmp_path / ".reincarnate").exists()
    main(["priors", "fetch", "minatar-asterix-pgx", "--source", str(teachers)])
    assert find("minatar-asterix-pgx").address in capsys.readouterr().out.replace("\n", "")
    assert open_teacher(find("minatar-asterix-pgx").address).card.actions == 5
    main(["priors", "fetch", "all", "--source", str(teachers)])
    assert all(bundle.folder() for bundle in bundles.bundles().values())
    file = tmp_path / ".reincarnate/priors/minatar-asterix-pgx/pgx_ppo_asterix.npz"
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(UserError, match="is not what the bundle minatar-asterix-pgx holds"):
        open_teacher("prior:minatar-asterix-pgx")


def test_bundles_of_another_folder_are_found_by_the_variable(tmp_path, monkeypatch, teachers):
    monkeypatch.chdir(tmp_path)
    fetch("cartpole-dqn-sb3", teachers / "sb3" / "dqn-CartPole-v1", tmp_path / "shared")
    assert find("cartpole-dqn-sb3").folder() is None
    monkeypatch.setenv("REINCARNATE_PRIORS", str(tmp_path / "shared"))
    assert open_teacher("prior:cartpole-dqn-sb3").card.actions == 2
    elsewhere = fetch("cartpole-dqn-sb3", teachers / "sb3" / "dqn-CartPole-v1", tmp_path / "asked")
    assert elsewhere == tmp_path / "asked/cartpole-dqn-sb3" and (elsewhere / "CartPole-v1.zip").exists()


def test_a_lineage_finds_a_bundle_where_it_lies(tmp_path, monkeypatch, teachers):
    monkeypatch.chdir(tmp_path)
    address = find("cartpole-dqn-sb3").address
    assert local(find(OWN).address) == ROOT / "priors" / OWN and local(address) is None and local("prior:x") is None
    fetch("cartpole-dqn-sb3", teachers / "sb3" / "dqn-CartPole-v1")
    assert local(address) == Path(".reincarnate/priors/cartpole-dqn-sb3/CartPole-v1.zip")


def test_a_damaged_manifest_is_one_line(tmp_path):
    value = json.loads((ROOT / "priors" / "manifest.json").read_text())
    value["bundles"][OWN]["files"]["agent.json"] = "no hash"
    (tmp_path / "manifest.json").write_text(json.dumps(value))
    with pytest.raises(UserError, match=r"bundles.minatar-breakout-dqn.files should be hashes by file"):
        read_manifest(tmp_path / "manifest.json")


def test_the_command_lists_and_tells(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    main(["priors", "list"])
    assert find(OWN).hash[:12] in capsys.readouterr().out
    main(["priors", "card", OWN])
    assert "Apache-2.0" in capsys.readouterr().out
    for words, said in (("gather", "needs a verb"), ("card", "Missing"), (f"fetch {OWN}", "--source")):
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(["priors", *words.split()])
        told = capsys.readouterr().err
        assert ended.value.code == 2 and said in told and len(told.strip().splitlines()) == 1


def test_every_bundle_says_what_its_teacher_plays():
    for bundle in bundles.bundles().values():
        assert bundle.played["plays"] in ("greedy", "sample") and bundle.played["env_steps"] >= 5000
        assert replace(bundle, data=None).hash != bundle.hash
    with pytest.raises(UserError, match="the bundle x holds no data: leave --data out, and its teacher plays some"):
        _ = replace(bundle, name="x", data=None).played


@pytest.fixture
def cartpole(tmp_path, monkeypatch, teachers):
    """A fetched bundle of CartPole, and the name of its teacher and data."""
    monkeypatch.chdir(tmp_path)
    fetch("cartpole-dqn-sb3", teachers / "sb3" / "dqn-CartPole-v1")
    return find("cartpole-dqn-sb3").address


def test_the_data_of_a_bundle_are_played_here_and_are_those_that_everybody_has(cartpole, capsys):
    main(["priors", "play", "cartpole-dqn-sb3"])
    said = find("cartpole-dqn-sb3").played
    assert "transitions" in capsys.readouterr().out
    spec = envs.spec("CartPole-v1")
    dataset = given_data(cartpole, spec, open_teacher(cartpole, 2), Path(".reincarnate"), lambda *_: None)
    assert open_weights(cartpole).sha256 == open_teacher(cartpole, 2).card.sha256
    assert dataset.id == said["id"] and dataset.transitions >= said["env_steps"] and dataset.logits is not None
    node = of_data(dataset.manifest, cartpole)
    assert node.name == "a teacher's play" and node.parents[0].sha256 == open_teacher(cartpole, 2).card.sha256


def test_data_that_come_out_otherwise_and_those_of_another_task_are_one_line(cartpole, monkeypatch):
    other = replace(
        find("cartpole-dqn-sb3"), data={"env_steps": 100, "epsilon": 0.1, "plays": "greedy", "id": "0" * 64}
    )
    monkeypatch.setattr(played, "find", lambda _: other)
    with pytest.raises(UserError, match=r"come out otherwise on this machine: .*, the manifest says 000000000000"):
        given_data(cartpole, envs.spec("CartPole-v1"), None, Path("a"), lambda *_: None)
    with pytest.raises(UserError, match=r"the data of prior:cartpole-dqn-sb3.* are of CartPole-v1, not of Acrobot-v1"):
        given_data(cartpole, envs.spec("Acrobot-v1"), None, Path("b"), lambda *_: None)
    assert not Path("b").exists()


def test_runs_of_two_people_who_name_one_bundle_are_compared_and_those_on_another_are_refused(
    tmp_path, monkeypatch, teachers, capsys
):
    small = "--env-steps 40 --evaluations 1 --eval-episodes 1 --final-episodes 2 --student.hidden 8 --student.warmup 20"
    for person, name, algorithm in (
        ("ann", "cartpole-dqn-sb3", "dqn"),
        ("bob", "cartpole-dqn-sb3", "dqn"),
        ("eve", "cartpole-ppo-sb3", "ppo"),
    ):
        (tmp_path / person).mkdir()
        monkeypatch.chdir(tmp_path / person)  # a store, a place of bundles and a working directory of their own
        place = tmp_path / person / "shelf"
        monkeypatch.setenv("REINCARNATE_PRIORS", str(place))
        fetch(name, teachers / "sb3" / f"{algorithm}-CartPole-v1", place)
        flags = f"--env CartPole-v1 --teacher {find(name).address} --reference-episodes 3 --seed {len(person[0])}"
        method = "kickstart" if person == "ann" else "scratch"
        main(["train", method, *flags.split(), *small.split(), "--out", "run"])
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    main(["compare", "ann/run", "bob/run"])
    assert "kickstart" in capsys.readouterr().out
    with pytest.raises(SystemExit) as refused:
        main(["compare", "ann/run", "eve/run"])
    assert refused.value.code == 2 and "prior.teacher differs" in capsys.readouterr().err


def test_studies_name_teachers_of_the_ready_set_by_hash():
    known = {bundle.address for bundle in bundles.bundles().values()}
    for path in sorted((ROOT / "studies").glob("*.yaml")):
        named = re.findall(r"prior:[^\s,\"\\\\]+", path.read_text())
        assert set(named) <= known, path
        files = [file for one in bundles.bundles().values() for file in one.files if file.startswith("pgx_")]
        assert path.name == "mimic.yaml" or not any(file in path.read_text() for file in files), path


def test_its_hash_covers_what_it_is_and_not_what_is_said_of_it():
    bundle = find(OWN)
    assert replace(bundle, about="other words", reference={}).hash == bundle.hash
    assert replace(bundle, files={"agent.json": "0" * 64}).hash != bundle.hash
