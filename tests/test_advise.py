"""Advice: every rule from measurements made by hand, and the whole way on CartPole with teachers good, bad and wrong."""

import itertools
import json
import shlex
from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from rich.console import Console
from thinning import thinned

from reincarnate import envs
from reincarnate.advice import measure as measuring
from reincarnate.advice import recommend as recommending
from reincarnate.advice import render
from reincarnate.advice.facts import DataFacts, Measurement, Score, TeacherFacts, WeightsFacts
from reincarnate.advice.measure import Question, measure
from reincarnate.advice.recommend import recommend
from reincarnate.advice.remarks import REMARKS, remarks
from reincarnate.advice.rules import RULES, choose
from reincarnate.advice.settings import SETTINGS, fit, two_digits
from reincarnate.advice.trial import LEAST, Trial, Tried, run_trial, short_budget
from reincarnate.cli import commands as cli
from reincarnate.cli import main
from reincarnate.cli.train_flags import parse
from reincarnate.methods import JSRL, METHODS, Dagger, FineTune, Kickstart, QDagger, Scratch
from reincarnate.priors import reference as prior
from reincarnate.run.settings import record
from reincarnate.students import DQN, PPO, PQN, SAC, TD3, Rainbow
from reincarnate.teachers import open_teacher
from reincarnate.types import ACTIONS, LOGITS, MEANS, VALUES, Prediction, TeacherCard

PRIOR = f"store:{Path(cli.__file__).parents[3]}/priors/minatar-breakout-dqn"
RULE = '''
import torch
def lean(obs):
    """Push the cart towards where the pole leans."""
    push = (obs[:, 2] + obs[:, 3] > 0).float()
    return torch.stack([1 - push, push], 1) * 4
lean.tells = "values"
def fall(obs):
    """The wrong objective: let it fall."""
    return -lean(obs)
fall.tells = "values"
def half(obs):
    """Half of the rule: better than chance, far from good."""
    push = (obs[:, 2] > 0).float()
    return torch.stack([1 - push, push], 1)
half.tells = "values"
def dice(obs):
    return torch.zeros(len(obs), 2)
'''


@pytest.fixture(autouse=True)
def somewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rule.py").write_text(RULE)


@pytest.fixture
def no_trials_of_speed(monkeypatch):
    monkeypatch.setattr("reincarnate.cli.train.estimates", lambda *_: [1.0])
    monkeypatch.setattr("reincarnate.advice.recommend.estimate", lambda *_: 1.0)


# ---- measurements made by hand --------------------------------------------------------------------------

RANDOM = Score(0.5, 0.4, 0.6, 100)
GOOD, BETTER, SAME, WORSE = (Score(m, m - 0.1, m + 0.1, 100) for m in (14.0, 20.0, 0.55, 0.1))
TEACHER = TeacherFacts(PRIOR, GOOD, "values", "greedy", 250.0, gap=0.2, temperature=0.09, entropy=0.5, top=0.8)
DATA = DataFacts("somewhere", 100, 20_000, GOOD, 100, 0, 1.0)
WEIGHTS = WeightsFacts(PRIOR, "MinAtar/Breakout-v1", True, GOOD)


def made(**facts) -> Measurement:
    """Of MinAtar Breakout, with nothing to start from but what is said."""
    return Measurement(**{"task": "MinAtar/Breakout-v1", "budget": 50_000, "student": DQN(), "student_name": "dqn", **facts}, random=RANDOM)  # fmt: skip


def taught(**changes) -> Measurement:
    return made(teacher=replace(TEACHER, **changes))


