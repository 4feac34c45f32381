"""A store knows where things are, whoever writes to it, and gives away only what nothing needs."""

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
from manifests import put, put_agent, put_data, put_run, sha

from reincarnate.cli import main
from reincarnate.errors import UserError
from reincarnate.files.atomic import sha256_json
from reincarnate.store import Index, register
from reincarnate.store.gc import References, orphans
from reincarnate.store.index import NAME, TABLE
from reincarnate.store.lineage import find_agent, known_places
from reincarnate.store.scan import look

STORE = Path(".reincarnate")


@pytest.fixture(autouse=True)
def somewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def places() -> dict[str, tuple[str, str]]:
    with Index(STORE) as index:
        return {str(x.path.relative_to(Path.cwd())): (x.kind, x.sha256) for x in index.all()}


# ---- the index -----------------------------------------------------------------------------------------


def test_a_run_registers_itself_with_its_agent_and_the_data_it_kept():
    run = put_run(Path("out/a"), "a")
    put_data(run / "agent/data", "replay", kind="replay", agent=sha("a"))
    assert register(STORE, run) is None
    assert places() == {
        "out/a": ("run", sha("a")),
        "out/a/agent": ("agent", sha("a")),
        f"out/a/agent/data/{sha('replay')[:16]}": ("data", sha("replay")),
    }


def test_an_unfinished_run_is_known_and_has_no_hash_yet():
    register(STORE, put_run(Path("a"), "a", finished=False))
    assert places() == {"a": ("run", "")}
    with Index(STORE) as index:
        assert not index.all()[0].finished
    register(STORE, put_run(Path("a"), "a"))
    assert places()["a"] == ("run", sha("a"))


def test_an_index_is_made_again_from_manifests_alone(capsys):
    put_run(Path("out/a"), "a")
    put_data(STORE / "data", "played", kind="teacher-data", teacher=sha("a"))
    main(["lineage", "index", "out"])
    before = places()
    assert len(before) == 3
    (STORE / NAME).unlink()
    main(["lineage", "index", "out"])
    assert places() == before
    assert "CartPole-v1" in capsys.readouterr().out


def test_a_moved_folder_is_found_where_it_is_and_a_deleted_one_forgotten(capsys):
    register(STORE, put_run(Path("out/a"), "a"))
    register(STORE, put_run(Path("out/b"), "b"))
    Path("out/a").rename("elsewhere")
    shutil.rmtree("out/b")
    main(["lineage", "index", "elsewhere"])
    told = " ".join(capsys.readouterr().err.split())
    assert "out/a is gone; it is" in told and "out/b is gone, and is forgotten" in told
    assert set(places()) == {"elsewhere", "elsewhere/agent"}


def test_manifests_that_are_damaged_or_not_ours_are_passed_over():
    put(Path("x/config.json"), {"model_type": "bert"})
    put(Path("y/manifest.json"), {"kind": "something else"})
    put_agent(Path("torn"), "t")
    Path("torn/agent.json").write_text('{"kind": "agent", "sha')
    put(Path("liar/agent.json"), {"kind": "agent", "sha256": "no hash", "about": 3})
    Path("list").mkdir()
    Path("list/agent.json").write_text("[1]")
    told: list[str] = []
    assert look(Path("torn"), told.append) == look(Path("liar"), told.append) == []
    assert "torn/agent.json" in told[0] and "liar/agent.json: a sha256 was expected" in told[1]
    main(["lineage", "index", "."])
    assert places() == {}


WRITER = """
import sys
from pathlib import Path
from reincarnate.store import register
for folder in sorted(Path(sys.argv[1]).iterdir()):
    failure = register(Path("store"), folder)
    assert failure is None, failure
"""


def test_two_processes_that_write_at_once_lose_nothing():
    for name in ("left", "right"):
        for i in range(8):
            put_run(Path(name) / f"{i}", f"{name} {i}")
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, name]) for name in ("left", "right")]
    assert [writer.wait(timeout=120) for writer in writers] == [0, 0]
    with Index(Path("store")) as index:
        found = {x.sha256 for x in index.all() if x.kind == "agent"}
    assert found == {sha(f"{name} {i}") for name in ("left", "right") for i in range(8)}


