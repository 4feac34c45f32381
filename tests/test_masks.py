"""What a task does not allow teaches nobody: masks from the environment to the losses."""

import math
from dataclasses import replace

import gymnasium as gym
import numpy as np
import own_tasks
import pytest
import torch

from reincarnate import envs
from reincarnate.data.dataset import whole_episodes
from reincarnate.data.layouts import Sequences, Transitions
from reincarnate.data.memory import Memory, joined
from reincarnate.data.replay import Replay
from reincarnate.losses.logged import Clone
from reincarnate.losses.mimic import PolicyRegression
from reincarnate.losses.terms import Conservative, Distil, Follow, LargeMargin
from reincarnate.methods import METHODS, Kickstart
from reincarnate.run.directory import RunDirectory
from reincarnate.run.execute import execute, execute_together
from reincarnate.run.settings import Run
from reincarnate.students import DQN, PPO, R2D2
from reincarnate.students.gradient import Draws
from reincarnate.students.sequences import lesson_of, warmed
from reincarnate.training.diagnostics import _of_actions
from reincarnate.types import LOGITS, VALUES, Batch, Prediction, TaskSpec, Weighing

SPEC = TaskSpec("masked", (1,), "float32", 3, 1, None, {})
ALLOWED = torch.tensor([[True, True, False]])
TEACHER = torch.tensor([[math.log(3), 0.0, 9.0]])  # it has never learnt the third action's
STUDENT = torch.tensor([[0.0, 0.0, 5.0]])


def batch_of(mask=ALLOWED, **more) -> Batch:
    said = {"teacher": Prediction(LOGITS, TEACHER)}
    return Batch(torch.zeros(1, 1), torch.tensor([1]), torch.zeros(1), torch.zeros(1), None, said, mask=mask, **more)


def filled(rows: Replay, steps: int, mask=((True, True, False),)) -> Replay:
    masks = np.repeat(np.array(mask), rows.streams, 0)
    never = np.zeros(rows.streams, bool)
    for step in range(steps):
        obs = np.full((rows.streams, 1), step, np.float32)
        action = np.full(rows.streams, step % 2)
        rows.add(obs, action, never * 1.0, never, never, obs + 1, notes={"mask": masks}, mask=masks, next_mask=masks)
    return rows


# ---- losses ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("term", [Distil(1.0, 1.0), Follow("teacher")])
def test_a_divergence_is_over_the_actions_that_are_allowed(term):
    # teacher (3/4, 1/4), student (1/2, 1/2): 3/4 ln 3/2 + 1/4 ln 1/2
    expected = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    student = STUDENT.clone().requires_grad_()
    loss = term(Prediction(VALUES, student), batch_of())
    loss.sum().backward()
    torch.testing.assert_close(loss.detach(), torch.tensor([expected]))
    torch.testing.assert_close(student.grad, torch.tensor([[-0.25, 0.25, 0.0]]))


def test_a_reversed_divergence_is_finite_where_actions_are_not_allowed():
    loss = Distil(1.0, 1.0, reverse=True)(Prediction(VALUES, STUDENT), batch_of())
    torch.testing.assert_close(loss, torch.tensor([0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)]))


def test_the_slope_that_is_written_down_knows_masks_too():
    kl, slope = Distil(1.0, 1.0).at_once(STUDENT, batch_of())
    torch.testing.assert_close(kl, Distil(1.0, 1.0)(Prediction(VALUES, STUDENT), batch_of()))
    torch.testing.assert_close(slope, torch.tensor([[-0.25, 0.25, 0.0]]))


@pytest.mark.parametrize(("all_actions", "expected"), [(False, 0.8), (True, 0.8 / 3)])
def test_a_margins_expert_and_rivals_are_allowed(all_actions, expected):
    # the expert is action 0 (the third may not be taken): action 1 is as good, and must be 0.8 worse
    loss = LargeMargin(0.8, all_actions)(Prediction(VALUES, STUDENT), batch_of())
    torch.testing.assert_close(loss, torch.tensor([expected]))


def test_cql_pushes_down_allowed_actions_alone():
    loss = Conservative(1.0)(Prediction(VALUES, STUDENT), batch_of())
    torch.testing.assert_close(loss, torch.tensor([math.log(2)]))


def test_actor_mimic_regresses_on_allowed_actions_alone():
    # teacher (3/4, 1/4), student (1/2, 1/2): the cross-entropy is ln 2
    loss = PolicyRegression(1.0)(Prediction(VALUES, STUDENT), batch_of())
    torch.testing.assert_close(loss, torch.tensor([math.log(2)]))


def test_cloning_weighs_what_was_done_against_allowed_actions_alone():
    loss = Clone()(Prediction(LOGITS, STUDENT), batch_of())
    torch.testing.assert_close(loss, torch.tensor([math.log(2)]))