HOLDS = {
    "go on from the weights": made(teacher=TEACHER, weights=WEIGHTS),
    "warm up with the agent's own play": made(teacher=TEACHER, weights=WEIGHTS, data=replace(DATA, returns=SAME)),
    "imitate only": replace(taught(), budget=20_000),
    "taught to the end": replace(taught(tells=LOGITS), budget=1_000_000, student=PQN(), student_name="pqn"),
    "distil, then wean": taught(),
    "let the teacher lead the way": replace(taught(), blind=True),
    "distil online only": taught(),
    "half of each batch from few data": made(data=replace(DATA, transitions=4_999)),
    "offline first": made(data=DATA),
    "re-live the data": made(data=DATA),
    "no prior that helps": taught(score=SAME),
    "re-live what there is": made(data=replace(DATA, returns=SAME)),
    "taught on its own rollouts": replace(taught(), student=PPO(), student_name="ppo"),
    "offline from logs, no better than was earned": made(
        task="Pendulum-v1", data=DATA, student=SAC(), student_name="sac", continuous=True
    ),
    "offline from logs, held to their actions": made(
        task="Pendulum-v1", data=DATA, student=TD3(), student_name="td3", continuous=True
    ),
    "clone the data, then learn held to the clone": made(data=DATA, student=PPO(), student_name="ppo"),
}
"""For each rule, measurements for which it is among the first two."""

EXPECTED = {
    "go on from the weights": ["finetune", "qdagger", "scratch"],
    "warm up with the agent's own play": ["finetune", "wsrl", "scratch"],
    "imitate only": ["dagger", "qdagger", "scratch"],
    "taught to the end": ["kickstart", "qdagger", "scratch"],
    "distil, then wean": ["qdagger", "kickstart", "scratch"],
    "let the teacher lead the way": ["qdagger", "jsrl", "scratch"],
    "distil online only": ["qdagger", "kickstart", "scratch"],
    "half of each batch from few data": ["rlpd", "rehearsal", "scratch"],
    "offline first": ["pretrain", "rehearsal", "scratch"],
    "re-live the data": ["pretrain", "rehearsal", "scratch"],
    "no prior that helps": ["scratch"],
    "re-live what there is": ["scratch", "rehearsal"],
    "taught on its own rollouts": ["kickstart", "qdagger", "scratch"],
    "offline from logs, no better than was earned": ["calql", "bc", "scratch"],
    "offline from logs, held to their actions": ["td3bc", "bc", "scratch"],
    "clone the data, then learn held to the clone": ["bc", "scratch"],
}


def methods(measured: Measurement) -> list[str]:
    names = {kind: name for name, kind in METHODS.items()}
    return [names[type(rule.method)] for rule in choose(measured)]


def said(measured: Measurement) -> dict[str, str]:
    return {one.name: one.text for one in remarks(measured)}


@pytest.mark.parametrize("student", [PPO(), SAC(), TD3()])
def test_nothing_is_recommended_that_a_student_with_an_actor_cannot_follow(student):
    refused = {"ppo": ("wsrl", "rlpd", "rehearsal"), "sac": ("pretrain", "ppd"), "td3": ("pretrain", "ppd", "calql")}
    name = type(student).__name__.lower()
    facts = {"student": student, "student_name": name, "continuous": name != "ppo"}
    for weights in (None, WEIGHTS):
        for data in (None, DATA, replace(DATA, transitions=100), replace(DATA, returns=SAME)):
            for teacher in (None, TEACHER):
                measured = made(teacher=teacher, data=data, weights=weights, **facts)
                assert not set(methods(measured)) & set(refused[name])


def test_the_actor_of_a_student_with_one_is_distilled_at_a_rate_of_its_own():
    run, fitted = fit(QDagger(), replace(taught(), student=SAC(), student_name="sac", continuous=True))
    assert run.method.actor_lr == 3.33 and any("3.33 times its rate online" in one.why for one in fitted)
    assert fit(QDagger(), replace(taught(), student=SAC(lr=1e-3), continuous=True))[0].method.actor_lr == 1.0
    assert fit(QDagger(), taught())[0].method.actor_lr == 1.0


def test_a_quick_student_of_a_policy_keeps_its_teacher_and_other_students_are_told_of_it():
    quick = HOLDS["taught to the end"]
    run, _ = fit(choose(quick)[0].method, quick)
    assert (run.method.wean.by, run.method.weight) == ("fixed", 0.5)
    assert methods(replace(quick, budget=200_000))[0] != "kickstart"
    assert methods(replace(quick, teacher=TEACHER))[0] == "qdagger"  # of values: not studied
    assert "--student pqn" in said(taught(tells=LOGITS))["a quicker student"]
    assert "a quicker student" not in said(quick).keys() | said(taught()).keys()
    assert "a teacher may hold its student back" not in said(replace(quick, budget=200_000))


