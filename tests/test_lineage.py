"""Agents know what they stand on; every ancestor is counted once, checked by its hash, and missing aloud."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from manifests import put_agent, put_run, sha
from zips import described, dqn_weights, write_zip

from reincarnate import DQN, FineTune, Kickstart, QDagger, Rehearsal, Run, Scratch, execute
from reincarnate.agents.agent import open_agent
from reincarnate.cli import main
from reincarnate.envs import spec as task
from reincarnate.errors import UserError
from reincarnate.files.atomic import sha256_json
from reincarnate.nets.flops import forward_flops
from reincarnate.report import compare
from reincarnate.report.lineage import picture
from reincarnate.report.runs import load_run
from reincarnate.store import Amount, lineage_of
from reincarnate.store.lineage import known_places, read_agent
from reincarnate.store.nodes import COSTS, exact, from_record, of_agent, of_data, record, total
from reincarnate.store.verify import verify
from reincarnate.students import IQN, PQN, Rainbow
from reincarnate.teachers import open_teacher
from reincarnate.training.flops import teacher_flops

HIDDEN = 8
SMALL = DQN(hidden=(HIDDEN,), warmup=20, batch_size=8)
STORE = Path(".reincarnate")
F = 2 * (4 * HIDDEN + HIDDEN * 2)  # operations of one forward pass: CartPole has 4 numbers and 2 actions


def train(out: str, method=None, **changes):
    """A run of a second; `changes` are fields of the Run."""
    usual = Run(
        env="CartPole-v1", method=method or Scratch(), student=SMALL, env_steps=120, evaluations=2, eval_episodes=2,
        final_episodes=3, reference_episodes=3, data_env_steps=200,
    )  # fmt: skip
    return execute(replace(usual, **changes), Path(out))


@pytest.fixture(scope="module")
def grown(tmp_path_factory):
    """Three generations: a1 from scratch (its replay kept), a2 by qdagger from it, a3 by kickstart from a2's; and others
    that start from a1's weights and replay, and from an imported teacher."""
    folder = tmp_path_factory.mktemp("family")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_zip(Path("t.zip"), described(obs_shape=(4,)), dqn_weights(4))
        train("a1", keep="all")
        train("a2", QDagger(offline_updates=30), teacher="store:a1", student=Rainbow(hidden=(HIDDEN,), warmup=20))
        train("a3", Kickstart(), teacher="store:a2")
        train("f", FineTune(), weights="store:a1")
        train("r", Rehearsal(), data="store:a1")
        train("k", Kickstart(), teacher="sb3:t.zip")
        train("s", teacher="store:a2", seed=1)
    return folder


@pytest.fixture
def family(grown, tmp_path, monkeypatch):
    """A copy of them that a test may spoil."""
    shutil.copytree(grown, tmp_path / "family")
    monkeypatch.chdir(tmp_path / "family")
    (STORE / "index.sqlite").unlink()  # which knows the originals


@pytest.fixture
def here(grown, monkeypatch):
    monkeypatch.chdir(grown)


def lineage(agent: str):
    return lineage_of(agent, known_places(STORE, ()))


def edit(path: str, change) -> None:
    value = json.loads(Path(path).read_text())
    change(value)
    Path(path).write_text(json.dumps(value))


# ---- what agents record --------------------------------------------------------------------------------


def test_an_agent_names_its_parents_by_role_hash_and_address(here):
    a1, a2 = open_agent(Path("a1")).sha256, open_agent(Path("a2")).sha256
    prior = open_agent(Path("a2")).about["prior"]
    assert prior["parents"] == [
        {"role": "teacher", "sha256": a1, "address": "store:a1"},
        {"role": "data", "sha256": prior["data"], "address": None},
    ]
    assert [p["role"] for p in open_agent(Path("f")).about["prior"]["parents"]] == ["weights"]
    assert set(open_agent(Path("a3")).about["prior"]["ancestors"]) == {a1, a2, prior["data"]}
    assert json.loads(Path("a3/result.json").read_text())["prior"]["parents"][0]["sha256"] == a2


