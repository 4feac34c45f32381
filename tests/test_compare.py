"""Finished runs are read, compared only where that is fair, and reported whole."""

import io
import json
import re
import warnings
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from rich.console import Console

from reincarnate.errors import UserError
from reincarnate.report import (
    as_json,
    as_markdown,
    as_rich,
    check_comparable,
    compare,
    figure,
    headline,
    load_published,
    load_run,
    load_runs,
    summarise,
)
from reincarnate.report.areas import area, areas
from reincarnate.report.curves import SECONDS, UPDATES, panels
from reincarnate.report.lineage import with_priors
from reincarnate.report.palette import COLOURS, styles
from reincarnate.report.picture import height_for, place_labels
from reincarnate.store.nodes import AGENT, Node, exact, record

RANDOM, TEACHER = -495.0, -90.0
OFFLINE = {"qdagger": 10_000, "kickstart": 0, "scratch": 0}
FINAL = {"qdagger": 1.03, "kickstart": 0.9, "scratch": 0.55}


def fake_run(
    root: Path,
    method: str = "qdagger",
    seed: int = 0,
    env: str = "Acrobot-v1",
    config=None,
    result=None,
    done=True,
) -> Path:
    """A directory like a finished run's; `config` and `result` replace fields, dotted names reach inside."""
    rng = np.random.default_rng([seed, *method.encode()])
    path = root / f"{env}-{re.sub('[^a-z]', '', method)}-{seed}"
    path.mkdir(parents=True)
    final = FINAL.get(method, 0.7) + 0.04 * rng.standard_normal()
    evaluations = _fake_curve(method, final, rng)
    score = RANDOM + final * (TEACHER - RANDOM)
    prior = {"teacher": None if method == "scratch" else "t" * 64}
    prior["data"] = "d" * 64 if method == "qdagger" else None
    command = f"reincarnate train --env {env} --method {method} --seed {seed}"
    _write(path / "config.json", config, {
        "format": 1, "env": env, "seed": seed, "env_steps": 20_000, "eval_episodes": 20, "command": command,
        "method": {"name": method, "temperature": 1.0}, "student": {"name": "dqn"}, "teacher": "sb3:teacher.zip",
    })  # fmt: skip
    _write(path / "result.json", result, {
        "format": 1, "method": method, "env": env, "seed": seed, "env_steps": 20_000, "updates": 5000,
        "offline_updates": OFFLINE.get(method, 0), "seconds": 41.2 + seed, "score": score, "normalised": final,
        "returns": (score + 9 * rng.standard_normal(20)).tolist(),
        "protocol": {"time_limit": 500, "frame_skip": 1}, "protocol_hash": "p" * 64,
        "prior": {**prior, "data_env_steps": 10_000 if prior["data"] else 0},
        "reference": {"random": {"mean": RANDOM, "low": -499.0, "high": -488.0, "episodes": 100},
                      "teacher": {"mean": TEACHER, "low": -97.0, "high": -84.0, "episodes": 100}},
        "plan": ["offline: 10000 updates on prior data", "online: 20000 env steps"][not OFFLINE.get(method):],
        "teacher_env_steps": 0, "eval_env_steps": 12_345, "versions": {"reincarnate": "0.1.0", "torch": "2.9"},
    })  # fmt: skip
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in evaluations))
    if done:
        (path / "done").touch()
    return path


def _write(path: Path, changes: dict | None, record: dict) -> None:
    for name, value in (changes or {}).items():
        *parents, last = name.split(".")
        inner = record
        for key in parents:
            inner = inner[key]
        inner[last] = value
    path.write_text(json.dumps(record))