def test_a_writer_waits_for_one_that_is_busy():
    put_run(Path("a"), "a")
    register(STORE, Path("a"))
    other = sqlite3.connect(STORE / NAME, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    threading.Timer(0.3, lambda: other.execute("COMMIT")).start()
    start = time.perf_counter()
    assert register(STORE, put_run(Path("b"), "b")) is None
    assert time.perf_counter() - start > 0.2 and "b" in places()
    other.close()


@pytest.mark.parametrize("damage", [b"this is no database at all, whatever its name says" * 30, None])
def test_a_damaged_index_is_put_aside_and_said_so(damage):
    register(STORE, put_run(Path("a"), "a"))
    file = STORE / NAME
    file.write_bytes(damage or file.read_bytes()[:2048] + bytes(6144))
    told: list[str] = []
    with Index(STORE, told.append) as index:
        assert index.all() == []
    assert len(told) == 1 and "damaged" in told[0] and list(STORE.glob(f"{NAME}.damaged-*"))


ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT "
VIEW = f"CREATE VIEW place AS {ENDLESS} '/x' || i path, 'agent' kind, 'x' sha256, '' task, '' words FROM n"
TRIGGER = f"CREATE TRIGGER busy AFTER DELETE ON place BEGIN INSERT INTO place {ENDLESS} i, '', '', '', '' FROM n; END"
LARGE = TABLE.replace("words TEXT NOT NULL", "words TEXT AS (printf('%.*c', 900000000, 'x'))")


@pytest.mark.parametrize("version", [0, 1])
@pytest.mark.parametrize("made", [(VIEW,), (TABLE, TRIGGER), (LARGE,), (TABLE, "CREATE TABLE more (x)")])
def test_an_index_that_would_run_a_strangers_query_is_put_aside(made, version):
    STORE.mkdir()
    with closing(sqlite3.connect(STORE / NAME)) as connection:
        for line in (*made, f"PRAGMA user_version = {version}"):
            connection.execute(line)
        connection.commit()
    told: list[str] = []
    with Index(STORE, told.append) as index:
        assert index.all() == []
    assert len(told) == 1 and "not our table alone" in told[0] and list(STORE.glob(f"{NAME}.damaged-*"))


def test_an_index_of_more_places_than_anybody_has_is_put_aside(monkeypatch):
    register(STORE, put_run(Path("a"), "a"))
    told: list[str] = []
    for most, left in ((2, 2), (1, 0)):
        monkeypatch.setattr("reincarnate.files.limits.PLACES", most)
        with Index(STORE, told.append) as index:
            assert len(index.all()) == left
    assert len(told) == 1 and "over 1 places" in told[0]


def test_a_run_does_not_fail_for_an_index_that_cannot_be_written():
    Path("file").write_text("")
    failure = register(Path("file"), put_run(Path("a"), "a"))
    assert failure is not None and "reincarnate lineage index a" in failure


def test_an_agent_is_found_by_the_first_digits_of_its_hash():
    register(STORE, put_run(Path("out/a"), "a"))
    found = known_places(STORE, ())
    assert find_agent(sha("a")[:8], found) == Path.cwd() / "out/a/agent"
    with pytest.raises(UserError, match="no indexed agent has a hash that begins with 000000"):
        find_agent("000000", found)
    with pytest.raises(UserError, match="is no agent"):
        find_agent("nowhere", found)
    put_run(Path("b"), "b", finished=False)
    with pytest.raises(UserError, match="not finished"):
        find_agent("b", found)


def test_looking_changes_nothing():
    put_run(Path("a"), "a")
    known_places(STORE, [Path("a")])
    assert not STORE.exists()


# ---- gc ------------------------------------------------------------------------------------------------


def put_score(who: str, task: str = "CartPole-v1") -> Path:
    request = {"kind": "score", "who": who, "protocol": {"env": task}, "episodes": 3, "seed": 0}
    path = STORE / "scores" / f"{sha256_json(request)[:16]}.json"
    put(path, {"request": request, "returns": [1.0], "env_steps": 3})
    return path


@pytest.mark.parametrize("played", ["MinAtar/Breakout-v1,MinAtar/Asterix-v1", "Balloon/Station-v0?wind=simplex"])
def test_scores_of_tasks_that_are_played_beside_others_or_with_settings_are_kept(played):
    pieces = [piece.partition("?")[0] for piece in played.split(",")]
    for piece in pieces:
        put_score("random", piece)
    refers = References()
    assert len(orphans(STORE, refers, 0)) == len(pieces)
    refers.play(played)
    assert orphans(STORE, refers, 0) == []


def put_request(data: str) -> Path:
    request = {"kind": "teacher-data", "teacher": sha("t")}
    path = STORE / "requests" / f"{sha(data)[:16]}.json"
    put(path, {"request": request, "data": sha(data)})
    return path


def put_logits(data: str, teacher: str) -> Path:
    path = STORE / "logits" / f"{sha256_json({'kind': 'logits', 'data': sha(data), 'teacher': sha(teacher)})[:16]}.npy"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"rows")
    return path


