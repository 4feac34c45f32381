"""What lies in a run's directory while it goes on: sound or passed over, the newest and the best, for one process."""

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from interrupting import at_barrier, essence, resumed, small_run, stopped
from thinning import slow, thinned

from reincarnate.agents.agent import open_agent
from reincarnate.cli import main
from reincarnate.errors import UserError
from reincarnate.files.atomic import sha256_json
from reincarnate.files.lock import Lock
from reincarnate.run import assemble as assembly
from reincarnate.run import checkpoints
from reincarnate.run.checkpoints import Checkpoints
from reincarnate.run.directory import RunDirectory
from reincarnate.run.execute import execute
from reincarnate.studies.matrix import Cell, Study
from reincarnate.studies.runner import run_study
from reincarnate.teachers import open_teacher
from reincarnate.training.evaluate import Evaluation

AT = 4  # of five checkpoints


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("checkpoints")


@pytest.fixture(scope="module")
def whole(folder):
    """A run that was never stopped."""
    execute(small_run(folder), folder / "whole")
    return folder / "whole"


@pytest.fixture(scope="module")
def cut(folder, whole):
    """The same run, stopped after its fourth checkpoint."""
    return stopped(small_run(folder), folder / "cut", AT)


@pytest.fixture
def copy(cut, folder, tmp_path):
    """A copy of that one, to do harm to."""
    return Path(shutil.copytree(cut, tmp_path / "copy"))


# ---- damage ------------------------------------------------------------------------------------------

FILES = {
    "state": "checkpoints/000004/state.json",
    "student": "checkpoints/000004/student.safetensors",
    "sampler": "checkpoints/000004/sampler.safetensors",
    "segment": "replay/000004.safetensors",
    "metrics": "metrics.jsonl",
}


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1 << at % 8
    path.write_bytes(data)


HARMS = {
    "flipped": lambda path: flip(path, path.stat().st_size - 9),
    "cut": lambda path: os.truncate(path, path.stat().st_size - 9),
    "deleted": lambda path: path.unlink(),
}


PAIRS = [(name, harm) for name in FILES for harm in HARMS]
PAIRS.remove(("metrics", "deleted"))  # then no checkpoint is sound


OFTEN = {("state", "flipped"), ("student", "cut"), ("sampler", "deleted"), ("segment", "flipped"), ("metrics", "cut")}


@pytest.mark.parametrize("name, harm", thinned(PAIRS, lambda *pair: pair in OFTEN))
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(name, harm, folder, whole, copy):
    HARMS[harm](copy / FILES[name])
    said = resumed(small_run(folder), copy)
    assert len(said) == 1 and "checkpoint 000004 is damaged" in said[0] and "the one before" in said[0]
    assert essence(copy) == essence(whole)


def test_no_bit_of_a_state_can_be_flipped_unseen(copy):
    own, file = Checkpoints(copy, 2), copy / FILES["state"]
    good, chance = own.open(4).state, random.Random(0)
    content = file.read_bytes()
    for at in chance.sample(range(len(content)), 400):
        flip(file, at)
        with suppress(*checkpoints.DAMAGE):
            assert own.open(4).state == good, f"byte {at}"
        file.write_bytes(content)


@pytest.mark.parametrize("lost", ["metrics.jsonl", "replay/*", "checkpoints/*/state.json"])
def test_a_run_without_any_sound_checkpoint_is_not_touched(lost, folder, copy, capsys):
    for file in copy.glob(lost):
        file.unlink()
    before = sorted(str(path) for path in copy.rglob("*") if path.name != ".lock")
    with pytest.raises(SystemExit) as end:
        main(["resume", str(copy)])
    last = capsys.readouterr().err.replace("\n", " ")
    assert end.value.code == 2 and "no checkpoint is sound" in last and "Traceback" not in last
    assert before == sorted(str(path) for path in copy.rglob("*") if path.name != ".lock")


def test_damage_to_an_older_checkpoint_does_not_stop_a_run(folder, whole, copy):
    (copy / "checkpoints/000003/state.json").write_text("{")
    assert resumed(small_run(folder), copy) == [] and essence(copy) == essence(whole)


def test_a_checkpoint_in_the_form_of_another_version_is_passed_over_with_its_reason(folder, copy):
    file = copy / FILES["state"]
    state = json.loads(file.read_text()) | {"format": 2}
    file.write_text(json.dumps(state))
    assert "has format 2" in resumed(small_run(folder), copy)[0]


# ---- which are kept ----------------------------------------------------------------------------------


@contextmanager
def scripted(scores):
    """Evaluations on the way score what is written here; the final one 0."""

    def scored(run, student, episodes, index, tick=None):
        return Evaluation((float(scores[index]),), 10)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(assembly, "evaluate_student", scored)
        yield