def test_diagnostics_are_of_allowed_actions_alone():
    found = _of_actions(Prediction(VALUES, STUDENT), batch_of(), 1.0, 1.0)
    assert found["entropy"] == pytest.approx(math.log(2)) and found["action_gap"] == found["value_scale"] == 0
    assert found["agreement_teacher"] == 1  # 9 and 5 are of the action that is not there
    assert found["kl_teacher"] == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5), abs=1e-6)
    alone = _of_actions(Prediction(VALUES, STUDENT), batch_of(torch.tensor([[False, False, True]])), 1.0, 1.0)
    assert alone == {"entropy": 0, "value_scale": 5, "agreement_teacher": 1, "kl_teacher": 0}  # nothing to choose


def test_the_lessons_of_sequences_keep_their_masks_and_allow_all_where_no_step_is():
    mask = torch.tensor([[[True, False], [False, False]]])
    rows = Batch(torch.zeros(1, 2, 1), torch.zeros(1, 2, dtype=torch.int64), torch.zeros(1, 2), torch.ones(1, 2), None)
    rows = rows._replace(mask=mask, weight=torch.tensor([[1.0, 0.0]]), ended=torch.zeros(1, 2, dtype=torch.bool))
    lesson, _ = lesson_of(rows._replace(next_mask=torch.tensor([[False, True]])), 1)
    assert lesson.mask is not None and lesson.mask.tolist() == [[True, False], [True, True]]
    assert lesson.next_mask is not None and lesson.next_mask.tolist() == [[True, True], [False, True]]


WORTH = torch.tensor([1.0, 2.0, 100.0])  # of each action everywhere; the last is never allowed


def by_turns(steps: int, capacity: int = 60) -> Replay:
    """Rows of reward ½ where actions 0 and 1 are allowed in even steps, 0 alone in odd ones."""
    rows, never = Replay(SPEC, capacity, 1), np.zeros(1, bool)
    for step in range(steps):
        mask, after = (np.array([[True, at % 2 == 0, False]]) for at in (step, step + 1))
        obs, half = np.full((1, 1), step, np.float32), np.full(1, 0.5, np.float32)
        rows.add(obs, np.array([0]), half, never, never, obs, notes={"mask": mask}, mask=after, next_mask=after)
    return rows


def knowing_worth(settings):
    student = settings.newborn(SPEC, 0)
    with torch.no_grad():
        student.target.data.zero_()
        student.target.module.advantage.bias.copy_(WORTH)
    return student


def test_the_last_rows_of_a_sequence_bootstrap_from_what_is_allowed_after_them_as_lone_steps_do():
    rows, small = by_turns(20), {"hidden": (4,), "double": False, "gamma": 0.9, "batch_size": 4}
    student = knowing_worth(DQN(**small, memory="lstm", memory_size=4, unroll=4, burn_in=1, overlap=1, n_step=2))
    batch = student.settings.layout().gather(rows, 0, np.array([3]), [])  # rows 4 to 7 are learnt from, 8 is after
    assert batch.next_mask is not None and batch.next_mask.tolist() == [[True, True, False]]
    lesson, ahead = lesson_of(warmed(batch, 1), 2)
    with torch.no_grad():
        features = student._features(student.online.module, batch)
        target = student._target_in(batch, lesson, ahead, features, Draws())
    # of 4 and 6 two rewards and an even step; of 5 an odd one; of 7 one reward and step 8
    assert target.tolist() == pytest.approx([0.95 + 0.81 * 2, 0.95 + 0.81 * 1, 0.95 + 0.81 * 2, 0.5 + 0.9 * 2])
    for n_step, at in ((2, 6), (1, 7)):
        lone = Transitions(n_step, 0.9).gather(rows, 0, np.array([at]), [])
        alone = knowing_worth(DQN(**small, n_step=n_step))._target_of(lone, Draws())
        torch.testing.assert_close(alone, target[at - 4 : at - 3])


def test_prior_sequences_teach_values_of_states_whatever_is_allowed_after_them():
    settings = PPO(hidden=(4,), memory="lstm", memory_size=4, segment=4, rollout=8, batch_size=8)
    batch = settings.layout_of_data().gather(by_turns(20), 0, np.array([3, 8]), [])
    each = [settings.newborn(SPEC, 0).losses(given, Weighing()) for given in (batch, batch._replace(next_mask=None))]
    assert torch.isfinite(each[0]["value"]).all() and torch.equal(each[0]["value"], each[1]["value"])


# ---- experience --------------------------------------------------------------------------------------