def _fake_curve(method: str, final: float, rng: np.random.Generator) -> list[dict]:
    offline, lines = OFFLINE.get(method, 0), [{"kind": "train", "loss": float("nan")}]
    start = 0.75 if offline else 0.0

    def line(phase: str, env_steps: int, updates: int, value: float) -> dict:
        value = float(value + 0.03 * rng.standard_normal())
        score = RANDOM + value * (TEACHER - RANDOM)
        return {"kind": "eval", "phase": phase, "env_steps": env_steps, "updates": updates, "seconds": 1.0,
                "score": score, "normalised": value, "low": score - 5, "high": score + 5, "lambda": None}  # fmt: skip

    for u in range(0, offline + 1, 1000) if offline else ():
        lines.append(line("offline", 0, u, start * (1 - np.exp(-u / 2500))))
    for steps in range(2000, 20_001, 2000):
        rise = 1 - np.exp(-steps / 6000)
        lines.append(line("online", steps, offline + steps // 4, start + (final - start) * rise))
    return lines


@pytest.fixture
def study(tmp_path) -> Path:
    """Three methods by five seeds."""
    for method in FINAL:
        for seed in range(5):
            fake_run(tmp_path / "runs", method, seed)
    return tmp_path / "runs"


def quiet(note: str) -> None:
    """For `compare`, where notes are not the subject."""


def rows_of(root: Path) -> dict:
    return {row.method: row for row in compare([root], None, tell=quiet)}


# ---- loading -----------------------------------------------------------------------------------------


def test_a_folder_is_searched_for_runs_and_none_counts_twice(study):
    loaded = load_runs([study, study / "Acrobot-v1-qdagger-0"])
    assert len(loaded.runs) == 15 and not loaded.unfinished and not loaded.note
    assert [run.path for run in loaded.runs] == sorted(run.path for run in loaded.runs)


def test_an_agent_inside_a_run_is_not_taken_for_a_run(tmp_path):
    agent = fake_run(tmp_path) / "agent"
    agent.mkdir()
    (agent / "config.json").write_text("{}")
    assert len(load_runs([tmp_path]).runs) == 1


def test_unfinished_runs_are_left_out_and_named(study):
    stuck = fake_run(study, seed=9, done=False)
    with pytest.warns(UserWarning, match="left out, not finished.*qdagger-9"):
        rows = compare([study], None)
    assert next(row for row in rows if row.method == "qdagger").seeds == 5
    with pytest.raises(UserError, match="qdagger-9"):
        load_runs([stuck])
    with pytest.raises(UserError, match="not a finished run"):
        load_run(stuck)


def test_links_to_runs_elsewhere_are_passed_over_and_named(tmp_path):
    here, there = tmp_path / "here", fake_run(tmp_path / "there", seed=1)
    own = fake_run(here)
    (here / "newest").symlink_to(own.name)  # what is counted anyway needs no word
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compare([here], None)
    (here / "other").symlink_to(there)
    told = []
    assert compare([here], None, tell=told.append)[-1].seeds == 1
    assert told == [f"links are not followed (1): {here / 'other'}"]
    assert compare([here, there.parent], None, tell=told.append)[-1].seeds == 2 and len(told) == 1
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare/other").symlink_to(there)
    with pytest.raises(UserError, match=r"no run in .*bare: .*; links are not followed \(1\): .*other"):
        load_runs([tmp_path / "bare"])


@pytest.mark.parametrize("name", ["config.json", "result.json", "metrics.jsonl"])
def test_a_missing_or_torn_file_is_named(tmp_path, name):
    path = fake_run(tmp_path)
    whole = (path / name).read_text()
    (path / name).write_text(whole[: len(whole) - 30])
    with pytest.raises(UserError, match=name):
        load_run(path)
    (path / name).unlink()
    with pytest.raises(UserError, match=name):
        load_run(path)


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"score": float("nan")}, "score is nan"),
        ({"returns": [1.0, float("inf")]}, "returns is inf"),
        ({"score": None}, "score is None"),
        ({"format": 2}, "has format 2"),
        ({"reference": {"teacher": None}}, "no field 'reference.random.mean'"),
    ],
)
def test_a_result_that_cannot_be_counted_is_refused(tmp_path, changes, words):
    with pytest.raises(UserError, match=re.escape(words)):
        load_run(fake_run(tmp_path, result=changes))