def test_an_agent_says_how_to_make_it_again_wherever_it_is(here):
    about = open_agent(Path("a2")).about
    assert about["settings"]["name"] == "qdagger" and about["settings"]["offline_updates"] == 30
    assert about["command"].startswith("reincarnate train qdagger") and "torch" in about["versions"]


def test_the_hash_of_an_agent_does_not_depend_on_what_it_records(family):
    before = open_agent(Path("a2")).sha256
    edit("a2/agent/agent.json", lambda value: value["about"].clear())
    assert open_agent(Path("a2")).sha256 == before


def test_a_teacher_that_only_sets_the_scale_is_no_parent(here):
    prior = open_agent(Path("s")).about["prior"]
    assert prior["teacher"] and prior["parents"] == [] and prior["ancestors"] == {}


def test_an_imported_teacher_is_a_node_with_what_its_file_says(here):
    (node,) = lineage("k").ancestors()
    assert (node.kind, node.name, node.address) == ("teacher", "DQN", "sb3:t.zip")
    assert node.cost == {**exact(), "env_steps": Amount(1000, True)}
    reference = json.loads(Path("k/result.json").read_text())["reference"]["teacher"]
    assert node.score == reference["mean"] and node.interval == (reference["low"], reference["high"])


def test_an_older_agent_tells_what_it_can(tmp_path):
    about = {"method": "qdagger", "updates": 10, "env_steps": 7, "prior": {"teacher": sha("t"), "data": None}}
    node = of_agent(read_agent(put_agent(tmp_path, "old", **about)))
    assert node.cost["env_steps"] == Amount(7, True) and node.cost["updates"] == Amount(10, False)
    assert node.cost["flops"] == node.cost["seconds"] == Amount(0, False)
    assert [(p.role, p.sha256) for p in node.parents] == [("teacher", sha("t"))]
    scratch = put_agent(tmp_path / "s", "s", prior={"teacher": sha("t")})
    assert of_agent(read_agent(scratch)).parents == ()
    assert of_agent(read_agent(scratch)).cost["updates"] == Amount(10, True)


# ---- what it cost, by hand -----------------------------------------------------------------------------


def test_a_forward_pass_is_two_operations_for_each_weight():
    net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    assert forward_flops(net, torch.zeros(1, 4)) == F
    conv = torch.nn.Conv2d(3, 5, 3)
    assert forward_flops(conv, torch.zeros(1, 3, 10, 10)) == 2 * 5 * 3 * 9 * 64


def test_the_cost_of_a_run_is_its_formula(here):
    result = json.loads(Path("a1/result.json").read_text())
    assert result["updates"] == (120 - 20) // 4
    steps = result["env_steps"] + result["eval_env_steps"]
    assert result["flops"] == {"acting": F * steps, "learning": F * 8 * result["updates"] * 4, "teacher": 0}


def test_asking_the_teacher_is_counted_once_for_each_observation_of_the_run(here):
    result = json.loads(Path("a3/result.json").read_text())
    teacher = open_teacher("store:a2")
    each = teacher_flops(teacher, task("CartPole-v1"))
    asked = result["flops"]["teacher"] / each
    assert asked == int(asked) and 20 <= asked <= 140  # at most 120 env steps and tails; none once it is weaned
    atoms = 51
    assert each == 2 * (4 * HIDDEN + HIDDEN * 2 * atoms)
    played = lineage("a2").nodes[open_agent(Path("a2")).about["prior"]["data"]]
    assert played.cost["flops"] == Amount(F * played.cost["env_steps"].value, True)
    assert played.cost["env_steps"].value >= 200 and played.cost["seconds"].whole


