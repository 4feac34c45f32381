"""What makes the first ten minutes short: numbers as people write them, JSON for programs, help, completion, Ctrl-C."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import reincarnate as rc
from reincarnate import ui
from reincarnate.cli import commands, main
from reincarnate.cli.parsing import cli, in_a_line, whole_number
from reincarnate.methods import METHODS
from reincarnate.priors.weights import open_weights
from reincarnate.students import STUDENTS

TINY = ["--env", "CartPole-v1", "--evaluations", "2", "--eval-episodes", "2", "--final-episodes", "2"]
TINY += ["--reference-episodes", "3", "--student.hidden", "8", "--student.warmup", "20", "--student.batch-size", "8"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run of 120 env steps, its number written as 1.2e2."""
    out = tmp_path_factory.mktemp("made") / "run"
    store = str(out.parent / "store")
    main(["train", "scratch", *TINY, "--env-steps", "1.2e2", "--store", store, "--out", str(out), "--quiet"])
    return out


@pytest.mark.parametrize(("text", "value"), [("1e5", 100_000), ("20_000", 20_000), ("3,000", 3000), ("-7", -7)])
def test_whole_numbers_are_read_as_people_write_them(text, value):
    assert whole_number(text) == value


@pytest.mark.parametrize("text", ["1.5", "1e-3", "inf", "ten"])
def test_what_is_no_whole_number_is_refused(text):
    with pytest.raises((ValueError, OverflowError)):
        whole_number(text)