def test_a_weak_teacher_is_never_only_imitated():
    assert methods(replace(taught(trained_env_steps=10_000), budget=20_000))[0] == "qdagger"


def test_every_rule_has_a_case_here_and_names_its_source():
    assert set(HOLDS) == set(EXPECTED) == {rule.name for rule in RULES}
    assert all(rule.source for rule in (*RULES, *REMARKS, *SETTINGS))


@pytest.mark.parametrize("name", HOLDS)
def test_a_rule_recommends_its_method_and_says_why(name):
    measured = HOLDS[name]
    (rule,) = [rule for rule in choose(measured) if rule.name == name]
    assert methods(measured) == EXPECTED[name]
    assert rule.why(measured)


@pytest.mark.parametrize("name", thinned(HOLDS, lambda name: "distil" in name or "weights" in name))
def test_a_recommended_command_parses_to_the_recommended_run_and_runs_dry(name, capsys, no_trials_of_speed):
    for one in recommend(HOLDS[name]):
        words = shlex.split(one.command)
        assert words[:2] == ["reincarnate", "train"]
        assert parse(words[2:])[0] == one.run
        main([*words[1:], "--dry-run"])
        assert "about 1 s of training" in capsys.readouterr().out
    assert not Path("runs").exists()


@pytest.mark.parametrize("name", HOLDS)
def test_a_run_means_something_for_any_budget_and_student(name):
    students = (DQN(n_step=1), Rainbow(), PQN(), PPO(), SAC(), TD3())
    for student, budget in itertools.product(students, (100, 700, 4_000, 300_000, 10_000_000)):
        measured = replace(HOLDS[name], budget=budget, student=student)
        for rule in choose(measured):
            run, _ = fit(rule.method, measured)
            assert sum(phase.env_steps for phase in run.phases()) == budget
            run.student.check(run.copies)


# ---- priors that are worse than useless ---------------------------------------------------------------


def test_a_random_level_teacher_is_worse_than_useless_and_not_even_the_scale():
    measured = taught(score=SAME)
    assert methods(measured) == ["scratch"]
    assert "worse than useless" in said(measured)["random-level teacher"]
    assert fit(Scratch(), measured)[0].teacher is None


def test_a_teacher_below_random_has_the_wrong_objective():
    measured = taught(score=WORSE)
    assert methods(measured) == ["scratch"]
    assert (
        "worse than useless" in said(measured)["wrong objective"] and "objective" in said(measured)["wrong objective"]
    )
    assert "random-level teacher" not in said(measured)


def test_data_that_returns_more_than_its_teacher_is_learnt_from_and_the_teacher_is_not():
    measured = made(teacher=TEACHER, data=replace(DATA, returns=BETTER))
    assert methods(measured) == ["pretrain", "rehearsal", "scratch"]
    assert "worse than useless" in said(measured)["data better than teacher"]
    assert "more than the teacher" in choose(measured)[0].why(measured)


def test_data_beside_a_useless_teacher_is_judged_by_itself():
    assert methods(made(teacher=replace(TEACHER, score=WORSE), data=DATA)) == ["pretrain", "rehearsal", "scratch"]
    poor = made(teacher=replace(TEACHER, score=WORSE), data=replace(DATA, returns=SAME))
    assert methods(poor) == ["scratch", "rehearsal"] and "random-level data" in said(poor)


def test_weights_of_a_useless_agent_are_not_gone_on_from():
    measured = made(teacher=replace(TEACHER, score=SAME), weights=replace(WEIGHTS, score=SAME))
    assert methods(measured) == ["scratch"]
    assert {"poor weights", "random-level teacher"} <= said(measured).keys()