@pytest.mark.parametrize("student", [IQN(samples=4, acting=16, hidden=(HIDDEN,), warmup=20), PQN(hidden=(HIDDEN,))])
def test_students_that_learn_otherwise_than_they_act_are_counted_so(student, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = train("x", student=student, env_steps=512 if isinstance(student, PQN) else 200, evaluations=1)
    flops, steps = result["flops"], result["env_steps"] + result["eval_env_steps"]
    if isinstance(student, PQN):  # no target network; for λ-returns a pass of each rollout's last step
        assert flops["acting"] == F * steps
        assert flops["learning"] == F * (128 * result["updates"] * 3 + result["env_steps"] / student.rollout)
    else:

        def f(fractions: int) -> int:  # the observation's 4 numbers, weighed by an embedding of 64 cosines
            return 2 * fractions * (64 * 4 + 4 * HIDDEN + HIDDEN * 2)

        assert flops["acting"] == f(16) * steps
        assert flops["learning"] == f(4) * 32 * result["updates"] * 4


def test_a_teacher_that_cannot_be_watched_counts_by_its_parameters(here):
    class Foreign:
        view, frozen = "rgb", True

        def __init__(self, parameters: int):
            self.card = replace(open_teacher("t.zip").card, parameters=parameters)

        def initial(self, n: int):
            return torch.zeros(n, 0)

        def predict(self, step, carry):
            raise AssertionError("its view is not the task's")

    assert teacher_flops(Foreign(500), task("CartPole-v1")) == 1000.0
    assert teacher_flops(Foreign(0), task("CartPole-v1")) is None


def test_the_best_agent_is_charged_as_far_as_its_evaluation(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = train("x", student=DQN(hidden=(HIDDEN,), warmup=20, batch_size=8, lr=0.0), evaluations=4)
    assert result["best"] is None or Path("x/agent-best").exists()
    for folder in Path("x").glob("agent-best"):
        best, last = of_agent(read_agent(folder)), of_agent(read_agent(Path("x/agent")))
        assert best.interval is None and best.cost["flops"].value < last.cost["flops"].value


def test_sums_are_at_least_what_is_known():
    known, partly = exact(env_steps=5, updates=2), exact(env_steps=1)
    summed = total([known, partly])
    assert summed["env_steps"] == Amount(6, True) and summed["updates"] == Amount(2, False)
    assert total([])["seconds"] == Amount(0, True)


# ---- the graph -----------------------------------------------------------------------------------------


def test_an_ancestor_that_two_ways_lead_to_is_counted_once(here):
    found = lineage("a3")
    own = [lineage(name).root.cost["env_steps"].value for name in ("a1", "a2", "a3")]
    data = found.nodes[open_agent(Path("a2")).about["prior"]["data"]]
    assert data.parents[0].sha256 == open_agent(Path("a1")).sha256  # a1 taught a2, and played its data
    assert found.total()["env_steps"] == Amount(sum(own) + data.cost["env_steps"].value, True)
    assert [node.name for node in found.ancestors()] == ["qdagger", "scratch", "a teacher's play"]


def test_an_agents_own_replay_is_not_paid_for_twice(here):
    found = lineage("r")
    a1 = lineage("a1").root
    assert [node.name for node in found.ancestors()] == ["an agent's replay", "scratch"]
    assert found.total()["env_steps"].value == found.root.cost["env_steps"].value + a1.cost["env_steps"].value


def test_what_an_imported_teacher_does_not_say_makes_sums_at_least(here):
    whole = lineage("k").total()
    assert whole["env_steps"].whole and not whole["flops"].whole and whole["flops"].value > 0


def test_an_agent_alone_still_knows_its_ancestry_and_its_cost(grown, tmp_path, monkeypatch):
    shutil.copytree(grown / "a3/agent", tmp_path / "alone")
    monkeypatch.chdir(grown)
    before = lineage("a3").total()
    monkeypatch.chdir(tmp_path)
    found = lineage("alone")
    assert found.total() == before and set(found.places) == {found.root.sha256}


def test_records_survive_being_written_and_read(here):
    for node in lineage("a3").nodes.values():
        assert from_record(node.sha256, json.loads(json.dumps(record(node)))) == node


@pytest.mark.parametrize("spoil", [
    lambda v: v.update(kind="else"), lambda v: v.update(parents="x"), lambda v: v.update(parents=[{"sha256": "../x"}]),
])  # fmt: skip
def test_a_record_that_is_none_is_refused(spoil, here):
    value = record(lineage("a2").root)
    spoil(value)
    with pytest.raises(UserError):
        from_record(sha("x"), value)
    with pytest.raises(UserError):
        from_record("not a hash", record(lineage("a2").root))


def test_numbers_and_words_of_strangers_are_taken_with_care(here):
    value = record(lineage("a2").root) | {"score": float("nan"), "name": "x\n\x1b[31m[red]" * 200, "interval": [1, "2"]}
    value["cost"] = {"env_steps": float("inf"), "updates": True, "flops": "many"}
    node = from_record(sha("x"), value)
    assert node.score is None and node.interval is None and node.name.isprintable() and 200 < len(node.name) <= 300
    assert all(node.cost[name] == Amount() for name in COSTS)


def test_records_that_run_in_a_circle_end(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    parents = {"x": [{"role": "teacher", "sha256": sha("y")}], "y": [{"role": "weights", "sha256": sha("x")}]}
    for name, edges in parents.items():
        put_run(Path(name), name)
        put_agent(Path(name) / "agent", name, prior={"parents": edges, "ancestors": {}})
    main(["lineage", "index", "."])
    assert len(lineage("x").ancestors()) == 1
    main(["lineage", "show", "x"])
    assert "as above" in capsys.readouterr().out


def test_data_by_itself_tells_where_it_came_from():
    manifest = {"id": sha("d"), "transitions": 9, "about": {"kind": "import", "reader": "minari"}, "spec": {"id": "X"}}
    node = of_data(manifest)
    assert node.name == "minari log" and node.cost["env_steps"] == Amount(9, True) and not node.cost["flops"].whole


# ---- the commands --------------------------------------------------------------------------------------


def test_show_draws_the_tree_with_scores_costs_and_sums(here, capsys):
    main(["lineage", "show", "a3"])
    text = capsys.readouterr().out
    tree, table = text.split("cost, each counted once")
    assert tree.index("kickstart") < tree.index("teacher: agent qdagger, rainbow 8") < tree.index("scratch, dqn 8")
    assert "played by scratch, as above" in tree and "score" in tree and "CartPole-v1" in tree and "a2/agent" in tree
    assert [line.split()[0] for line in table.splitlines()[2:6]] == ["kickstart", "qdagger", "scratch", "a"]
    assert "this run alone" in table and "with all it stands on" in table and "≥" not in table
    main(["lineage", "show", "k"])
    assert "≥" in capsys.readouterr().out
    main(["lineage", "show", open_agent(Path("a3")).sha256[:10], "--json"])
    value = json.loads(capsys.readouterr().out)
    assert len(value["nodes"]) == 4 and value["total"]["env_steps"]["whole"]


def test_a_missing_ancestor_is_named_with_where_it_was(family, capsys):
    shutil.rmtree("a1")
    main(["lineage", "show", "a2"])
    assert "not found (store:a1)" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stop:
        main(["lineage", "verify", "a2"])
    text = capsys.readouterr().out
    assert stop.value.code == 1 and "missing" in text and "it was store:a1" in text and "1 of 3" in text


def test_roots_are_looked_through_and_not_remembered(family, tmp_path, capsys):
    Path("a1").rename(tmp_path / "moved")
    main(["lineage", "verify", "a2", "--roots", str(tmp_path / "moved")])
    assert "missing" not in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["lineage", "verify", "a2"])


def test_verify_is_content_with_a_whole_lineage(family, capsys):
    for agent in ("a3", "f", "r", "k"):
        main(["lineage", "verify", agent])
    text = capsys.readouterr().out
    assert text.count("sound") == 4 + 2 + 3 + 2


def flip(path: Path, at: int = -1) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("spoil, agent, words", [
    (lambda: flip(Path("a1/agent/weights.safetensors")), "a3", "weights.safetensors is not what agent.json"),
    (lambda: flip(next(Path(".reincarnate/data").glob("*/reward.npy"))), "a2", "reward.npy has changed"),
    (lambda: flip(next(Path("a1/agent/data").glob("*/frame.npy"))), "r", "frame.npy has changed"),
    (lambda: flip(Path("a1/agent/optimizer.safetensors")), "f", "optimizer.safetensors is missing, or not what"),
    (lambda: flip(Path("t.zip"), 60), "k", "wrong"),
    (lambda: edit("a2/agent/agent.json", lambda v: v["student"].update(gamma=0.5)), "a3", "agent.json has changed"),
    (lambda: edit("a2/agent/agent.json", lambda v: v["spec"].update(actions=3)), "a3", "agent.json has changed"),
])  # fmt: skip
def test_verify_names_every_file_that_has_changed(spoil, agent, words, family, capsys):
    spoil()
    with pytest.raises(SystemExit) as stop:
        main(["lineage", "verify", agent])
    text = " ".join(capsys.readouterr().out.split())
    assert stop.value.code == 1 and words in text


def test_a_teacher_in_python_is_not_run_to_be_looked_at(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rule = "import torch\ndef lean(obs):\n    return torch.stack([-obs[:, 2], obs[:, 2]], 1)\n"
    Path("rule.py").write_text(rule)
    train("x", Kickstart(), teacher="py:rule.py:lean")
    Path("rule.py").write_text("open('ran', 'w')\n" + rule)
    main(["lineage", "verify", "x"])
    assert "not checked" in capsys.readouterr().out and not Path("ran").exists()


def test_a_teacher_with_a_view_and_each_of_several_are_looked_at_where_they_lie(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("one", "two"):
        write_zip(Path(f"{name}.zip"), described(obs_shape=(4,)), dqn_weights(4, hidden=len(name) + ord(name[0]) % 5))
    Path("rule.py").write_text("import torch\ndef lean(obs):\n    return torch.stack([-obs[:, 2], obs[:, 2]], 1)\n")
    several, view, rule = "several:mean:sb3:one.zip,sb3:two.zip", "view:x:sb3:one.zip", "py:rule.py:lean"
    addresses = {"s": several, "v": view, "b": f"several:mean:{rule},{rule}", "p": f"view:x:{rule}"}
    for name, address in addresses.items():
        parent = {"role": "teacher", "sha256": open_teacher(address, 2).card.sha256, "address": address}
        put_agent(Path(name), name, prior={"parents": [parent]})

    def states() -> list[str]:
        return [list(verify(lineage(name), 2))[1].state for name in addresses]

    assert states() == ["sound", "sound", "not checked", "not checked"]
    flip(Path("two.zip"), 60)
    assert states()[:2] == ["wrong", "sound"]
    Path("two.zip").unlink()
    assert states()[:2] == ["missing", "sound"]


def test_an_address_is_printed_as_it_is_and_never_as_a_picture(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    put_agent(
        Path("a"), "a", prior={"parents": [{"role": "teacher", "sha256": sha("t"), "address": "view:b:py:x.py:f"}]}
    )
    main(["lineage", "show", "a"])
    assert "view:b:py:x.py:f" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["lineage", "show", "view:b:c"])
    assert "view:b:c" in capsys.readouterr().err
    write_zip(Path("x.zip"), described(obs_shape=(4,)), dqn_weights(4))
    main(["inspect", "view:b:sb3:x.zip"])
    assert "teacher view:b:sb3:x.zip" in capsys.readouterr().out


def test_diff_says_only_what_changed(here, capsys):
    main(["lineage", "diff", "a1", "a2"])
    text = capsys.readouterr().out
    assert "atoms" in text and "offline_updates" in text and "teacher" in text and "score" in text
    assert "gamma" not in text and "protocol" not in text and "torch" not in text
    main(["lineage", "diff", "a1", "a1"])
    assert "nothing differs" in capsys.readouterr().out


def identified(change):
    """A change that makes the agent's hash right again."""

    def both(value):
        change(value)
        value["sha256"] = sha256_json({key: value[key] for key in ("student", "spec", "weights")})

    return both


def test_settings_that_would_cost_more_memory_than_the_file_holds_are_refused(family):
    edit("a1/agent/agent.json", identified(lambda v: v["student"].update(hidden=[10**9, 10**9])))
    with pytest.raises(UserError, match="does not fit the agent's settings"):
        open_agent(Path("a1")).network()
    edit("a2/agent/agent.json", identified(lambda v: v["student"].update(atoms=10**12)))
    with pytest.raises(UserError, match="does not fit the agent's settings"):
        open_agent(Path("a2")).network()


@pytest.mark.parametrize("spoil", [
    lambda v: v.pop("student"), lambda v: v.pop("weights"), lambda v: v.update(spec=[1]), lambda v: v["spec"].pop("id"),
    lambda v: v["spec"].update(more=1), lambda v: v.update(student=None), lambda v: v.pop("about"),
])  # fmt: skip
def test_an_agent_json_that_is_damaged_is_one_line(spoil, family):
    edit("a1/agent/agent.json", spoil)
    with pytest.raises(UserError) as error:
        open_agent(Path("a1"))
    assert "\n" not in str(error.value)


# ---- the picture ---------------------------------------------------------------------------------------


def test_the_page_draws_what_compared_runs_stand_on(here, tmp_path):
    compare(["a3", "s"], tmp_path / "page")
    html = (tmp_path / "page/index.html").read_text()
    assert "What these runs stand on" in html and "kickstart, 1 seed" in html and "rainbow 8" in html
    drawn = picture([load_run(Path("a3")), load_run(Path("s"))])
    assert drawn is not None
    svg, words = drawn
    assert svg.count("<rect") == 4 and svg.count(">teacher<") == 2 and svg.count(">data<") == 1
    assert "kickstart, 1 seed stands on teacher qdagger." in words and "a teacher's play is from scratch." in words


def test_seeds_of_a_method_are_one_box(here, tmp_path):
    first = load_run(Path("a3"))
    shutil.copytree("a3", tmp_path / "copy")
    drawn = picture([first, load_run(tmp_path / "copy")])
    assert drawn is not None and "kickstart, 2 seeds" in drawn[0] and drawn[0].count("<rect") == 4


def test_runs_that_stand_on_nothing_have_no_picture(here):
    assert picture([load_run(Path("a1")), load_run(Path("s"))]) is None


def test_boxes_do_not_lie_on_each_other(here):
    drawn = picture([load_run(Path(name)) for name in ("a3", "f", "r", "k")])
    assert drawn is not None
    corners = [tuple(map(int, c)) for c in re.findall(r'<rect x="(\d+)" y="(\d+)"', drawn[0])]
    assert len(corners) == len(set(corners)) == 9
    apart = [np.abs(np.subtract(a, b)) for i, a in enumerate(corners) for b in corners[:i]]
    assert all(dx >= 216 or dy >= 78 for dx, dy in apart)


@pytest.mark.slow
def test_the_example_of_three_generations_runs_on_a_small_budget(tmp_path):
    script = Path(__file__).parents[1] / "examples/generations.sh"
    settings = {"STEPS": "1500", "OUT": "out/toy", "REINCARNATE": f"{sys.executable} -m reincarnate"}
    done = subprocess.run(
        ["bash", script], cwd=tmp_path, env={**os.environ, **settings}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "with all it stands on" in done.stdout and "missing" not in done.stdout
    assert "What these runs stand on" in (tmp_path / "out/toy/page/index.html").read_text()