def test_evaluate_inspect_and_compare_print_json(run, tmp_path, capsys):
    assert json.loads((run / "config.json").read_text())["env_steps"] == 120
    agent = f"store:{run}"
    capsys.readouterr()
    main(["evaluate", agent, "--episodes", "3", "--json"])
    scored = json.loads(capsys.readouterr().out)
    assert scored["score"] == pytest.approx(sum(scored["returns"]) / 3) and len(scored["interval"]) == 2
    main(["inspect", agent, "--env", "CartPole-v1", "--episodes", "3", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["evaluation"]["score"] == scored["score"]  # the same streams
    assert told["card"]["tells"] == "values" and len(told["action_gap"]) == 3 and told["choices"] == 2
    main(["compare", str(run), "--out", str(tmp_path / "page"), "--json"])
    assert json.loads(capsys.readouterr().out)["rows"][0]["env"] == "CartPole-v1"


def test_quiet_says_warnings_and_neither_progress_nor_notes(monkeypatch, capsys):
    for quiet, lines in [(False, ["a note", "warning: hot", "half"]), (True, ["warning: hot"])]:
        monkeypatch.setattr(ui, "quiet", quiet)
        ui.note("a note")
        ui.note("warning: hot")
        ui.plain("half")
        assert capsys.readouterr().err.splitlines() == lines


def test_help_of_train_tells_every_method_and_student_in_a_line(capsys):
    main(["train", "--help"])
    lines = capsys.readouterr().out.splitlines()
    for name in (*METHODS, *STUDENTS):
        (line,) = [x for x in lines if x.split()[:1] == [name]]
        assert len(line.split()) > 3 and len(line) <= 120


def test_completion_knows_commands_methods_and_flags():
    from reincarnate.cli.completion import _bash

    script = _bash({"": ["train", "inspect"], "train": ["qdagger", "--env-steps"], "inspect": ["--json"]})
    asked = "COMP_WORDS=(reincarnate {}); COMP_CWORD={}; _reincarnate; echo ${{COMPREPLY[@]}}"
    for words, at, expected in [("tr", 1, "train"), ("train qd", 2, "qdagger"), ("inspect --j", 2, "--json")]:
        done = subprocess.run(["bash", "-c", script + asked.format(words, at)], capture_output=True, text=True)
        assert done.stdout.split() == [expected]


def test_flags_of_a_command_are_found_without_running_it():
    from reincarnate.cli.evaluate import evaluate
    from reincarnate.cli.parsing import flags_of

    assert {"--env", "--episodes", "--json"} <= set(flags_of(evaluate, []))


def test_an_interruption_tells_the_exact_command_that_goes_on(tmp_path):
    args = ["train", "scratch", *TINY, "--env-steps", "1e7", "--evaluations", "1000", "--out", "my run"]
    heeds = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # whatever started the tests may have made it deaf
    process = subprocess.Popen(
        [sys.executable, "-m", "reincarnate", *args], cwd=tmp_path, stderr=subprocess.PIPE, text=True, preexec_fn=heeds
    )
    waited = time.monotonic() + 60
    while not list(tmp_path.glob("my run/checkpoints/*")) and time.monotonic() < waited:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=30)[1].strip().splitlines()[-1]
    assert said == "interrupted; to go on from the last checkpoint: reincarnate resume 'my run'"
    assert process.returncode in (130, -signal.SIGINT)  # a shell says 130 of both
    assert Path(tmp_path, "my run", "config.json").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_that_is_lost_on_its_way_ends_the_command_all_the_same(number, monkeypatch, capsys):
    def command(args):
        with pytest.raises(KeyboardInterrupt):  # as a library does that guards an import
            signal.raise_signal(number)
        with ui.Bars() as tick:
            tick("training", 1, 2)

    monkeypatch.setattr(commands, "command_of", lambda name: command)
    before = signal.getsignal(signal.SIGINT), signal.getsignal(number)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(SystemExit) as ended:
            commands.main(["demo"])
    finally:
        signal.signal(signal.SIGINT, before[0])
    assert ended.value.code == 128 + number and signal.getsignal(number) == before[1] and ui.ending is None
    assert "the same command continues" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--version", "--help"])
def test_version_and_help_load_neither_torch_nor_gymnasium(flag):
    code = (
        f"import sys; from reincarnate.cli import main; main([{flag!r}]);"
        "assert not {'torch', 'gymnasium', 'tyro', 'matplotlib'} & sys.modules.keys()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_shipped_agent_is_found_by_name_from_any_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    teacher = rc.open_teacher("prior:minatar-breakout-dqn")
    assert teacher.card.env == "MinAtar/Breakout-v1"
    assert open_weights("prior:minatar-breakout-dqn").sha256 == teacher.card.sha256
    main(["lineage", "verify", "prior:minatar-breakout-dqn"])
    assert "sound" in capsys.readouterr().out
    for name in ("x", "", "../priors/minatar-breakout-dqn"):
        with pytest.raises(rc.UserError, match=r"minatar-breakout-dqn|names no teacher"):
            rc.open_teacher(f"prior:{name}")


def test_the_line_is_the_same_in_a_terminal_that_draws_boxes():
    drawn = ["╭─ Value error ─╮", "│ Error parsing --env-steps: '1e5x' is no whole number │", "│ ─────── │"]
    plain = [
        " Value error  ",
        " ------------ ",
        "  Error parsing --env-steps: '1e5x' is no whole number ",
        "  ------- ",
    ]
    for box, end in ((drawn, "╰───────╯"), (plain, "")):
        told = in_a_line("\n".join([*box, "Argument helptext:", "    --env-steps INT", end]))
        assert told == "Error parsing --env-steps: '1e5x' is no whole number"


def test_several_whole_numbers_may_be_parted_by_commas_and_one_may_have_them_at_thousands():
    def widths(hidden: tuple[int, ...] = (), steps: int = 0) -> tuple[tuple[int, ...], int]:
        return hidden, steps

    for given in (["128,128"], ["128", "128"]):
        assert cli(widths, ["--hidden", *given, "--steps", "20,000"], "widths") == ((128, 128), 20_000)
    with pytest.raises(rc.UserError, match="'64,64' is no whole number"):
        cli(widths, ["--steps", "64,64"], "widths")


@pytest.mark.parametrize(
    "args, said",
    [
        (["--env-steps", "1e5x"], "Error parsing --env-steps: '1e5x' is no whole number"),
        (["--video", "sometimes"], "invalid choice 'sometimes' for argument '--video'"),
        (["--evaluation", "3"], "did you mean --evaluations?"),
        (["--out"], "Missing value for argument '--out'"),
        (["--frame-stack", "--seed", "3"], "--frame-stack needs a value: N"),
        (["--wrapper", "gymnasium.wrappers:RescaleAction"], "RescaleAction cannot be put around it: TypeError"),
    ],
)
def test_a_flag_that_cannot_be_read_is_one_line(args, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(["train", "scratch", "--env", "own_tasks:Plain", *args])
    told = capsys.readouterr()
    assert stop.value.code == 2 and told.err.startswith("error: ") and len(told.err.strip().splitlines()) == 1
    assert said in told.err and not list(tmp_path.iterdir())


def test_a_single_episode_has_no_interval():
    assert ui.with_interval(30, (30, 30), 1) == "30 in one episode, which has no interval"
    assert ui.with_interval(30, (20, 40), 2) == "30  95 % [20, 40] over 2 episodes"