# ---- what else is said ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, measured",
    [
        ("another network", made(teacher=TEACHER, weights=replace(WEIGHTS, same_network=False, misfit="fc is [8, 4]"))),
        ("weak teacher", taught(trained_env_steps=20_000)),
        ("short budget", taught(trained_env_steps=1_000_000)),
        ("a quicker student", taught(tells=LOGITS)),
        ("a teacher may hold its student back", replace(taught(tells=LOGITS), student=PQN(), budget=1_000_000)),
        ("names actions only", taught(tells=ACTIONS)),
        ("cannot annotate", made(teacher=replace(TEACHER, memory=True), data=DATA)),
        ("data of another policy", made(teacher=TEACHER, data=replace(DATA, agreement=0.2))),
        ("returns not comparable", made(data=replace(DATA, returns=None))),
        ("noisy scale", taught(score=Score(14.0, 12.0, 16.0, 10))),
        ("no preference", taught(gap=0.0, temperature=None)),
    ],
)
def test_a_remark_is_made_where_it_holds_and_not_elsewhere(name, measured):
    assert name in said(measured) and said(measured)[name]
    assert name not in said(made(teacher=TEACHER, weights=WEIGHTS, data=DATA))


def test_no_temperature_is_advised_where_actions_are_continuous():
    weak = taught(trained_env_steps=20_000)
    assert "--temperature" in said(weak)["weak teacher"]
    assert "--temperature" not in said(replace(weak, continuous=True))["weak teacher"]


def test_weights_that_fit_no_student_leave_their_agent_as_a_teacher():
    assert methods(made(teacher=TEACHER, weights=replace(WEIGHTS, same_network=False))) == EXPECTED["distil, then wean"]


def test_weights_of_another_task_are_gone_on_from_with_a_word_of_caution():
    measured = made(weights=replace(WEIGHTS, task="MinAtar/Asterix-v1", score=None))
    assert methods(measured) == ["finetune", "scratch"]
    assert "unknown" in choose(measured)[0].why(measured) and "Asterix" in choose(measured)[0].why(measured)


# ---- settings -------------------------------------------------------------------------------------------


def test_offline_updates_are_those_of_the_paper_for_the_online_ones():
    run, why = fit(QDagger(), replace(taught(), budget=20_000))
    assert run.method.offline_updates == 7_600  # 1.6 · (20,000 − 1,000) / 4
    assert any("7,600" in one.why for one in why)


@pytest.mark.parametrize(
    "budget, data", [(20_000, 20_000), (50_000, 50_000), (100_000, 50_000), (2_500_000, 1_000_000)]
)
def test_the_teacher_plays_as_much_as_the_budget_and_for_long_ones_as_in_the_paper(budget, data):
    assert fit(QDagger(), replace(taught(), budget=budget))[0].data_env_steps == data


def test_a_teacher_of_other_gaps_than_the_papers_has_its_temperature_measured():
    assert fit(QDagger(), taught())[0].method.suited(VALUES).temperature == 0.1  # the paper's, for values
    assert fit(QDagger(), taught(temperature=0.8))[0].method.temperature == "auto"
    assert fit(Dagger(), taught(temperature=0.01))[0].method.temperature == "auto"
    assert fit(QDagger(), taught(tells=LOGITS, temperature=0.8))[0].method.temperature == "kind"


@pytest.mark.parametrize("tells", [ACTIONS, LOGITS])
def test_a_policy_keeps_its_sharpness_without_a_word_of_advice(tells):
    run, why = fit(Kickstart(), taught(tells=tells))
    assert (run.method.suited(tells).temperature, run.method.teacher_temperature) == (1.0, None)
    assert not any("τ" in one.why for one in why)


def test_weaning_is_guarded_for_a_strong_teacher_and_not_for_ever_for_a_weak_one():
    trained = (1_000_000, 200_000, 20_000)
    strong, near, weak = (fit(QDagger(), taught(trained_env_steps=n))[0].method.wean for n in trained)
    assert near == QDagger().wean
    assert (strong.by, strong.sticky, strong.guard) == ("score", True, 0.2)
    assert (weak.by, weak.sticky) == ("score", False)
    assert (strong.lr_final, weak.lr_final) == (0.1, 1.0)


def test_a_teacher_leads_for_about_an_episode():
    assert fit(JSRL(), taught(episode_steps=253.0))[0].method.horizon == 250