def test_where_one_batch_has_masks_all_is_allowed_in_the_others():
    whole = joined([batch_of(), batch_of(None), batch_of(None, next_mask=ALLOWED)])
    assert whole.mask is not None and whole.mask.tolist() == [[True, True, False], [True] * 3, [True] * 3]
    assert whole.next_mask is not None and whole.next_mask.tolist() == [[True] * 3, [True] * 3, [True, True, False]]
    assert joined([batch_of(None), batch_of(None)]).mask is None


def test_sequences_from_before_masks_allow_all_in_their_last_successors_too():
    masked = Sequences(4, 0, 0.9, 1).gather(by_turns(20), 0, np.array([3]), [])  # the row after it is odd
    whole = joined([masked._replace(mask=None, next_mask=None), masked])
    assert whole.mask is not None and whole.mask.shape == (2, 4, 3) and whole.mask[0].all()
    assert whole.next_mask is not None and whole.next_mask.tolist() == [[True] * 3, [True, False, False]]


def test_a_column_that_is_made_late_is_one_in_the_whole_and_all_its_parts():
    for by_a_part in (False, True):
        whole = Replay(SPEC, 40, 4)
        parts = [whole.shard(i, 2) for i in range(2)]
        (parts[1] if by_a_part else whole).column("mask", (3,), np.bool_)
        filled(whole, 3)
        assert all(np.shares_memory(part.columns["mask"], whole.columns["mask"]) for part in parts)
        batch = Memory(parts[1], Transitions(1, 0.9)).sample(8, np.random.default_rng(0))
        assert batch.mask is not None and batch.mask.tolist() == [[True, True, False]] * 8


def test_a_row_whose_mask_made_room_for_the_next_is_drawn_no_more():
    rows = filled(Replay(SPEC, 8, 1), 20)
    never = np.zeros(1, bool)
    obs, other = np.full((1, 1), 20.0, np.float32), np.array([[False, False, True]])
    rows.add(obs, np.array([0]), never * 1.0, never, never, obs, notes={"mask": ALLOWED.numpy()}, mask=other)
    batch = Memory(rows, Transitions(1, 0.9)).sample(200, np.random.default_rng(0))
    assert batch.mask is not None and batch.mask.gather(1, batch.action[:, None]).all()


def test_a_ring_that_is_just_full_has_lost_the_mask_of_its_first_row():
    # 9 rows: after 8 steps row 8 says what is allowed in step 8, after 9 row 0 says what is in step 9
    rows = [by_turns(steps, 9) for steps in (8, 9, 10)]
    assert [ring.columns["mask"][0].tolist() for ring in rows[:2]] == [[True, True, False], [True, False, False]]
    assert [ring.span(0, 1) for ring in rows] == [(0, 7), (1, 8), (2, 9)]
    assert Replay.over(SPEC, rows[0].columns).span(0, 1) == (0, 9)  # nothing is written there any more


def test_a_replay_that_is_kept_goes_without_the_episode_whose_mask_made_room_for_the_next():
    rows, obs, never = Replay(SPEC, 6, 1), np.zeros((1, 1), np.float32), np.zeros(1, bool)
    mask, other = ALLOWED.numpy(), ~ALLOWED.numpy()
    for step in range(
        4
    ):  # two episodes of two steps and a tail fill it; other actions are allowed in what would follow
        told = {"mask": other if step == 3 else mask, "next_mask": mask}
        rows.add(obs, np.array([0]), never * 1.0, np.array([step % 2 == 1]), never, obs, notes={"mask": mask}, **told)
    assert np.array_equal(rows.columns["mask"][:1], other) and whole_episodes(rows, 0).tolist() == [3, 4, 5]


def test_where_a_task_says_nothing_any_more_all_is_allowed():
    env = envs.make("own_tasks:LegalAtFirst", 2)
    env.reset(np.random.default_rng(0))
    assert env.mask is not None and env.mask.tolist() == [[True, True, False]] * 2
    step = env.step(np.array([0, 1]))
    assert step.mask is not None and step.mask.tolist() == [[True] * 3] * 2 and step.mask is env.mask


def test_masks_that_begin_after_reset_are_heeded_from_then_on():
    env = envs.make("own_tasks:LegalLater?length=2", 2)
    for _ in range(2):
        env.reset(np.random.default_rng(0))
        assert env.mask is None
        step = env.step(np.array([0, 2]))
        assert step.mask is not None and step.mask.tolist() == [[False, True, True]] * 2
        step = env.step(np.array([1, 2]))  # the last of its episode: the next begins without a mask
        assert step.terminated.all() and step.mask is not None and step.mask.tolist() == [[True] * 3] * 2
        assert step.next_mask is not None and step.next_mask.tolist() == [[True, True, False]] * 2