def grow_old(days: float) -> None:
    for path in STORE.rglob("*"):
        then = time.time() - days * 86_400
        os.utime(path, (then, then), follow_symlinks=False)


@pytest.fixture
def store():
    """What a run needs, by name "needed", and what none does; old enough to go."""
    needed = [
        put_data(STORE / "data", "needed"), put_request("needed"), put_score(sha("t")), put_score("random"),
        put_logits("needed", "t"),
    ]  # fmt: skip
    useless = [
        put_data(STORE / "data", "useless"), put_request("useless"), put_score(sha("nobody")),
        put_score("random", "Acrobot-v1"), put_logits("useless", "t"),
    ]  # fmt: skip
    grow_old(30)
    return needed, useless


def exist(paths: list[Path]) -> set[bool]:
    return {path.exists() for path in paths}


@pytest.mark.parametrize("finished", [True, False])
def test_what_a_run_stands_on_stays_whether_or_not_it_is_finished(store, finished, capsys):
    needed, useless = store
    put_run(Path("out/a"), "a", finished, teacher=sha("t"), data=sha("needed"))
    main(["gc", "--dry-run"])
    assert exist(needed) == exist(useless) == {True}
    told = capsys.readouterr().out
    assert all(path.name in told for path in useless) and not any(path.name in told for path in needed)
    assert "5 would be deleted" in told
    main(["gc"])
    assert exist(needed) == {True} and exist(useless) == {False}
    assert "5 deleted" in capsys.readouterr().out


def test_what_is_young_stays_unless_all_is_said(store, capsys):
    needed, useless = store
    put_run(Path("out/a"), "a", teacher=sha("t"), data=sha("needed"))
    grow_old(6)
    main(["gc"])
    assert exist(useless) == {True}
    main(["gc", "--days", "5", "--dry-run"])
    assert "5 would be deleted" in capsys.readouterr().out
    main(["gc", "--all"])
    assert exist(needed) == {True} and exist(useless) == {False}


def test_ancestors_of_agents_that_exist_count_even_where_their_own_agents_are_gone(store):
    needed, useless = store
    grandparent = {
        sha("d"): {"kind": "agent", "parents": [{"role": "data", "sha256": sha("needed")}]},
        sha("t"): {"kind": "teacher", "parents": []},
    }
    put_agent(
        Path("kept"), "kept", prior={"parents": [{"role": "teacher", "sha256": sha("d")}], "ancestors": grandparent}
    )
    main(["gc"])
    assert exist(needed) == {True} and exist(useless) == {False}