def test_fine_tuning_takes_up_what_the_agent_kept():
    assert fit(FineTune(), HOLDS["go on from the weights"])[0].method.reuse == "weights"
    assert fit(FineTune(), made(weights=replace(WEIGHTS, kept=True)))[0].method.reuse == "all"


def test_given_data_is_used_where_the_teacher_can_annotate_it_and_it_is_enough():
    assert fit(QDagger(), made(teacher=TEACHER, data=DATA))[0].data == "somewhere"
    assert fit(QDagger(), made(teacher=replace(TEACHER, view="rgb"), data=DATA))[0].data is None
    assert fit(QDagger(), made(teacher=TEACHER, data=replace(DATA, transitions=400)))[0].data is None
    assert fit(Kickstart(), made(teacher=TEACHER, data=DATA))[0].data is None


def test_a_students_schedules_shrink_with_the_budget_and_n_is_3():
    measured = replace(taught(), budget=5_000, student=DQN(n_step=1, epsilon_steps=100_000))
    student = fit(Kickstart(), measured)[0].student
    assert (student.warmup, student.epsilon_steps, student.n_step) == (500, 1_000, 3)
    assert student.target_every == 56  # a twentieth of (5,000 − 500) / 4 updates
    unchanged = fit(FineTune(), replace(measured, weights=WEIGHTS, budget=50_000))[0].student
    assert unchanged.n_step == 1 and unchanged.epsilon_steps == 100_000  # it goes on as it was


def test_numbers_are_rounded_to_what_can_be_remembered():
    assert [two_digits(x) for x in (1.0, 7.6, 19_600.0, 123_456.0, 0.4)] == [1, 8, 20_000, 120_000, 1]


# ---- the whole way --------------------------------------------------------------------------------------

PLAY = ["--env", "CartPole-v1", "--episodes", "20"]


def advise(args, capsys) -> dict:
    main(["advise", *args, "--json"])
    return json.loads(capsys.readouterr().out)


def first(advice: dict) -> list[str]:
    return [one["method"] for one in advice["recommendations"]]


def test_a_good_teacher_is_measured_once_and_taught_from(capsys, no_trials_of_speed, monkeypatch):
    ask = [*PLAY, "--teacher", "py:rule.py:lean"]
    advice = advise(ask, capsys)
    assert first(advice) == ["qdagger", "kickstart", "scratch"]
    measured = advice["measured"]
    assert measured["teacher"]["score"]["mean"] > 100 > measured["random"]["mean"]
    assert measured["teacher"]["gap"] == 4 and measured["teacher"]["temperature"] == pytest.approx(1.82, abs=0.01)
    assert "--temperature auto" in advice["recommendations"][0]["command"]
    assert advice["recommendations"][0]["cost"]["data_env_steps"] == 50_000
    monkeypatch.setattr("reincarnate.priors.reference.evaluate", lambda *_: pytest.fail("measured again"))
    monkeypatch.setattr(measuring, "measure_temperature", lambda *_: pytest.fail("measured again"))
    assert advise(ask, capsys) == advice


@pytest.mark.slow
def test_its_commands_run_as_they_are(capsys, monkeypatch):
    monkeypatch.setattr(recommending, "estimate", lambda *_: 1.0)
    main(["advise", *PLAY, "--teacher", "py:rule.py:lean", "--budget", "4000"])
    printed = capsys.readouterr().out
    commands = [line for line in printed.splitlines() if line.startswith("reincarnate train")]
    assert len(commands) == 3 and "why" in printed and "cost" in printed and "second: qdagger" in printed
    for line in commands:
        assert parse(shlex.split(line)[2:])[0].env_steps == 4_000
    main([*shlex.split(commands[0])[1:], "--dry-run"])
    assert "nothing was written" in capsys.readouterr().out


def test_a_random_level_teacher_is_told_from_its_play(capsys, no_trials_of_speed):
    advice = advise([*PLAY, "--teacher", "py:rule.py:dice"], capsys)
    assert first(advice) == ["scratch"] and advice["recommendations"][0]["rank"] == "first"
    assert {one["name"] for one in advice["remarks"]} == {"random-level teacher", "no preference"}
    assert "--teacher" not in advice["recommendations"][0]["command"]