def test_no_runs_at_all_is_an_error(tmp_path):
    with pytest.raises(UserError, match="no run in"):
        load_runs([tmp_path])
    with pytest.raises(UserError, match="not a directory"):
        load_runs([tmp_path / "nowhere"])
    with pytest.raises(UserError, match="no finished run"):
        load_runs([])


def test_settings_that_differ_make_two_methods_of_one_name(tmp_path):
    fake_run(tmp_path / "a", seed=0)
    fake_run(tmp_path / "b", seed=0, config={"method.temperature": 0.5})
    labels = [run.label for run in load_runs([tmp_path]).runs]
    assert labels == ["qdagger (temperature=1.0)", "qdagger (temperature=0.5)"]


def test_students_of_different_kinds_are_named_by_their_kind_and_by_settings_only_among_their_like(tmp_path):
    td3, ppo = {"name": "td3", "lr": 3e-4, "actor_every": 2}, {"name": "ppo", "lr": 1e-3, "clip": 0.2}
    fake_run(tmp_path / "a", seed=0, config={"student": td3})
    fake_run(tmp_path / "b", seed=0, config={"student": ppo})
    assert [run.label for run in load_runs([tmp_path]).runs] == ["qdagger (student td3)", "qdagger (student ppo)"]
    fake_run(tmp_path / "c", seed=0, config={"student": {**ppo, "clip": 0.1}, "method.temperature": 0.5})
    told = ["student ppo, student.clip=0.2, temperature=1.0", "student ppo, student.clip=0.1, temperature=0.5"]
    assert [run.label for run in load_runs([tmp_path]).runs] == [f"qdagger ({x})" for x in ["student td3", *told]]


# ---- refusing ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "where, field, value, told",
    [
        ("result", "prior.teacher", "x" * 64, "prior.teacher"),
        ("result", "prior.data", "x" * 64, "prior.data"),
        ("result", "protocol.time_limit", 200, "protocol.time_limit"),
        ("result", "protocol_hash", "x" * 64, "protocol_hash"),
        ("result", "env_steps", 40_000, "env_steps"),
        ("config", "eval_episodes", 5, "eval_episodes"),
        ("result", "reference.random.mean", -400.0, "reference.random"),
        ("result", "reference.teacher.mean", -99.0, "reference.teacher"),
    ],
)
def test_runs_that_differ_in_more_than_method_and_seed_are_refused(study, where, field, value, told):
    odd = fake_run(study, seed=7, **{where: {field: value}})
    with pytest.raises(UserError, match=re.escape(f"{told} differs")) as error:
        compare([study], None)
    assert str(odd) in str(error.value) and str(value)[:9] in str(error.value)


@pytest.mark.parametrize(("seed", "told"), [(-1, "must not be negative: -1"), (2**63, "must be below 2.63")])
def test_a_seed_that_nothing_can_be_drawn_from_is_refused(study, seed, told):
    with pytest.raises(UserError, match=f"seed {told}"):
        compare([study], None, seed=seed)


def test_what_goes_by_one_name_is_one_thing(tmp_path):
    for seed, weight in ((0, 0.5), (1, 3.0)):
        method = {"label": "mine", "method": {"name": "qdagger", "weight": weight}}
        fake_run(tmp_path, seed=seed, config=method)
    older = {"label": "mine", "method": {"name": "qdagger"}}  # of before there was such a setting
    fake_run(tmp_path, seed=2, config=older)
    with pytest.raises(UserError, match=r"cannot be compared, weight within 'mine' differs: 0.5 in .*; 3.0 in "):
        check_comparable(load_runs([tmp_path]).runs)
    check_comparable(load_runs([tmp_path / f"Acrobot-v1-qdagger-{seed}" for seed in (0, 2)]).runs)


def test_the_same_seed_twice_is_refused(tmp_path):
    fake_run(tmp_path / "a", seed=3)
    fake_run(tmp_path / "b", seed=3)
    with pytest.raises(UserError, match="seed 3 of qdagger on Acrobot-v1 is there twice"):
        compare([tmp_path], None)