def test_what_a_study_has_pinned_stays_for_the_runs_it_has_not_begun(store):
    needed, useless = store
    pins = {"CartPole-v1": {"teacher": {"x.zip": sha("t")}, "data": {"x.zip, greedy": sha("needed")}}}
    put(Path("out/study/study.json"), {"kind": "study", "title": "s", "pins": pins})
    main(["gc"])
    assert exist(needed) == {True} and exist(useless) == {False}


def test_runs_elsewhere_count_where_they_are_named_or_known(tmp_path_factory, store):
    needed, _ = store
    put_run(Path("here"), "here")
    run = put_run(tmp_path_factory.mktemp("other") / "a", "a", teacher=sha("t"), data=sha("needed"))
    main(["gc", "--roots", str(run)])
    main(["gc"])  # it is known from now on
    assert exist(needed) == {True}
    shutil.rmtree(run)
    main(["gc"])
    assert not needed[0].exists()


def test_nothing_outside_the_store_and_nothing_strange_in_it_is_touched(store, tmp_path_factory):
    outside = put_data(tmp_path_factory.mktemp("outside"), "outside")
    put_run(Path("a"), "a")
    (STORE / "data" / sha("outside")[:16]).symlink_to(outside)
    (STORE / "data" / "notes.txt").write_text("mine")
    put(STORE / "data" / "another-name" / "manifest.json", {"kind": "dataset", "id": sha("x"), "about": {}})
    put(STORE / "preferences" / "x.json", {})
    kept = [
        outside / "manifest.json",
        STORE / "data/notes.txt",
        STORE / "data/another-name",
        STORE / "preferences/x.json",
    ]
    grow_old(30)
    main(["gc", "--all"])
    assert exist(kept) == {True} and (STORE / "data" / sha("outside")[:16]).is_symlink()


def test_leftovers_of_killed_processes_go_but_not_those_of_today(store):
    put_run(Path("a"), "a")
    (STORE / "data" / ".staging-old").mkdir()
    grow_old(3)
    (STORE / "data" / ".staging-new").mkdir()
    main(["gc", "--all"])
    assert [path.name for path in (STORE / "data").iterdir()] == [".staging-new"]


def test_a_store_that_knows_no_run_is_left_alone(store, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["gc", "--all"])
    assert stop.value.code == 2 and "knows of no run or agent" in capsys.readouterr().err
    assert exist([path for paths in store for path in paths]) == {True}


@pytest.mark.parametrize("args, words", [
    (["gc", "--store", "nowhere"], "there is no such store"),
    (["gc", "--days", "-1"], "--days must not be negative"),
    (["gc", "--dry-run", "--days", "nan"], "--days must not be negative: nan"),
    (["lineage", "index", "nowhere"], "nowhere is not a folder"),
    (["lineage", "out/a"], "lineage needs a verb"),
    (["lineage", "show", "a", "--roots", "nowhere"], "--roots nowhere is not a folder"),
])  # fmt: skip
def test_bad_input_is_one_line(args, words, capsys):
    with pytest.raises(SystemExit) as stop:
        main(args)
    error = capsys.readouterr().err.strip()
    assert stop.value.code == 2 and words in error and len(error.splitlines()) == 1
    assert not list(Path.cwd().iterdir())


def test_help_teaches(capsys):
    main(["lineage"])
    usage = capsys.readouterr().out
    assert all(f"lineage {verb}" in usage for verb in ("show", "verify", "diff", "index"))
    for args in (["lineage", "show"], ["lineage", "verify"], ["lineage", "diff"], ["lineage", "index"], ["gc"]):
        with pytest.raises(SystemExit) as stop:
            main([*args, "--help"])
        assert stop.value.code == 0 and "--store" in capsys.readouterr().out


def test_the_index_is_small_and_plain():
    register(STORE, put_run(Path("a"), "a"))
    rows = sqlite3.connect(STORE / NAME).execute("SELECT kind, sha256, task, words FROM place ORDER BY path").fetchall()
    assert rows == [
        ("run", sha("a"), "CartPole-v1", "scratch, seed 0"),
        ("agent", sha("a"), "CartPole-v1", "scratch, dqn"),
    ]