def test_a_teacher_with_the_wrong_objective_is_told_from_its_play(capsys, no_trials_of_speed):
    main(["advise", *PLAY, "--teacher", "py:rule.py:fall", "--try"])
    output = capsys.readouterr()
    text = " ".join(output.out.split())
    assert "wrong objective" in text and "worse than useless" in text and "first: scratch" in text
    assert "second:" not in text and "no two recommendations" in output.err


def test_an_agent_of_ours_is_gone_on_from_and_another_student_is_taught(capsys, no_trials_of_speed):
    ask = ["--env", "MinAtar/Breakout-v1", "--episodes", "8"]
    one = advise([*ask, "--teacher", PRIOR], capsys)
    assert first(one) == ["finetune", "qdagger", "scratch"]
    assert one["measured"]["weights"]["same_network"] and one["measured"]["teacher"]["trained_env_steps"] == 500_000
    assert one["measured"]["student"]["lr"] == 2.5e-4  # the agent's
    assert first(advise([*ask, "--weights", PRIOR.removeprefix("store:")], capsys)) == first(one)
    other = advise([*ask, "--teacher", PRIOR, "--student", "rainbow"], capsys)
    assert first(other) == ["qdagger", "kickstart", "scratch"]
    assert not other["measured"]["weights"]["same_network"]
    assert "another network" in {remark["name"] for remark in other["remarks"]}


@pytest.mark.parametrize(
    "budget, asked, student", [(50_000, None, "dqn"), (400_000, None, "pqn"), (400_000, "dqn", "dqn")]
)
def test_a_long_budget_under_a_policy_is_for_a_quick_student_unless_another_is_asked_for(budget, asked, student):
    question = Question("CartPole-v1", teacher="py:rule.py:dice", episodes=2, budget=budget, student=asked)
    assert measure(question, lambda *_: None).student_name == student


def test_weights_of_another_task_are_fitted_but_not_scored(no_trials_of_speed):
    measured = measure(Question("MinAtar/Asterix-v1", weights=PRIOR, episodes=3), lambda *_: None)
    assert measured.teacher is None and measured.weights is not None and measured.weights.score is None
    assert choose(measured)[0].name in ("go on from the weights", "no prior that helps")


def test_a_task_with_continuous_actions_gets_a_student_for_them(monkeypatch, no_trials_of_speed):
    monkeypatch.setattr(measuring, "open_for", lambda uri, spec: Still())
    measured = measure(Question("Pendulum-v1", teacher="still", episodes=2), lambda *_: None)
    assert measured.continuous and measured.teacher is not None and measured.teacher.gap is None
    assert measured.student_name == "sac"
    assert "found for discrete ones" in said(measured)["continuous actions"]
    better = replace(measured, teacher=replace(measured.teacher, score=BETTER))
    assert [r.command.split()[2] for r in recommend(better)] == ["qdagger", "kickstart", "scratch"]


class Still:
    """Applies no torque."""

    view = "student"
    card = TeacherCard("still", "probe", "rule", MEANS, "none", 0, "e" * 64, (3,), "float32", 1, "none", "safe")

    frozen = True

    def initial(self, n):
        return torch.zeros(n, 0)

    def predict(self, step, carry):
        return Prediction(MEANS, torch.zeros(len(step.obs), 1)), carry


# ---- data -----------------------------------------------------------------------------------------------


@pytest.fixture
def logged() -> str:
    """Address of 2,000 env steps of the good rule's play on CartPole."""
    spec, lean = envs.spec("CartPole-v1"), open_teacher("py:rule.py:lean", 2)
    return str(prior.teacher_data(spec, lean, "auto", 2_000, 0.0, Path("elsewhere"), lambda *_: None).path)