def test_tasks_need_not_share_a_protocol(tmp_path):
    fake_run(tmp_path, seed=0)
    fake_run(tmp_path, seed=0, env="CartPole-v1", result={"protocol_hash": "x", "env_steps": 7})
    check_comparable(load_runs([tmp_path]).runs)


def test_scratch_goes_with_any_prior_and_is_normalised_by_it(tmp_path):
    fake_run(tmp_path, "qdagger")
    fake_run(tmp_path, "scratch", 0, result={"normalised": None, "reference.teacher": None, "score": -292.5})
    assert rows_of(tmp_path)["scratch"].score.point == pytest.approx(0.5)


# ---- summarising -------------------------------------------------------------------------------------


def test_the_teacher_is_one_and_the_random_policy_zero_with_their_own_intervals(study):
    rows = compare([study], None)
    assert [row.method for row in rows] == ["teacher", "random", "qdagger", "kickstart", "scratch"]
    teacher, random = rows[0].score, rows[1].score
    assert (teacher.point, random.point) == (1.0, 0.0)
    assert teacher.low == pytest.approx((-97 + 495) / 405) and random.high == pytest.approx(7 / 405)


def test_a_single_seed_has_no_interval_and_says_so(tmp_path):
    fake_run(tmp_path)
    rows = compare([tmp_path], None)
    assert rows[-1].score.low is None and "single run" in rows[-1].score.reason
    assert "(1 seed, no interval)" in as_markdown(rows)
    assert "decides nothing" in headline(rows)[0]


@pytest.mark.parametrize(
    "final, words",
    [(1.3, "beat the teacher"), (1.0, "cannot be told from"), (0.5, "fell short of the teacher")],
)
def test_the_headline_claims_what_the_intervals_bear(tmp_path, final, words):
    for seed, off in enumerate((-0.06, -0.03, 0.0, 0.03, 0.06)):
        fake_run(tmp_path, seed=seed, result={"normalised": final + off})
    (sentence,) = headline(compare([tmp_path], None))
    assert words in sentence and "5 seeds" in sentence


def test_many_tasks_are_tallied_by_method(tmp_path):
    for env, final in {"a": 1.3, "b": 1.3, "c": 0.5, "d": 1.3}.items():
        for seed in range(5):
            fake_run(tmp_path, seed=seed, env=env, result={"normalised": final + 0.01 * seed})
    rows = compare([tmp_path], None)
    assert headline(rows) == ["qdagger: on 3 of 4 tasks beat the teacher; on 1 of 4 tasks fell short of the teacher."]
    assert rows[-1].env == "all 4 tasks" and rows[-1].score.point == pytest.approx(1.31, abs=0.02)


def test_methods_that_did_alike_on_many_tasks_share_a_sentence(tmp_path):
    for method, final in {"qdagger": 1.3, "dqfd": 0.5, "scratch": 0.4}.items():
        for env in "abcd":
            for seed in range(2):
                fake_run(tmp_path, method, seed, env=env, result={"normalised": final + 0.01 * seed})
    told = headline(compare([tmp_path], None))
    assert told[0] == "qdagger: on 4 of 4 tasks beat the teacher."
    assert told[1] == "dqfd · scratch: on 4 of 4 tasks fell short of the teacher."


@given(st.lists(st.floats(-0.5, 1.5), min_size=1, max_size=30))
def test_names_at_line_ends_keep_apart_and_inside_the_panel_that_is_made_for_them(ends):
    fig = Figure(figsize=(6, height_for(len(ends))))
    axes = fig.add_subplot()
    axes.set_ylim(0, 1)
    place_labels(axes, [(end, "name", "black") for end in ends], fig.get_figheight())
    places = [text.get_position()[1] for text in axes.texts]
    assert min(places) >= -1e-9 and max(places) <= 1 + 1e-9
    assert all(above - below >= 1 / len(ends) - 1e-9 for below, above in pairwise(places))


