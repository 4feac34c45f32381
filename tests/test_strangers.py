"""A folder, a file, a record of a stranger: what it is, is computed; it leads nowhere, runs nothing, ends in a line."""

import gc
import json
import os
import shutil
import struct
import sys
import warnings
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from asking import says
from interrupting import RULE, small_run, stopped
from onnx import TensorProto, helper
from zips import write_zip

from reincarnate import ui
from reincarnate.agents.agent import open_agent, save_agent
from reincarnate.cli import main
from reincarnate.config import read_yaml
from reincarnate.data.dataset import open_dataset, write_dataset
from reincarnate.data.readers import hdf5, npz
from reincarnate.data.rows import episode
from reincarnate.envs import spec
from reincarnate.errors import UserError
from reincarnate.files.atomic import sha256_json, write_json
from reincarnate.files.finished import check_done, write_done
from reincarnate.files.records import Record, loads
from reincarnate.files.regular import content_hash, read_bounded, within
from reincarnate.files.safe import read_tensors, unpickle_inert
from reincarnate.files.text import clean, fenced, markdown
from reincarnate.methods import Scratch
from reincarnate.report import load_run
from reincarnate.report.page import write_page
from reincarnate.run.checkpoints import Checkpoints
from reincarnate.run.directory import RunDirectory
from reincarnate.run.execute import execute
from reincarnate.sharing.hub import addresses_in, write_folder
from reincarnate.store import Index
from reincarnate.store.lineage import known_places, lineage_of
from reincarnate.store.render import as_text
from reincarnate.store.trust import fingerprint, sealed
from reincarnate.store.verify import verify
from reincarnate.students import DQN
from reincarnate.teachers import open_teacher
from reincarnate.teachers.sb3.evidence import evidence_of, normalises
from reincarnate.teachers.sb3.vecnormalize import is_statistics

TASK = "CartPole-v1"


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    execute(small_run(folder, method=Scratch(), teacher=None), folder / "run")
    return folder / "run"