def test_data_without_a_teacher_is_learnt_from_offline(logged, capsys, no_trials_of_speed):
    advice = advise([*PLAY, "--data", logged, "--budget", "10000"], capsys)
    assert first(advice) == ["pretrain", "rehearsal", "scratch"]
    data = advice["measured"]["data"]
    assert data["transitions"] == 2_000 and data["agreement"] is None and data["returns"]["mean"] > 50
    assert f"--data {logged}" in advice["recommendations"][0]["command"]
    assert first(advise([*PLAY, "--data", logged, "--budget", "50000"], capsys))[0] == "rlpd"


def test_data_is_held_against_its_teacher(logged, capsys, no_trials_of_speed):
    advice = advise([*PLAY, "--data", logged, "--teacher", "py:rule.py:lean", "--budget", "10000"], capsys)
    assert advice["measured"]["data"]["agreement"] == 1
    assert first(advice) == ["dagger", "qdagger", "scratch"]
    assert f"--data {logged}" in advice["recommendations"][0]["command"]


def test_a_teacher_that_its_data_beats_is_done_without(logged, capsys, no_trials_of_speed):
    advice = advise([*PLAY, "--data", logged, "--teacher", "py:rule.py:half", "--budget", "10000"], capsys)
    measured = advice["measured"]
    assert measured["random"]["high"] < measured["teacher"]["score"]["low"]
    assert measured["teacher"]["score"]["high"] < measured["data"]["returns"]["low"]
    assert first(advice) == ["pretrain", "rehearsal", "scratch"]
    assert "data better than teacher" in {one["name"] for one in advice["remarks"]}


def test_the_replay_that_an_agent_kept_is_its_data(capsys, no_trials_of_speed):
    short = ["--env-steps", "600", "--evaluations", "1", "--eval-episodes", "1", "--final-episodes", "2"]
    main(["train", "scratch", "--env", "CartPole-v1", *short, "--student.hidden", "8", "--keep", "all", "--out", "run"])
    capsys.readouterr()
    advice = advise([*PLAY, "--teacher", "store:run"], capsys)
    assert advice["measured"]["data"]["address"] == "store:run" and advice["measured"]["data"]["transitions"] > 500
    assert advice["measured"]["weights"]["same_network"] and advice["measured"]["weights"]["kept"]
    assert advice["measured"]["student"]["hidden"] == [8]


# ---- trying ---------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_trial_trains_the_first_two_with_the_same_seed_and_budget(capsys, no_trials_of_speed):
    args = [*PLAY, "--teacher", "py:rule.py:half", "--budget", "400", "--seed", "3"]
    advice = advise([*args, "--try", "--try-env-steps", "200", "--out", "tried"], capsys)
    runs = [json.loads(Path("tried", one["method"], "config.json").read_text()) for one in advice["trial"]["tried"]]
    assert [run["method"]["name"] for run in runs] == ["dagger", "qdagger"]
    assert all((run["seed"], run["env_steps"], run["evaluations"]) == (3, 200, 2) for run in runs)
    assert runs[0]["student"] == runs[1]["student"]
    assert all(one["env_steps"] == 200 for one in advice["trial"]["tried"])
    assert "decides nothing" in advice["trial"]["verdict"]


def test_a_trial_without_a_folder_leaves_nothing_but_scores(monkeypatch):
    places = []

    def execute(run, out, resume, tick, note):
        places.append(out)
        out.mkdir(parents=True)
        return {
            "score": 1.0,
            "interval": [0.0, 2.0],
            "returns": [1.0],
            "normalised": None,
            "env_steps": 1,
            "seconds": 1.0,
        }

    monkeypatch.setattr("reincarnate.advice.trial.execute", execute)
    monkeypatch.setattr(recommending, "estimate", lambda *_: 1.0)
    trial = run_trial(taught(), recommend(taught()), 3_000, None, lambda *_: None, print)
    assert [one.method for one in trial.tried] == ["qdagger", "kickstart"] == [place.name for place in places]
    assert not any(place.parent.exists() for place in places)
    console = Console(record=True, width=120)
    render.show_trial(trial, console)
    assert "tried for 3,000 env steps" in console.export_text()