def test_methods_keep_their_colours_and_no_two_labels_look_alike():
    labels = [*COLOURS, *(f"{name}, n = {n}" for name in COLOURS for n in (1, 5)), "rlpd"]
    chosen = styles(labels)
    assert all(chosen[name] == (colour, ()) for name, colour in COLOURS.items())
    assert len(set(chosen.values())) == len(labels)


def test_a_teacher_no_better_than_random_gives_no_scale(tmp_path):
    for seed in range(2):
        fake_run(tmp_path / "runs", seed=seed, result={"normalised": None, "reference.teacher.mean": RANDOM})
    rows = compare([tmp_path / "runs"], tmp_path / "out")
    assert [row.normalised for row in rows] == [False] * 3 and rows[0].score.point == RANDOM
    assert "no scale" in headline(rows)[0]


def test_without_a_teacher_scores_stay_raw(tmp_path):
    for seed in range(3):
        fake_run(tmp_path, "scratch", seed, result={"normalised": None, "reference.teacher": None})
    rows = compare([tmp_path], tmp_path / "out")
    assert [row.method for row in rows] == ["random", "scratch"]
    assert rows[1].score.point < -200 and not rows[1].normalised
    assert "no teacher to compare with" in headline(rows)[0]


def test_the_area_under_a_straight_curve_is_its_middle(tmp_path):
    path = fake_run(tmp_path, "scratch")
    lines = [
        {"kind": "eval", "phase": "online", "env_steps": s, "updates": s, "score": 0.0, "normalised": s / 20_000}
        for s in (0, 10_000, 20_000)
    ]
    (path / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert area(load_run(path)) == pytest.approx(0.5)


def evaluated(root, method, ends):
    """A run whose score rises in a line from 0 to 1 between two evaluations, at these updates and seconds."""
    path = fake_run(root, method)
    lines = [
        {"kind": "eval", "phase": "online", "env_steps": 20_000 * i, "updates": updates, "score": 0.0, "normalised": i}
        | ({} if seconds is None else {"seconds": seconds})
        for i, (updates, seconds) in enumerate(ends)
    ]
    (path / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))


def test_areas_by_updates_and_by_the_clock_run_to_the_end_of_the_longest_method(tmp_path):
    evaluated(tmp_path, "scratch", [(0, 10.0), (100, 30.0)])  # 1 from 30 s to 50 s, 0 before 10 s
    evaluated(tmp_path, "kickstart", [(0, 0.0), (400, 50.0)])
    by_clock = {row.method: row for row in areas(load_runs([tmp_path]).runs, {}, np.random.default_rng(0))}
    assert list(by_clock) == ["scratch", "kickstart"]  # better on the way
    scratch, kickstart = by_clock.values()
    assert (scratch.updates, scratch.seconds) == (400, 50.0)
    assert scratch.by_updates.point == pytest.approx((0.5 * 100 + 300) / 400)
    assert scratch.by_seconds.point == pytest.approx((0.5 * 20 + 20) / 50)
    assert kickstart.by_updates.point == kickstart.by_seconds.point == pytest.approx(0.5)


@pytest.mark.parametrize("mean, said", [
    (-95.0, "beat the teacher, its greedy play too"),
    (-60.0, "beat the teacher as it plays, sampling, but fell short of its greedy play"),
    (-70.5, "beat the teacher as it plays, sampling, but not surely its greedy play"),
])  # fmt: skip
def test_a_student_is_judged_by_its_teachers_greedy_play_too_where_that_was_measured(mean, said, tmp_path):
    greedy = {"reference.greedy": {"mean": mean, "low": mean - 4, "high": mean + 4, "episodes": 100}}
    for seed in range(5):
        fake_run(tmp_path / "runs", "qdagger", seed, result=greedy | {"normalised": 1.05, "score": -70.0})
    rows = compare([tmp_path / "runs"], tmp_path / "out", tell=quiet)
    row = next(row for row in rows if row.kind == "greedy")
    assert row.raw == mean and row.score.point == pytest.approx((mean - RANDOM) / (TEACHER - RANDOM))
    assert headline(rows)[0].endswith(f"{said}.")
    page = (tmp_path / "out" / "index.html").read_text()
    assert "teacher, greedy" in page and 'class="greedy"' in page