def names(folder: Path) -> list[str]:
    return sorted(path.name.removesuffix(".safetensors") for path in folder.iterdir())


@pytest.mark.parametrize(
    "keep, scores, kept",
    [
        (2, (1, 2, 3, 4, 5), ["000003", "000004"]),
        (1, (1, 9, 3, 4, 5), ["000002", "000004"]),
        (2, (9, 2, 3, 4, 5), ["000001", "000003", "000004"]),
        (1, (-9, -3, -3, -5, -9), ["000003", "000004"]),  # of equals the latest
    ],
)
def test_the_newest_few_are_kept_and_the_best(keep, scores, kept, folder, tmp_path):
    with scripted(scores):
        out = stopped(small_run(folder, keep_checkpoints=keep), tmp_path / "run", AT)
    assert names(out / "checkpoints") == kept
    needed = set()
    for name in kept:
        state = json.loads((out / "checkpoints" / name / "state.json").read_text())
        needed |= {entry["file"].removesuffix(".safetensors") for entry in state["segments"]}
    assert set(names(out / "replay")) == needed
    best = state["training"]["best_barrier"]
    assert f"{best:06d}" in kept and state["training"]["best_score"] == max(scores[:4]) == scores[best - 1]


def test_a_run_can_go_on_from_the_best_where_the_newest_are_gone(folder, tmp_path):
    run, scores = small_run(folder, keep_checkpoints=1), (1, 9, 3, 4, 5)
    with scripted(scores):
        execute(run, tmp_path / "whole")
        out = stopped(run, tmp_path / "run", AT)
        shutil.rmtree(out / "checkpoints/000004")
        resumed(run, out)
    assert essence(out) == essence(tmp_path / "whole")


def test_the_best_agent_is_kept_beside_the_last(folder, tmp_path):
    run, seen = small_run(folder, keep="all"), []
    note = lambda directory, training: seen.append(training.student.weights()["advantage.weight"].clone())
    with scripted((1, 2, 9, 4, 5)), at_barrier(3, note):
        result = execute(run, tmp_path / "run")
    best, last = open_agent(tmp_path / "run/agent-best"), open_agent(tmp_path / "run")
    assert best.network().get_parameter("advantage.weight").equal(seen[0]) and best.sha256 != last.sha256
    assert result["best"] == {
        "evaluation": 3,
        "score": 9.0,
        "env_steps": 80,
        "updates": best.about["updates"],
        "offline_updates": 0,
    }
    assert (best.about["score"], best.about["env_steps"], best.about["evaluation"]) == (9.0, 80, 3)
    assert last.about["env_steps"] == 160 and last.kept and not best.kept  # weights only
    card = (tmp_path / "run/agent-best/card.md").read_text()
    assert "9 over 1 episode, the best evaluation of its run (number 3)" in card and "80 env steps" in card
    address = f"store:{tmp_path / 'run/agent-best'}"
    assert open_teacher(address).card.sha256 == best.sha256
    execute(small_run(folder, teacher=address, env_steps=60, evaluations=1), tmp_path / "next")  # the next generation


def test_an_agent_of_the_best_evaluation_is_kept_only_where_that_was_not_the_last(folder, tmp_path):
    with scripted((1, 5, 3, 4, 5)):
        result = execute(small_run(folder), tmp_path / "run")
    assert result["best"] is None and not (tmp_path / "run/agent-best").exists()


@pytest.mark.parametrize("at", [2, slow(4)])
def test_the_best_agent_does_not_depend_on_where_a_run_was_stopped(at, folder, tmp_path):
    run = small_run(folder, keep_checkpoints=1)
    with scripted((1, 2, 9, 4, 5)):
        stopped(run, tmp_path / "run", at)
        resumed(run, tmp_path / "run")
        execute(run, tmp_path / "whole")
    assert essence(tmp_path / "run") == essence(tmp_path / "whole")


def test_a_best_checkpoint_that_is_damaged_costs_the_best_agent_and_no_more(folder, tmp_path):
    run = small_run(folder)
    with scripted((9, 2, 3, 4, 5)):
        out = stopped(run, tmp_path / "run", AT)
        flip(out / "checkpoints/000001/student.safetensors", 100)
        said = resumed(run, out)
    assert len(said) == 1 and "no " in said[0] and "agent-best" in said[0]
    assert (out / "done").exists() and not (out / "agent-best").exists()


def test_fewer_than_one_checkpoint_is_refused(folder, tmp_path):
    with pytest.raises(UserError, match="--keep-checkpoints must be at least 1, not 0"):
        execute(small_run(folder, keep_checkpoints=0), tmp_path / "run")