def test_a_verdict_says_who_led_and_whether_the_intervals_are_apart():
    one, other = (Tried(m, score, 1.0, 100, 1.0) for m, score in (("qdagger", GOOD), ("kickstart", WORSE)))
    assert Trial(100, 0, (other, one)).verdict.startswith(
        "qdagger led kickstart by 13.9 after 100 env steps; the intervals are"
    )
    assert "apart" in Trial(100, 0, (one, other)).verdict
    assert "came out even" in Trial(100, 0, (one, one)).verdict and "overlap" in Trial(100, 0, (one, one)).verdict


def test_a_trial_is_a_tenth_of_the_budget_but_some_thousand_env_steps():
    assert [short_budget(n) for n in (100, 20_000, 100_000)] == [100, LEAST, 10_000]


# ---- bad input ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words, line",
    [
        ([], "something to start from"),
        (["--teacher", "py:rule.py:lean", "--budget", "0"], "--budget must be at least 100"),
        (["--teacher", "py:rule.py:lean", "--episodes", "1"], "--episodes must be at least 2"),
        (["--teacher", "py:rule.py:lean", "--seed", "-1"], "--seed must not be negative"),
        (["--teacher", "py:rule.py:lean", "--seed", "99999999999999999999999"], "--seed must be below 2^63"),
        (["--teacher", "py:rule.py:lean", "--plays", "well"], "--plays 'well'"),
        (["--teacher", "py:rule.py:lean", "--student", "dqm"], "did you mean dqn"),
        (["--teacher", "py:rule.py:lean", "--out", "there"], "are for --try"),
        (["--teacher", "py:rule.py:lean", "--try", "--try-env-steps", "0"], "--try-env-steps must lie"),
        (["--teacher", "py:rule.py:lean", "--try", "--out", "rule.py"], "rule.py exists already"),
        (["--teacher", "nowhere.zip"], "no such file"),
        (["--teacher", PRIOR], "does not fit CartPole-v1"),
        (["--weights", "nowhere"], "holds no agent"),
        (["--data", "nowhere"], "nowhere"),
    ],
)
def test_bad_input_is_one_line(words, line, capsys):
    before = sorted(Path.cwd().iterdir())
    with pytest.raises(SystemExit) as stop:
        main(["advise", "--env", "CartPole-v1", *words])
    assert stop.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and line in lines[0]
    assert sorted(p for p in Path.cwd().iterdir() if p.name not in ("__pycache__", ".reincarnate")) == before


def test_recommending_takes_its_costs_from_a_trial_here(monkeypatch):
    monkeypatch.setattr(recommending, "estimate", lambda phases, *_: 10.0 * len(phases))
    found = recommend(taught())
    assert [one.cost.seconds for one in found] == [20.0, 10.0, 10.0]
    assert record(found[0].run)["command"] == found[0].command
    assert found[0].cost.evaluation_episodes == 21 * 20 + 50 and found[1].cost.data_env_steps == 0


class Loud(gym.Env):
    """Observations of a size; a teacher whose values they are prefers by as much."""

    size = 1.0
    observation_space, action_space = gym.spaces.Box(-10, 10, (2,), np.float32), gym.spaces.Discrete(2)

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        return self.look(), {}

    def look(self):
        return (self.size * self.np_random.uniform(-1, 1, 2)).astype(np.float32)

    def step(self, action):
        return self.look(), 1.0, False, False, {}


class Louder(Loud):
    size = 8.0


def test_how_decided_a_teacher_is_on_a_task_is_not_taken_for_another_of_its_name(tmp_path):
    (tmp_path / "seen.py").write_text("def values(obs):\n    return obs\nvalues.tells = 'values'\n")
    teacher, gaps = open_teacher(f"py:{tmp_path / 'seen.py'}:values", 2), []
    for kind in (Loud, Louder):
        gym.register("Loud-v0", entry_point=kind, max_episode_steps=20)
        try:
            question = Question("Loud-v0", store=tmp_path / "store")
            found = measuring._preferences(question, envs.spec("Loud-v0"), teacher, lambda *_: None)
        finally:
            del gym.registry["Loud-v0"]
        gaps.append(found["gap"])
    assert gaps[1] == pytest.approx(8 * gaps[0], rel=0.2)