def test_budgets_of_their_own_are_for_methods_that_are_compared_by_the_clock(tmp_path):
    longer = {"env_steps": 40_000}
    fake_run(tmp_path / "runs", "scratch")
    fake_run(tmp_path / "runs", "kickstart", result=longer)
    with pytest.raises(UserError, match="env_steps differs"):
        compare([tmp_path / "runs"], None)
    compare([tmp_path / "runs"], tmp_path / "out", tell=quiet, by_clock=True)
    page = (tmp_path / "out" / "index.html").read_text()
    assert "by seconds" in page[: page.index("Final scores")] and "By env steps" in page
    assert load_published(tmp_path / "out" / "index.json").by_clock
    fake_run(tmp_path / "more", "kickstart", 1)
    with pytest.raises(UserError, match="env_steps differs"):  # within a method
        compare([tmp_path / "runs", tmp_path / "more"], None, by_clock=True)
    fake_run(tmp_path / "elsewhere", "kickstart", 1, result=longer | {"machine": "another"})
    with pytest.raises(UserError, match="machine differs"):
        compare([tmp_path / "runs", tmp_path / "elsewhere"], None, by_clock=True)


def test_seeds_that_were_trained_together_have_their_share_of_the_clock(tmp_path):
    path = fake_run(tmp_path, "scratch", result={"together": 4})
    assert {e.seconds for e in load_run(path).evaluations} == {0.25}


@pytest.mark.parametrize("seconds", [-1.0, 1e308, True])
def test_a_time_that_no_run_takes_is_refused(seconds, tmp_path):
    evaluated(tmp_path, "scratch", [(0, 0.0), (100, seconds)])
    with pytest.raises(UserError, match=r"seconds is .*, not a time since training began"):
        load_runs([tmp_path])


def test_runs_that_do_not_tell_their_seconds_have_no_clock(tmp_path):
    evaluated(tmp_path / "runs", "scratch", [(0, None), (100, None)])
    evaluated(tmp_path / "runs", "kickstart", [(0, 0.0), (100, 5.0)])
    with pytest.raises(UserError, match="does not tell its evaluations' seconds"):
        compare([tmp_path / "runs"], None, by_clock=True)
    loaded = load_runs([tmp_path / "runs"]).runs
    assert all(row.by_seconds is None for row in areas(loaded, {}, np.random.default_rng(0)))
    assert panels(loaded, np.random.default_rng(0), SECONDS) == []
    assert "By the clock" not in write(tmp_path / "runs", tmp_path / "out")