def test_checkpoints_without_new_rows_write_no_segment(folder, tmp_path):
    from reincarnate.methods import QDagger

    run = small_run(folder, method=QDagger(offline_updates=40))
    out = stopped(run, tmp_path / "run", 5)  # the offline phase has four evaluations
    assert not (out / "replay").exists()
    resumed(run, out)


# ---- one process -------------------------------------------------------------------------------------

HOLD = "import sys, time\nfrom pathlib import Path\nfrom reincarnate.files.lock import Lock\n"
HOLD += "lock = Lock(Path(sys.argv[1]))\nprint('held', flush=True)\ntime.sleep(60)\n"


def test_a_second_process_gets_one_line_and_a_killed_one_leaves_the_run_free(folder, whole, copy, capsys):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(copy)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    with pytest.raises(SystemExit) as end:
        main(["resume", str(copy)])
    said = capsys.readouterr().err.strip()
    assert end.value.code == 2 and f"is in use: process {holder.pid} writes to it" in said and "\n" not in said
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    assert resumed(small_run(folder), copy) == [] and essence(copy) == essence(whole)


def test_a_run_is_held_from_its_first_moment_to_its_last(folder, tmp_path):
    seen = []

    def look(directory, training):
        with pytest.raises(UserError, match="is in use"):
            Lock(directory.path)
        with pytest.raises(UserError, match="is in use"):
            execute(small_run(folder), directory.path, resume=True)
        seen.append(training.at.barrier)

    with at_barrier(1, look), at_barrier(5, look):
        execute(small_run(folder), tmp_path / "run")
    assert seen == [1, 5] and not (tmp_path / "run/.lock").exists()


def test_of_two_that_make_one_directory_the_second_is_refused(tmp_path):
    first, second = RunDirectory.fresh(tmp_path / "run"), RunDirectory.fresh(tmp_path / "run")
    config = {"prior": {}, "versions": {}, "together": [0]}
    first.create({"first": 1, **config})
    with pytest.raises(UserError, match="exists already"):
        second.create({"second": 2, **config})
    assert first.config == {"format": 1, "first": 1, **config}
    first.close()


CONFIG = {"prior": {}, "versions": {}, "together": [0]}


def killed_while_making(path: Path, monkeypatch) -> Path:
    """What a process leaves that is killed in the last moment before a run has its name."""
    before = set(path.parent.glob(".staging-*"))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("reincarnate.run.directory.publish", lambda *_: signal.raise_signal(signal.SIGINT))
        patch.setattr("shutil.rmtree", lambda *_, **__: None)
        RunDirectory.fresh(path).create(CONFIG)
    (left,) = {*path.parent.glob(".staging-*")} - before
    return left


def test_what_a_process_left_that_was_killed_while_it_made_a_run_goes_as_that_run_is_made_or_resumed(
    tmp_path, monkeypatch
):
    left, used, strange = (killed_while_making(tmp_path / "run", monkeypatch) for _ in range(3))
    other = killed_while_making(tmp_path / "other", monkeypatch)
    born = tmp_path / f"{left.name}0"  # which its process is about to hold
    born.mkdir()
    (strange / "notes.txt").write_text("mine")
    lock = Lock(used)
    run = RunDirectory.fresh(tmp_path / "run")
    run.create(CONFIG)
    assert {*tmp_path.glob(".staging-*")} == {used, strange, other, born}
    with pytest.raises(UserError, match="is in use"):
        Lock(tmp_path / "run")
    lock.release()
    run.close()
    with RunDirectory.reopen(tmp_path / "run") as again:
        again.restore(None)  # pyright: ignore[reportArgumentType]  there is no checkpoint to put back
    assert {*tmp_path.glob(".staging-*")} == {strange, other, born}


def test_a_study_that_runs_is_not_run_twice(folder, tmp_path):
    cells = (Cell(Path("a"), small_run(folder)),)
    study = Study("one", cells, {})
    (tmp_path / "out").mkdir()
    lock = Lock(tmp_path / "out")
    with pytest.raises(UserError, match="is in use"):
        run_study(study, tmp_path / "out", workers=1)
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".lock"]
    lock.release()


# ---- no room, no right -------------------------------------------------------------------------------