@pytest.fixture
def run(finished, tmp_path) -> Path:
    """A finished run, to be changed."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.fixture
def half(tmp_path, monkeypatch) -> Path:
    """A run that began here, was stopped, and names a teacher in Python; the working directory is its parent."""
    monkeypatch.chdir(tmp_path)
    begun = small_run(Path(), store=".reincarnate")
    stopped(begun, Path("half"), 2)
    return Path("half")


def edit(path: Path, change) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


# ---- identity is computed ------------------------------------------------------------------------------


def test_exchanged_weights_with_the_old_hash_are_refused_at_every_opening(tmp_path):
    for name, seed in (("a", 0), ("b", 1)):
        save_agent(tmp_path / name, DQN(hidden=(4,)).newborn(spec(TASK), seed), {}, "card")
    other = json.loads((tmp_path / "b/agent.json").read_text())
    (tmp_path / "a/weights.safetensors").write_bytes((tmp_path / "b/weights.safetensors").read_bytes())
    edit(tmp_path / "a/agent.json", lambda v: v.update(weights=other["weights"]))
    with pytest.raises(UserError, match="not those of its hash"):
        open_agent(tmp_path / "a")
    with pytest.raises(UserError, match="not those of its hash"):
        open_teacher(f"store:{tmp_path / 'a'}")


def dataset(folder: Path):
    rows = episode(spec(TASK), np.zeros((6, 4)), np.zeros(5, int), np.ones(5), terminated=True)
    return write_dataset(folder, spec(TASK), [rows], {})


def test_data_whose_spec_counts_or_columns_are_not_those_of_its_hash_are_refused(tmp_path):
    path = dataset(tmp_path).path
    whole = (path / "manifest.json").read_text()
    for change, words in (
        (lambda v: v.update(transitions=6), "says 6 transitions; its rows hold 5"),
        (lambda v: v["spec"].update(id="Acrobot-v1"), "not those of its hash"),
        (lambda v: v["columns"].pop("age"), "not those of its hash"),
    ):
        edit(path / "manifest.json", change)
        with pytest.raises(UserError, match=words):
            open_dataset(path)
        (path / "manifest.json").write_text(whole)
    content = bytearray((path / "reward.npy").read_bytes())
    content[-1] ^= 1
    (path / "reward.npy").write_bytes(content)
    with pytest.raises(UserError, match=r"reward\.npy has changed"):
        open_dataset(path)


def test_a_file_is_hashed_once_for_as_long_as_its_stamp_stays(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    os.utime(path, ns=(0, 0))
    first = content_hash(path)
    assert first == content_hash(path)
    path.write_bytes(b"abd")
    assert content_hash(path) != first


@pytest.mark.parametrize("name", ["metrics.jsonl", "config.json", "result.json"])
def test_a_changed_record_of_a_finished_run_is_found_by_compare_and_verify(name, run, capsys):
    content = bytearray((run / name).read_bytes())
    content[len(content) // 2] ^= 1
    (run / name).write_bytes(content)
    with pytest.raises(UserError, match=f"{name} has changed since the run was finished"):
        load_run(run)
    with pytest.raises(SystemExit):
        main(["lineage", "verify", str(run), "--store", str(run.parent / "store")])
    assert "1 of 1 wrong or missing" in capsys.readouterr().out


def test_an_agent_of_a_finished_run_that_was_exchanged_or_changed_is_found_by_compare_and_verify(run, capsys):
    shutil.copytree(run / "agent", run / "agent-best", dirs_exist_ok=True)
    edit(run / "agent-best/agent.json", lambda v: v["about"].update(score=99_999.0))
    write_done(run)
    for name, other in (("agent", "away"), ("agent-best", "agent"), ("away", "agent-best")):
        (run / name).rename(run / other)
    with pytest.raises(UserError, match=r"agent/agent\.json has changed since the run was finished"):
        load_run(run)
    with pytest.raises(SystemExit):
        main(["lineage", "verify", str(run), "--store", str(run.parent / "store")])
    assert "1 of 1 wrong or missing" in capsys.readouterr().out
    shutil.rmtree(run / "agent")
    with pytest.raises(UserError, match=r"agent-best/agent\.json has changed"):
        check_done(run)


def test_an_agent_may_be_taken_out_of_a_finished_run(run):
    (run / "agent").rename(run.parent / "away")
    assert load_run(run).env == TASK and open_agent(run.parent / "away").path == run.parent / "away"


def test_finished_runs_of_before_without_hashes_still_open(run):
    said = json.loads((run / "done").read_text())
    said["sha256"] = {name: said["sha256"][name] for name in ("config.json", "metrics.jsonl", "result.json")}
    for text in (json.dumps(said), ""):
        (run / "done").write_text(text)
        check_done(run)
        assert load_run(run).env == TASK


# ---- a stranger's run ----------------------------------------------------------------------------------


def test_a_run_that_began_here_goes_on_without_a_word_also_when_it_was_moved(half):
    assert sealed(half)
    half.rename("moved")
    main(["resume", "moved"])
    assert Path("moved/done").exists() and not Path("moved/.seal").exists()


def test_a_strangers_run_runs_no_code_without_trust_and_no_other_code_with_it(half, capsys, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(Path("elsewhere").absolute()))  # as on another machine
    Path("rule.py").write_text(f"open('ran', 'w')\n{RULE}")
    for arguments, words in (([], "names code"), (["--trust"], "the teacher of half has changed")):
        with pytest.raises(SystemExit):
            main(["resume", "half", *arguments])
        assert words in " ".join(capsys.readouterr().err.split()) and not Path("ran").exists()
    Path("rule.py").write_text(RULE)
    main(["resume", "half", "--trust"])
    assert Path("half/done").exists()


def test_the_hash_of_a_teacher_in_python_is_known_without_running_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    Path("house").mkdir()
    Path("house/__init__.py").write_text("")
    Path("house/rule.py").write_text(RULE)
    for rest in ("house/rule.py:lean", "house.rule:lean"):
        assert fingerprint(rest) == open_teacher(f"py:{rest}").card.sha256
    Path("house/__init__.py").write_text("open('ran', 'w')")
    sys.modules.pop("house"), sys.modules.pop("house.rule")
    assert fingerprint("house.rule:lean") and not Path("ran").exists()


def test_verify_runs_no_python_by_whatever_name_it_is_called(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("evil.py").write_text(f"open('ran', 'w')\n{RULE}")
    Path("py:evil.py:lean").write_text("")
    for address in ("x:py:evil.py:lean", "py:evil.py:lean", "sb3:evil.py", "evil.py", "hf:evil.py"):
        prior = {
            "parents": [{"role": "teacher", "sha256": "0" * 64, "address": address}],
            "ancestors": {"0" * 64: {"kind": "teacher", "address": None}},
        }
        edit(run / "agent/agent.json", lambda v, prior=prior: v["about"].update(prior=prior))
        found = lineage_of(str(run), known_places(tmp_path / "store", ()))
        assert "sound" not in [one.state for one in verify(found) if one.node.kind == "teacher"]
    assert not Path("ran").exists()


@pytest.mark.parametrize("name", ["metrics.jsonl", "replay", "checkpoints", ".lock", "tb", "agent"])
def test_links_in_a_run_are_not_followed_for_writing_or_deleting(name, half, capsys):
    import shutil

    other = Path("other")
    other.mkdir()
    (other / "000001.safetensors").write_text("mine")
    target = other / "000001.safetensors" if name in ("metrics.jsonl", ".lock") else other
    place = half / name
    shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)
    place.symlink_to(target.absolute())
    with pytest.raises(SystemExit):
        main(["resume", "half"])
    assert "is a link" in " ".join(capsys.readouterr().err.split())
    assert (other / "000001.safetensors").read_text() == "mine" and len(list(other.iterdir())) == 1


def test_links_out_of_an_agent_are_not_read_and_not_pushed(run, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("key")
    card = run / "agent/card.md"
    card.unlink()
    card.symlink_to(secret)
    with pytest.raises(UserError, match="link out of its folder"):
        write_folder(run / "agent", "me/agent", tmp_path / "pushed", {})
    weights = run / "agent/weights.safetensors"
    weights.rename(tmp_path / "w")
    weights.symlink_to(tmp_path / "w")
    with pytest.raises(UserError, match="link out of its folder"):
        open_agent(run)


def test_a_cache_of_the_hub_may_link_from_its_snapshots_to_its_blobs(tmp_path):
    snapshot, blobs = tmp_path / "models--a--b/snapshots/abc", tmp_path / "models--a--b/blobs"
    snapshot.mkdir(parents=True), blobs.mkdir()
    (blobs / "1").write_text("x")
    (snapshot / "f").symlink_to(blobs / "1")
    assert within(snapshot, "f").read_text() == "x"
    (snapshot / "g").symlink_to("/etc/hostname")
    with pytest.raises(UserError, match="link out of its folder"):
        within(snapshot, "g")


def test_only_what_this_program_left_is_swept_from_a_run(half):
    kept = [".git", ".staging-notes", ".gitignore", ".notes.123", ".result.json.bak"]
    for name in (".git", ".staging-notes"):
        (half / name).mkdir()
        (half / name / "mine.txt").write_text("mine")
    for name in kept[2:]:
        (half / name).write_text("mine")
    (half / "replay/mine.txt").write_text("mine")
    (half / ".staging-abc").mkdir()
    (half / ".staging-abc/weights.safetensors").write_text("torn")
    (half / ".result.json.77").write_text("torn")
    directory = RunDirectory.reopen(half)
    directory._sweep()
    assert all((half / name).exists() for name in kept) and (half / "replay/mine.txt").exists()
    assert not (half / ".staging-abc").exists() and not (half / ".result.json.77").exists()


def test_names_that_are_no_numbers_of_checkpoints_are_passed_over(half):
    for name in ("²", "①", "000009²"):
        (half / "checkpoints" / name).mkdir()
    assert RunDirectory.reopen(half).newest() == (2, [])
    assert all(folder.name.isascii() for folder in Checkpoints(half, 2)._found())


# ---- work and memory -----------------------------------------------------------------------------------


def doubled(depth: int) -> bytes:
    """A pickle of a tuple that holds the same tuple twice, `depth` deep, as the key of a dictionary."""
    body = b"".join(b"h" + bytes([k]) + b"h" + bytes([k]) + b"\x86q" + bytes([k + 1]) for k in range(depth))
    return b"\x80\x02}K\x00K\x01\x86q\x00" + body + b"K\x01s."


@pytest.mark.parametrize("payload, words", [
    (doubled(30), "for a key"), (b"\x80\x05\x96" + struct.pack("<Q", 1 << 33) + b".", "ends too early|pickle"),
    (b"\x80\x02" + b"]" * 3000 + b"a" * 2999 + b".", "nested"), (b"\x80\x02]q\x00h\x00a.", "holds itself"),
])  # fmt: skip
def test_small_pickles_that_ask_for_much_are_refused_at_once(payload, words):
    with pytest.raises(UserError, match=words):
        unpickle_inert(payload, [".*"], "a")


@pytest.mark.parametrize("pickled, words", [
    (doubled(30), "for a key"), (b"\x80\x02" + b"]" * 3000 + b"a" * 2999 + b".", "nested"),
    (b"\x80\x02cbuiltins\nbytearray\n\x8a\x05\x00\x00\x00\x00\x01\x85R.", "bytearray"),
])  # fmt: skip
def test_pickles_of_tensors_are_looked_at_before_torch_reads_them(pickled, words, tmp_path):
    torch.save({"a": torch.zeros(2)}, tmp_path / "whole.pt")
    with zipfile.ZipFile(tmp_path / "whole.pt") as old, zipfile.ZipFile(tmp_path / "a.pt", "w") as new:
        for name in old.namelist():
            new.writestr(name, pickled if name.endswith("data.pkl") else old.read(name))
    with pytest.raises(UserError, match=words):
        read_tensors((tmp_path / "a.pt").read_bytes(), "a")


def onnx_of(nodes, folder: Path) -> str:
    ends = [[helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", 2])] for n in ("obs", "logits")]
    made = helper.make_model(helper.make_graph(nodes, "g", *ends), opset_imports=[helper.make_opsetid("", 17)], ir_version=8)  # fmt: skip
    (folder / "a.onnx").write_bytes(made.SerializeToString())
    return f"onnx:{folder / 'a.onnx'}"


def test_an_onnx_program_that_runs_for_minutes_is_refused_after_seconds(tmp_path, monkeypatch):
    monkeypatch.setattr("reincarnate.files.limits.SECONDS", 0.2)
    size = helper.make_tensor("size", TensorProto.INT64, [2], [1500, 1500])
    nodes = [helper.make_node("Constant", [], ["s"], value=size), helper.make_node("ConstantOfShape", ["s"], ["m0"])]
    nodes += [helper.make_node("MatMul", [f"m{k}", f"m{k}"], [f"m{k + 1}"]) for k in range(8)]
    nodes += [helper.make_node("ReduceSum", ["m8"], ["t"], keepdims=0), helper.make_node("Add", ["obs", "t"], ["logits"])]  # fmt: skip
    teacher = open_teacher(onnx_of(nodes, tmp_path))
    with pytest.raises(UserError, match=r"no answer within 0\.2 s"):
        says(teacher, torch.zeros(1, 2))


class Large(torch.nn.Module):
    def forward(self, obs):
        return obs + torch.ones([70000, 70000]).sum()


class Long(torch.nn.Module):
    def forward(self, obs):
        x = torch.ones([8000, 8000])
        return obs + torch.mm(x, torch.mm(x, x)).sum()


@pytest.mark.parametrize("kind, words", [(Large, "would make"), (Long, "multiplications")])
def test_a_torchscript_program_that_needs_much_is_refused_before_it_runs(kind, words, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that torch would rather have another format
        torch.jit.save(torch.jit.script(kind().eval()), str(tmp_path / "a.pt"))
    teacher = open_teacher(f"torchscript:{tmp_path / 'a.pt'}")
    with pytest.raises(UserError, match=words):
        says(teacher, torch.zeros(1, 2))


def test_links_in_hdf5_files_are_refused(tmp_path):
    for name, link in (("external", h5py.ExternalLink("/etc/passwd", "/a")), ("soft", h5py.SoftLink("/a"))):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file["a"] = np.zeros(3)
            file.create_group("group")["b"] = link
        with pytest.raises(UserError, match="is a link to another place"), hdf5.opened(tmp_path / f"{name}.h5"):
            pass


def test_a_pipe_instead_of_a_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "agent.json")
    with pytest.raises(UserError, match="not a file but a pipe"):
        open_agent(tmp_path)
    with pytest.raises(UserError, match="not a file but a device"):
        read_bounded(Path("/dev/zero"))
    for scheme in ("sb3", "onnx", "torchscript", "cleanrl", "dopamine", "balloon"):
        with pytest.raises(UserError):
            open_teacher(f"{scheme}:{tmp_path / 'agent.json'}")


def test_a_pipe_beside_an_agent_or_among_data_is_no_file_of_theirs(tmp_path, capsys):
    write_zip(tmp_path / "a.zip")
    (tmp_path / "a").mkdir()
    for name in ("a/config.yml", "a.pkl", "other.zip", "ckpt.7", "data", "data.npz", "data.pkl"):
        os.mkfifo(tmp_path / name)
    assert normalises(tmp_path / "a/config.yml") is None and evidence_of(tmp_path / "other.zip") is None
    assert not is_statistics(tmp_path / "a.pkl") and open_teacher(f"sb3:{tmp_path / 'a.zip'}").card.actions == 2
    for name in ("data", "data.npz", "data.pkl"):
        with pytest.raises(SystemExit) as stop:
            main(["inspect", "--data", str(tmp_path / name)])
        assert stop.value.code == 2 and "no data that can be recognised" in capsys.readouterr().err
    for name in ("data", "data.npz", "ckpt.7"):
        with pytest.raises(UserError, match="not a teacher that can be recognised"):
            open_teacher(str(tmp_path / name))
    with pytest.raises(UserError, match="not a file but a pipe"):
        npz.arrays(tmp_path / "data.npz", ("x",), ())


@pytest.mark.parametrize("text, words", [
    ("a: &a [x]\n" + "".join(f"b{k}: &b{k} [*{'a' if k == 0 else f'b{k - 1}'}{', *' + ('a' if k == 0 else f'b{k - 1}')}]\n" for k in range(40)), "aliases"),
    ("a: &a [*a]", "in itself"), ("[" * 5000, "nested"), ("when: 2001-99-99", "not YAML"), ("? [a]\n: b", "for a key"),
    ("a: 1\na: 2", "duplicate key"), ("a: !!python/name:os.system x", "not YAML"), ("a: \"\\ud800\"", "not"), ("- 1", "mapping"),
])  # fmt: skip
def test_yaml_that_asks_for_much_or_is_no_settings_is_one_line(text, words, tmp_path):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(UserError, match=words):
        read_yaml(tmp_path / "a.yaml")


# ---- one strict reader ---------------------------------------------------------------------------------


@pytest.mark.parametrize("text, words", [
    ('{"a": 1, "a": 2}', "twice"), ('"\\ud800"', "surrogates"), ("[" * 100 + "]" * 100, "nested"), ("NaN", "finite"),
    ("1e999", "finite"), ("1" * 60, "digits"), ("9" * 5000, "not JSON"), ("{", "not JSON"), (b"\xff", "not JSON"),
])  # fmt: skip
def test_json_beyond_the_limits_is_one_line(text, words):
    with pytest.raises(UserError, match=words):
        loads(text, "a")


def test_a_field_that_is_missing_or_of_another_kind_is_named():
    record = Record({"a": {"b": "x", "c": True, "d": [1, "2"], "e": 2.5, "f": "0" * 63}}, "run/r.json").record("a")
    for read, words in (
        (lambda: record.integer("b"), "run/r.json: a.b should be a whole number, not 'x'"),
        (lambda: record.number("c"), "a.c should be a finite number, not True"),
        (lambda: record.numbers("d"), "a.d should be a list of finite numbers"),
        (lambda: record.integer("e"), "a.e should be a whole number, not 2.5"),
        (lambda: record.hash("f"), "a.f should be a sha256"),
        (lambda: record.text("g"), "run/r.json has no field 'a.g'"),
        (lambda: record.records("d"), r"a.d\[0\] should be an object, not a number"),
    ):
        with pytest.raises(UserError, match=words):
            read()
    assert record.text("g", "default") == "default" and record.text("b") == "x"


@pytest.mark.parametrize("spoil, words", [
    (lambda c: c.pop("age"), "lacks the column age"), (lambda c: c.update(action=c["action"] + 7), "holds actions up to"),
    (lambda c: c.update(reward=c["reward"].view("V4")), "not numbers"), (lambda c: c.update(flags=c["flags"][:3]), "shape"),
    (lambda c: c.update(age=c["age"] + 1), "before the first row"), (lambda c: c.update(frame=c["frame"][:, :2]), "observations"),
])  # fmt: skip
def test_data_with_right_hashes_and_wrong_columns_are_one_line(spoil, words, tmp_path):
    import hashlib

    path = dataset(tmp_path).path
    columns = {file.stem: np.load(file) for file in path.glob("*.npy")}
    spoil(columns)
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["columns"] = {}
    for name, column in columns.items():
        np.save(path / f"{name}.npy", column)
        digest = hashlib.sha256((path / f"{name}.npy").read_bytes()).hexdigest()
        manifest["columns"][name] = {"dtype": column.dtype.str, "shape": list(column.shape), "sha256": digest}
    manifest["id"] = sha256_json({"spec": manifest["spec"], "columns": manifest["columns"]})
    write_json(path / "manifest.json", manifest)
    gc.collect()
    with pytest.raises(UserError, match=words):
        open_dataset(path)


def test_an_index_without_its_table_is_begun_anew(tmp_path):
    import sqlite3

    with sqlite3.connect(tmp_path / "index.sqlite") as connection:
        connection.execute("PRAGMA user_version = 1")
    said = []
    with Index(tmp_path, said.append) as index:
        assert index.all() == []
    assert "was damaged" in said[0]


def test_a_lineage_of_three_thousand_generations_is_drawn(run, tmp_path):
    names = [f"{k:064x}" for k in range(3000)]
    edges = [[{"role": "teacher", "sha256": name}] for name in names[1:]] + [[]]
    ancestors = {n: {"kind": "agent", "name": "x", "parents": e} for n, e in zip(names, edges, strict=True)}
    prior = {"parents": [{"role": "teacher", "sha256": names[0]}], "ancestors": ancestors}
    edit(run / "agent/agent.json", lambda v: v["about"].update(prior=prior))
    found = lineage_of(str(run), known_places(tmp_path / "store", ()))
    assert len(found.ancestors()) == 3000 and "more, not drawn" in as_text(found)


def test_a_page_draws_the_nearest_of_three_thousand_generations_and_says_how_many_more_there_are(run, tmp_path):
    names = [f"{k:064x}" for k in range(3000)]
    edges = [[{"role": "teacher", "sha256": name}] * 200 for name in names[1:5]]
    edges += [[{"role": "teacher", "sha256": name}] for name in (*names[5:], names[0])]  # at last a circle
    ancestors = {n: {"kind": "agent", "name": "x", "parents": e} for n, e in zip(names, edges, strict=True)}
    prior = {"parents": [{"role": "teacher", "sha256": names[0]}], "ancestors": ancestors}
    edit(run / "agent/agent.json", lambda v: v["about"].update(prior=prior))
    write_done(run)
    write_page([load_run(run)], tmp_path / "index.html", np.random.default_rng(0), "deep")
    text = (tmp_path / "index.html").read_text()
    drawn = text[text.index("What these runs stand on") :]
    assert drawn.count("2,988 more ancestors, further back, are not drawn.") == 2  # to see, and to be read aloud
    assert drawn.count("<rect") == 13 and drawn.count(">teacher</text>") == 12


# ---- text ----------------------------------------------------------------------------------------------


def test_strangers_text_commands_no_terminal_and_no_markup(capsys, monkeypatch):
    monkeypatch.setattr(ui, "errors", ui.SafeConsole(stderr=True, force_terminal=False, width=200))
    ui.note("warning: [/x] a\x1b[2Jb [red]c[/red]")
    said = capsys.readouterr().err
    assert "[/x]" in said and "[red]c[/red]" in said and "\x1b" not in said
    assert clean("a\x1b]0;x\x07b\u202ec") == "a ]0;x b c" and len(clean("x" * 10_000)) == 2000
    assert len(str(UserError("x" * 10_000))) == 2000


def test_cards_let_no_fence_be_closed_and_no_html_through():
    assert fenced("a\n```\n<b>").splitlines()[0] == "````" and markdown("<b> [x](y) `z`") == r"\<b\> \[x\](y) \`z\`"


def test_pushing_an_agent_names_the_places_on_this_machine(tmp_path):
    write_json(
        tmp_path / "agent.json", {"a": "sb3:/home/me/secret project/x.zip", "b": "store:runs/a", "c": "/home/me/y"}
    )
    assert any("/home/me/y" in place for place in addresses_in(tmp_path))
    write_json(tmp_path / "agent.json", {"a": "store:runs/a", "b": "hf:me/agent@abc", "c": "https://x.y/z/w"})
    assert addresses_in(tmp_path) == []


def test_an_export_to_torchscript_holds_no_path_of_this_machine(tmp_path):
    from reincarnate.sharing.export import export

    save_agent(tmp_path / "a", DQN(hidden=(4,)).newborn(spec(TASK), 0), {}, "card")
    export(open_agent(tmp_path / "a"), "torchscript", tmp_path / "a.pt")
    with zipfile.ZipFile(tmp_path / "a.pt") as archive:
        whole = b"".join(archive.read(name) for name in archive.namelist())
    assert b"/home" not in whole and b'.py"' not in whole and str(Path(__file__).parents[1]).encode() not in whole
    assert os.path.dirname(torch.__file__).encode() not in whole