def test_one_seed_of_the_bootstrap_gives_one_result(study, tmp_path):
    first, again = compare([study], tmp_path / "a"), compare([study], tmp_path / "b")
    assert first == again and first != compare([study], None, seed=1)
    for name in ("index.html", "index.json", "index.png"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_teacher_exactly_as_good_as_chance_gives_no_scale_either(tmp_path):
    for seed in range(2):
        fake_run(tmp_path / "runs", seed=seed, result={"normalised": 1.0, "reference.teacher.mean": RANDOM})
    rows = compare([tmp_path / "runs"], tmp_path / "out")
    assert not any(row.normalised for row in rows) and "no scale" in headline(rows)[0]


@pytest.mark.parametrize("value, known", [("w" * 64, True), (None, True), ("x" * 64, False)])
def test_weights_are_part_of_the_prior_but_a_run_may_lack_them(tmp_path, value, known):
    fake_run(tmp_path, "finetune", result={"prior.weights": "w" * 64})
    fake_run(tmp_path, "scratch", result={"prior.weights": value})
    if known:
        assert compare([tmp_path], None)
    else:
        with pytest.raises(UserError, match=r"prior\.weights differs"):
            compare([tmp_path], None)


def test_every_aggregate_is_there_by_task_and_over_all(tmp_path):
    for env in ("a", "b"):
        for method in FINAL:
            for seed in range(3):
                fake_run(tmp_path / "runs", method, seed, env=env)
    compare([tmp_path / "runs"], tmp_path / "out")
    rows = json.loads((tmp_path / "out" / "index.json").read_text())["aggregates"]
    assert [row["scope"] for row in rows] == ["a"] * 3 + ["b"] * 3 + ["all 2 tasks"] * 3
    first = rows[-3]
    assert first["method"] == "qdagger" and first["over"] == "scratch" and first["improvement"]["point"] == 1.0
    for name in ("iqm", "mean", "median", "gap"):
        assert first[name]["low"] <= first[name]["point"] <= first[name]["high"]
    assert rows[-1]["method"] == "scratch" and rows[-1]["improvement"] is None and rows[-1]["gap"]["point"] > 0.3
    page = Page((tmp_path / "out" / "index.html").read_text())
    assert all(word in page.text for word in ("optimality gap", "Performance profiles", "At equal updates"))


def test_curves_run_over_updates_too(study):
    fig = figure(load_runs([study]).runs, np.random.default_rng(0), UPDATES)
    lines = [line for line in fig.axes[0].lines if len(line.get_xdata()) > 5]
    ends = sorted(float(line.get_xdata()[-1]) for line in lines if len(line.get_xdata()))
    assert ends == [5000, 5000, 15_000]  # of scratch, kickstart, and qdagger with its offline phase


def test_the_cost_counts_the_priors_and_says_where_that_is_unknown(tmp_path):
    known = {"prior.uses_teacher": True, "prior.teacher_trained_env_steps": 1_000_000}
    assert with_priors(load_run(fake_run(tmp_path, result=known))) == (1_030_000, True)
    assert with_priors(load_run(fake_run(tmp_path, "kickstart"))) == (20_000, False)
    only_scale = {"prior.teacher": "t" * 64, "prior.uses_teacher": False}
    assert with_priors(load_run(fake_run(tmp_path, "scratch", result=only_scale))) == (20_000, True)
    page = write(tmp_path, tmp_path / "out")
    assert "1,030,000" in page and "≥ 20,000" in page
    nodes = [Node(letter * 64, AGENT, cost=exact(env_steps=steps)) for letter, steps in (("a", 50_000), ("b", 7_000))]
    for generations, whole in ((nodes, True), ([*nodes, Node("c" * 64, AGENT)], False)):
        told = {"prior.ancestors": {node.sha256: record(node) for node in generations}} | known
        assert with_priors(load_run(fake_run(tmp_path / f"deep-{whole}", "finetune", result=told))) == (77_000, whole)


def test_json_holds_rows_and_runs(study):
    runs = load_runs([study]).runs
    record = json.loads(as_json(summarise(runs, np.random.default_rng(0)), runs))
    assert len(record["rows"]) == 5 and len(record["runs"]) == 15
    curve = runs[0].evaluations
    told = [[e.phase, e.env_steps, e.updates, e.score, e.normalised, e.seconds] for e in curve]
    assert record["runs"][0]["curve"] == told


def test_the_terminal_table_fits_eighty_columns(study):
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(as_rich(compare([study], None)))
    text = console.export_text()
    assert "1.00 [0.98, 1.01]" in text and "10k+5k" in text and "…" not in text
    assert max(map(len, text.splitlines())) <= 80


# ---- the page ----------------------------------------------------------------------------------------


class Page(HTMLParser):
    """What a page links to, what it says, and whether its tags close."""

    def __init__(self, text: str):
        super().__init__()
        self.open, self.links, self.tags, self.text = [], [], set(), ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.links += [value for key, value in attrs if key in ("href", "src", "xlink:href") and value]
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.add(tag)
        self.links += [value for key, value in attrs if key in ("href", "src", "xlink:href") and value]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def write(root: Path, out: Path) -> str:
    compare([root], out, tell=quiet)
    return (out / "index.html").read_text()


def test_the_page_is_whole_and_shows_every_run(study, tmp_path):
    fake_run(study, seed=9, done=False)
    out = tmp_path / "out"
    page = Page(text := write(study, out))
    assert not page.open
    for run in load_runs([study]).runs:
        assert f"../runs/{run.path.name}/" in page.links and run.config["command"] in page.text
    assert "../runs/Acrobot-v1-qdagger-9/" in page.links and "not finished" in page.text
    assert all((out / link).exists() for link in page.links if not link.startswith("#"))
    for fact in ("t" * 64, "d" * 64, "p" * 64, "10000 updates on prior data", "12,345", "2,000 resamples"):
        assert fact in page.text
    assert not [name for name in out.iterdir() if name.name.startswith(".")]
    assert str(tmp_path) not in text


def test_the_page_loads_nothing(study, tmp_path):
    text = write(study, tmp_path / "out")
    page = Page(text)
    assert not page.tags & {"link", "iframe", "img", "object", "embed", "base"}
    assert text.count("<script") == 1 and "<script>" in text  # our own, which loads nothing
    assert "@import" not in text and set(re.findall(r"url\((.)", text)) <= {"#"}
    assert set(re.findall(r"https?://[^\"' <]+", text)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }


def test_a_hostile_method_name_stays_text(tmp_path):
    name = "<script>alert(1)</script>--><img src=x onerror=alert(2)> $\\frac{1$ \"'&"
    for seed in range(2):
        fake_run(tmp_path / "runs", name, seed, config={"command": name}, result={"plan": [name]})
    text = write(tmp_path / "runs", tmp_path / "out")
    page = Page(text)
    assert "img" not in page.tags and text.count("<script") == 1 and name in page.text
    assert "<script" not in as_markdown(compare([tmp_path / "runs"], None))


def test_labels_at_the_ends_of_equal_lines_do_not_overlap(tmp_path):
    for method in ("a", "b", "c", "d"):
        fake_run(tmp_path, method)
    fig = figure(load_runs([tmp_path]).runs, np.random.default_rng(0))
    fig.draw_without_rendering()
    boxes = sorted(t.get_window_extent().extents.tolist() for t in fig.axes[0].texts if t.get_position()[0] > 1)
    rows = sorted(boxes, key=lambda box: box[1])
    assert len(rows) == 6 and all(low[3] < high[1] for low, high in pairwise(rows))
    assert all(box[2] <= fig.bbox.width and box[1] >= 0 for box in rows)


def test_more_seeds_are_added_to_a_report_whose_runs_are_gone(tmp_path):
    for seed in range(4):
        for method in ("qdagger", "scratch"):
            fake_run(tmp_path / ("first" if seed < 2 else "more"), method, seed)
    whole = compare([tmp_path / "first", tmp_path / "more"], None)
    compare([tmp_path / "first"], tmp_path / "report")
    added = compare([tmp_path / "report", tmp_path / "more"], tmp_path / "both", title="All seeds")
    assert [(row.method, row.score, row.area) for row in added] == [(row.method, row.score, row.area) for row in whole]
    assert json.loads((tmp_path / "both" / "index.json").read_text())["title"] == "All seeds"
    with pytest.raises(UserError, match="is there twice"):
        compare([tmp_path / "report", tmp_path / "first"], None)


def test_what_is_added_without_a_teacher_stands_on_the_scale_of_the_report(tmp_path):
    fake_run(tmp_path / "taught")
    compare([tmp_path / "taught"], tmp_path / "report")
    alone = {"normalised": None, "reference.teacher": None}
    fake_run(tmp_path / "more", "scratch", result=alone)
    rows = {row.method: row for row in compare([tmp_path / "report", tmp_path / "more"], None)}
    assert rows["scratch"].normalised and rows["scratch"].score is not None