def test_rows_from_before_the_first_mask_and_without_one_allow_all():
    rows, never = Replay(SPEC, 40, 1), np.zeros(1, bool)
    for step, mask in enumerate((None, ALLOWED.numpy(), None, None)):  # of what comes after the step
        obs, noted = np.full((1, 1), step, np.float32), {"mask": ALLOWED.numpy()} if step == 2 else {}
        rows.add(obs, np.array([0]), never * 1.0, never, never, obs + 1, notes=noted, mask=mask, next_mask=mask)
    assert rows.columns["mask"][:4].tolist() == [[True] * 3, [True] * 3, [True, True, False], [True] * 3]
    batch = Memory(rows, Transitions(1, 0.9)).sample(50, np.random.default_rng(0))
    assert batch.mask is not None and batch.next_mask is not None
    before_it = batch.obs[:, 0] == 1
    assert batch.next_mask[before_it].tolist() == [[True, True, False]] * int(before_it.sum())


# ---- whole runs --------------------------------------------------------------------------------------


@pytest.fixture
def registered():
    gym.register("Legal-v0", own_tasks.LegalByMethod)
    yield "Legal-v0?length=3"
    gym.registry.pop("Legal-v0")


def test_masks_are_those_of_the_environment_that_a_new_beginning_made(registered):
    env = envs.make(registered, 1)
    for _ in range(2):
        env.reset(np.random.default_rng(0))
        assert env.mask is not None and env.mask.tolist() == [[True, True, False]]
        assert env.step(np.array([1])).mask.tolist() == [[False, True, True]]  # pyright: ignore[reportOptionalMemberAccess]


def a_run(env: str, tmp_path, **more) -> Run:
    few = {"evaluations": 3, "eval_episodes": 1, "final_episodes": 2, "reference_episodes": 2, "log": ""}
    return Run(env, **{"method": Kickstart(), **more}, env_steps=120, store=str(tmp_path / "store"), **few)


@pytest.mark.parametrize("method", ["kickstart", "dqfd", "rehearsal"])
@pytest.mark.parametrize("student", [DQN(hidden=(4,), batch_size=8, warmup=10, replay_size=200)])
def test_methods_teach_where_actions_are_masked(method, student, tmp_path):
    (tmp_path / "rule.py").write_text("import torch\ndef told(obs):\n    return 1 - obs\ntold.tells = 'values'\n")
    made, more = METHODS[method](), {"data_env_steps": 60}
    if hasattr(made, "offline_updates"):
        more["method"] = made = METHODS[method](offline_updates=5)
    run = a_run("own_tasks:Legal?length=6", tmp_path, student=student, **{"method": made, **more})
    result = execute(Run(**{**vars(run), "teacher": f"py:{tmp_path / 'rule.py'}:told"}), tmp_path / "run")
    assert result["updates"] > 10


@pytest.mark.parametrize("student", [
    DQN(hidden=(4,), batch_size=8, warmup=10, replay_size=60),
    PPO(hidden=(4,), rollout=5, batch_size=10),
])  # fmt: skip
def test_students_learn_where_masks_begin_late_and_do_nothing_that_is_not_allowed(student, tmp_path):
    run = a_run("own_tasks:LegalLater?length=6", tmp_path, method=METHODS["scratch"](), student=student)
    assert execute(run, tmp_path / "run")["updates"] > 5


def test_a_student_with_a_memory_is_taught_where_actions_are_masked(tmp_path):
    (tmp_path / "rule.py").write_text("import torch\ndef told(obs):\n    return 1 - obs\ntold.tells = 'values'\n")
    small = {"hidden": (4,), "memory_size": 4, "batch_size": 16, "burn_in": 1, "unroll": 4, "overlap": 2}
    student = R2D2(**small, warmup=20, replay_size=400, update_every=8)
    run = a_run("own_tasks:Legal?length=6", tmp_path, student=student, teacher=f"py:{tmp_path / 'rule.py'}:told")
    assert execute(run, tmp_path / "run")["updates"] > 5


def test_seeds_together_keep_masks_through_a_stop(tmp_path, monkeypatch):
    student = DQN(hidden=(8,), batch_size=8, warmup=10, replay_size=60, epsilon_steps=20, lr=1e-2, update_every=1)
    run = a_run("own_tasks:Legal?length=6", tmp_path, method=METHODS["scratch"](), student=student)
    runs = [run, replace(run, seed=1)]
    whole, cut = ([tmp_path / f"{name}{seed}" for seed in range(2)] for name in ("whole", "cut"))
    execute_together(runs, whole)
    save = RunDirectory.checkpoint

    def stopping(directory, training):
        save(directory, training)
        if training.at.barrier == 3 and training.seed == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(RunDirectory, "checkpoint", stopping)
        execute_together(runs, cut)
    execute_together(runs, cut, [True, True])
    for a, b in zip(whole, cut, strict=True):
        weights = [(folder / "agent/weights.safetensors").read_bytes() for folder in (a, b)]
        assert weights[0] == weights[1]