@pytest.fixture
def limited():
    """Lets no file grow beyond a size, from when it is called until the test ends."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size, behind", [slow(0, False), (1500, False), slow(3000, False), (1500, True)])
def test_a_file_that_cannot_be_written_stops_the_run_and_leaves_the_last_checkpoint(
    size, behind, folder, whole, tmp_path, limited, monkeypatch
):
    """No metrics; no replay (3 kB a segment); no student (4 kB)."""
    run, free = small_run(folder), resource.getrlimit(resource.RLIMIT_FSIZE)
    if behind:
        monkeypatch.setattr(checkpoints, "BEHIND", 1)
    with at_barrier(3, lambda *_: limited(size)), pytest.raises(UserError, match="the disk is full") as error:
        execute(run, tmp_path / "run")
    assert "\n" not in str(error.value) and str(tmp_path / "run") in str(error.value)
    resource.setrlimit(resource.RLIMIT_FSIZE, free)
    newest = names(tmp_path / "run/checkpoints")[-1]  # the third may still have been on its way
    assert newest in (("000002", "000003") if behind else ("000003",)) and not (tmp_path / "run/done").exists()
    assert resumed(run, tmp_path / "run") == [] and essence(tmp_path / "run") == essence(whole)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of half a megabyte."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    if (
        not mount
        or subprocess.run([mount, "-t", "tmpfs", "-o", "size=512k", "tmpfs", place], capture_output=True).returncode
    ):
        pytest.skip("mounting a small file system is not allowed here")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def fill(place: Path, left: int) -> Path:
    """Take all the room of a file system but for so many bytes."""
    filler = place / "filler"
    free = os.statvfs(place).f_bavail * os.statvfs(place).f_frsize
    filler.write_bytes(bytes(max(0, free - left)))
    return filler


@pytest.mark.parametrize("left", [slow(0), 4096, slow(12288)])
def test_a_full_disk_stops_the_run_with_one_line_and_it_goes_on_once_there_is_room(
    left, folder, whole, small_disk, capsys
):
    run, out = small_run(folder), small_disk / "run"
    with at_barrier(3, lambda *_: fill(small_disk, left)), pytest.raises(UserError, match="the disk is full") as error:
        execute(run, out)
    assert "\n" not in str(error.value)
    with pytest.raises(SystemExit) as end:
        main(["resume", str(out)])  # as full as before
    assert end.value.code == 2 and "the disk is full" in capsys.readouterr().err.replace("\n", " ")
    (small_disk / "filler").unlink()
    assert resumed(run, out) == [] and essence(out) == essence(whole)


def test_an_agent_for_which_there_is_no_room_is_made_after_resuming(folder, whole, small_disk, monkeypatch):
    run, out = small_run(folder), small_disk / "run"
    with at_barrier(5, lambda *_: fill(small_disk, 2048)), pytest.raises(UserError, match="the disk is full"):
        execute(run, out)
    assert not (out / "agent").exists() and not (out / "done").exists()
    (small_disk / "filler").unlink()
    resumed(run, out)
    assert essence(out) == essence(whole)


@contextmanager
def unprivileged(place: Path):
    """Within, nothing in `place` can be written: root, whom permissions do not stop, is somebody else meanwhile."""
    for path in [place, *place.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        for path in [place, *place.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)


@pytest.fixture
def open_folder():
    """One that every user may look into."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_a_directory_that_becomes_read_only_stops_the_run_with_one_line(open_folder, folder, whole):
    run, out = small_run(open_folder), open_folder / "run"
    locked = []

    def lock_out(directory, training):
        locked.append(unprivileged(out))
        locked[0].__enter__()

    try:
        with at_barrier(3, lock_out), pytest.raises(UserError, match=r"cannot write .*ermission denied") as error:
            execute(run, out)
        assert "\n" not in str(error.value)
        with pytest.raises(UserError, match="cannot write"):
            execute(run, out, resume=True)
    finally:
        locked[0].__exit__(None, None, None)
    resumed(run, out)
    assert essence(out)["metrics"] == essence(whole)["metrics"]


def test_a_place_that_cannot_be_written_is_said_before_training(open_folder, folder):
    run = small_run(open_folder)
    execute(run, open_folder / "first")  # the teacher's score is in the store now
    before = sorted(open_folder.iterdir())
    with unprivileged(open_folder), pytest.raises(UserError, match="cannot write"):
        execute(run, open_folder / "second")
    assert before == sorted(open_folder.iterdir())


# ---- what the records say ----------------------------------------------------------------------------


def test_a_state_names_everything_by_its_hash(cut):
    state = json.loads((cut / FILES["state"]).read_text())
    told = state.pop("sha256")
    assert told == sha256_json(state)
    assert {"student_sha256", "sampler_sha256", "metrics_sha256", "config_sha256", "metrics_bytes"} <= state.keys()
    config = json.loads((cut / "config.json").read_text())
    assert config["keep_checkpoints"] == 2 and "keep-checkpoints" not in config["command"]
    assert config["together"] == [0] and config["prior"]["teacher"] and config["prior"]["data"] is None
