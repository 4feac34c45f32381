"""Several tasks side by side: one padded face, masks, a teacher for each, scores of each; and several teachers of one."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from interrupting import Stop, at_barrier

from reincarnate import envs
from reincarnate.data import save_dataset
from reincarnate.data.layouts import Rollout, Transitions
from reincarnate.data.memory import Memory, Storage, memory_for
from reincarnate.envs.several import seats
from reincarnate.envs.task import divided, parse
from reincarnate.envs.vector import IDLE
from reincarnate.errors import UserError
from reincarnate.methods import ActorMimic, Kickstart, Scratch
from reincarnate.priors.played import collect
from reincarnate.priors.teacher_report import evaluate_agent
from reincarnate.priors.weights import refill
from reincarnate.report import load_runs
from reincarnate.report.scales import on_one_scale
from reincarnate.run.execute import execute
from reincarnate.run.prepare import prepare
from reincarnate.run.settings import Run
from reincarnate.students import DQN, PQN
from reincarnate.teachers.by_task import addresses
from reincarnate.teachers.features import features_of
from reincarnate.teachers.fit import open_for
from reincarnate.training.asking import predictor_of
from reincarnate.training.evaluate import Evaluation, Scale, Scales
from reincarnate.training.players import RandomPlayer, Stage
from reincarnate.types import LOGITS, TaskSpec, TimeStep

BREAKOUT, FREEWAY, CART = "MinAtar/Breakout-v1", "MinAtar/Freeway-v1", "CartPole-v1"
BOTH = f"{BREAKOUT},{FREEWAY}"
RULES = """
import torch
class Rule:
    def __init__(self, actions="3", best="0", tells="logits", seen=None, features="0"):
        self.actions, self.best, self.tells = int(actions), int(best), tells
        self.card = {"actions": self.actions} | ({"obs_shape": (10, 10, int(seen))} if seen else {})
        if int(features):
            self.features = lambda obs: obs.float().flatten(1)[:, : int(features)] + 1
    def __call__(self, obs):
        told = torch.zeros(len(obs), self.actions)
        told[:, self.best] = 3.0
        return told
"""


@pytest.fixture
def rule(tmp_path):
    """The address of a teacher that always prefers one action."""
    (tmp_path / "rules.py").write_text(RULES)
    return lambda **how: f"py:{tmp_path}/rules.py:Rule?" + "&".join(f"{k}={v}" for k, v in how.items())


def test_commas_join_tasks_but_not_the_parts_of_an_argument():
    assert divided("A-v0,pkg.tasks:Mine,B-v1?x=[1,2],C-v0") == ["A-v0", "pkg.tasks:Mine", "B-v1?x=[1,2]", "C-v0"]
    assert divided('T-v0?words="a,b"&more=a,b') == ['T-v0?words="a,b"&more=a,b']
    several = parse("Memory/TMaze-v0?length=5, Memory/TMaze-v0?length=9")
    assert [part.kwargs["length"] for part in several.parts] == [5, 9]
    assert several == parse(several.address) and several.folder.startswith("2-tasks-")
    assert envs.identity(several)["tasks"] == [envs.identity(part) for part in several.parts]
    assert parse("own_tasks:Plain,CartPole-v1").modules == ("own_tasks",)  # whose code will run


def test_the_face_is_padded_and_names_each_action_once():
    spec = envs.spec(BOTH)
    assert spec.obs_shape == (10, 10, 7) and spec.obs_dtype == "bool"
    assert spec.protocol["actions"] == ["n", "l", "r", "u", "d"]  # of Breakout n, l, r; of Freeway n, u, d
    assert [seat.places for seat in seats(BOTH)] == [(0, 1, 2), (0, 3, 4)]
    assert envs.spec("MinAtar/Seaquest-v1,MinAtar/Breakout-v1").protocol["actions"] == list("nlurdf")


def test_each_copy_plays_its_task_as_it_is_played_alone():
    env, alone = envs.make(BOTH, 4), [envs.make(one, 2) for one in (BREAKOUT, FREEWAY)]
    seeds = np.arange(4)
    obs = env.begin(seeds)  # pyright: ignore
    own = [member.begin(seeds[i::2]) for i, member in enumerate(alone)]  # pyright: ignore
    rng = np.random.default_rng(0)
    for t in range(300):
        assert np.array_equal(obs[0::2, ..., :4], own[0]) and not obs[0::2, ..., 4:].any()
        assert np.array_equal(obs[1::2], own[1])
        actions = rng.integers(3, size=4)
        actions[0] = IDLE if t % 7 == 0 else actions[0]
        shared = np.where(actions == IDLE, IDLE, np.array([[0, 1, 2], [0, 3, 4]])[[0, 1, 0, 1], actions])
        step = env.step(shared)
        steps = [member.step(actions[i::2]) for i, member in enumerate(alone)]
        for i, each in enumerate(steps):
            assert np.array_equal(step.reward[i::2], each.reward)
            assert np.array_equal(step.terminated[i::2], each.terminated)
        obs, own = step.obs, [each.obs for each in steps]


def test_an_action_that_a_task_has_not_is_masked_and_refused():
    env = envs.make(BOTH, 2)
    env.reset(np.random.default_rng(0))
    assert env.mask.tolist() == [[True, True, True, False, False], [True, False, False, True, True]]  # pyright: ignore
    assert env.task.tolist() == [0, 1]  # pyright: ignore
    with pytest.raises(UserError, match=r"MinAtar/Freeway-v1 has no action 1: it is masked there"):
        env.step(np.array([1, 1]))


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("CartPole-v1,Pendulum-v1", "Pendulum-v1 has continuous actions; several tasks side by side need discrete"),
        ("CartPole-v1,MinAtar/Breakout-v1", "cannot be played side by side: one shows float32"),
        ("MinAtar/Breakout-v1,ALE/Pong-v5", "cannot be played side by side: one shows bool"),
        ("CartPole-v1,CartPole-v1", "--env names CartPole-v1 twice"),
        ("CartPole-v1,Nothing-v1", "unknown environment 'Nothing-v1'"),
    ],
)
def test_tasks_that_do_not_go_together_are_one_line(address, said):
    with pytest.raises(UserError, match=said):
        envs.spec(address)


def test_vectors_are_padded_and_copies_must_be_shared_out():
    assert envs.spec("CartPole-v1,Acrobot-v1").obs_shape == (6,) and envs.spec("CartPole-v1,Acrobot-v1").actions == 3
    with pytest.raises(UserError, match="3 copies cannot be shared by 2 tasks: it must be a multiple of 2"):
        envs.make(BOTH, 3)
    assert Run(BOTH, ActorMimic()).copies == 2 and Run(f"{BOTH},MinAtar/Asterix-v1", ActorMimic(), PQN()).copies == 33


# ---- teachers -------------------------------------------------------------------------------------------


def test_each_copy_asks_its_own_tasks_teacher(rule):
    teacher = open_for(f"Breakout={rule(best=2, seen=4)},{FREEWAY}={rule(best=1)}", envs.spec(BOTH))
    env = envs.make(BOTH, 4)
    obs = torch.from_numpy(env.reset(np.random.default_rng(0)))
    said = predictor_of(teacher)(obs, torch.tensor([0, 1, 0, 1])).x
    none = -torch.inf
    assert said.tolist() == [[0, 0, 3, none, none], [0, none, none, 3, 0]] * 2
    assert (said.softmax(-1)[0, 3:] == 0).all()  # exactly
    with pytest.raises(UserError, match="do not say which task they are of"):
        predictor_of(teacher)(obs)


def test_features_of_several_teachers_are_padded_to_the_longest(rule):
    teacher = open_for(f"Breakout={rule(features=2)},Freeway={rule(features=3)}", envs.spec(BOTH))
    found = features_of(teacher, envs.spec(BOTH))
    obs = torch.zeros(2, 10, 10, 7, dtype=torch.bool)
    assert found.sizes == (2, 3) and found.read(obs, torch.tensor([0, 1])).tolist() == [[1, 1, 0], [1, 1, 1]]


def test_a_teacher_that_is_missing_named_twice_or_of_other_spaces_is_one_line(rule):
    tasks = [BREAKOUT, FREEWAY]
    assert addresses("Breakout=a,b,MinAtar/Freeway-v1=c?x=y", tasks) == {BREAKOUT: "a,b", FREEWAY: "c?x=y"}
    mazes = ["Memory/TMaze-v0?length=5", "Memory/TMaze-v0?length=9"]
    assert addresses(f"{mazes[1]}=b,{mazes[0]}=a", mazes) == dict(zip(mazes, "ab", strict=True))
    with pytest.raises(UserError, match=r"names none for .*length=9; write Memory/TMaze-v0\?length=9=ADDRESS"):
        addresses(f"{mazes[0]}=a", mazes)  # "TMaze" is both
    for said, wrong in (
        ("names none for MinAtar/Freeway-v1; write Freeway=ADDRESS", "Breakout=a"),
        ("names two teachers for MinAtar/Breakout-v1", "Breakout=a,Breakout=b,Freeway=c"),
        ("several tasks have a teacher each", "store:a"),
    ):
        with pytest.raises(UserError, match=said):
            addresses(wrong, tasks)
    spec = envs.spec(BOTH)
    with pytest.raises(UserError, match=r"does not fit MinAtar/Freeway-v1: it sees \(10, 10, 4\)"):
        open_for(f"Breakout={rule()},Freeway={rule(seen=4)}", spec)
    with pytest.raises(UserError, match=r"does not fit MinAtar/Freeway-v1: .* has 5 actions"):
        open_for(f"Breakout={rule()},Freeway={rule(actions=5)}", spec)
    with pytest.raises(UserError, match="must speak alike"):
        open_for(f"Breakout={rule(tells='values')},Freeway={rule()}", spec)


def test_several_teachers_of_one_task_speak_as_one_or_by_turns(rule):
    two, obs = f"{rule(best=0)},{rule(best=1)}", torch.zeros(3, 4)
    spec = envs.spec(CART)
    mean = predictor_of(open_for(f"several:mean:{rule(actions=2, best=0)},{rule(actions=2, best=1)}", spec))(obs)
    assert torch.allclose(mean.x.exp(), torch.tensor(0.5))
    turns = open_for(f"several:turns:{two}", envs.spec(BREAKOUT))
    begins, carry, best = torch.ones(3, dtype=torch.bool), turns.initial(3), []
    for begin in (begins, ~begins, begins):  # the second episode is another's
        said, carry = turns.predict(TimeStep(obs, begin), carry)
        best.append(said.x.argmax(-1).tolist())
    assert best == [[0, 1, 0], [0, 1, 0], [1, 0, 1]]
    with pytest.raises(UserError, match="where HOW is one of mean, surest, turns"):
        open_for(f"several:{rule()}", spec)
    with pytest.raises(UserError, match="tells values, the first one logits"):
        open_for(f"several:mean:{rule()},{rule(tells='values')}", envs.spec(BREAKOUT))


def test_a_selector_names_whose_word_counts(tmp_path, rule):
    (tmp_path / "pick.py").write_text(
        "def pick(obs):\n    import torch\n    return torch.stack([obs[:, 0], -obs[:, 0]], 1)\n"
    )
    both, spec = f"{rule(actions=2, best=0)},{rule(actions=2, best=1)}", envs.spec(CART)
    teacher = open_for(f"several:chosen:py:{tmp_path}/pick.py:pick,{both}", spec)
    obs = torch.tensor([[1.0, 0, 0, 0], [-1.0, 0, 0, 0]])
    assert predictor_of(teacher)(obs).x.argmax(-1).tolist() == [0, 1]
    turned = open_for(f"several:turns:{both}", spec)
    assert teacher.card.sha256 != turned.card.sha256
    with pytest.raises(UserError, match="where HOW is one of mean, surest, turns, chosen"):
        open_for(f"several:chosen:{both}", spec)
    with pytest.raises(UserError, match=r"rules.py:Rule\?actions=3 has 3 actions; there are 2 teachers"):
        open_for(f"several:chosen:{rule(actions=3)},{both}", spec)


def test_the_surest_of_several_teachers_is_asked(tmp_path):
    (tmp_path / "unsure.py").write_text("import torch\ndef f(obs): return torch.zeros(len(obs), 2)\n")
    (tmp_path / "sure.py").write_text("import torch\ndef f(obs): return torch.tensor([[0., 5.]]).expand(len(obs), 2)\n")
    teacher = open_for(f"several:surest:py:{tmp_path}/unsure.py:f,py:{tmp_path}/sure.py:f", envs.spec(CART))
    assert predictor_of(teacher)(torch.zeros(2, 4)).x.tolist() == [[0, 5], [0, 5]]


# ---- what is kept and measured ------------------------------------------------------------------------------


def filled(steps: int) -> Memory:
    """A memory of random play of both games."""
    spec, env, rng = envs.spec(BOTH), envs.make(BOTH, 4), np.random.default_rng(0)
    memory = memory_for(spec, Transitions(1), Storage(2000), 4)
    stage = Stage(env, RandomPlayer(spec), env.reset(rng))
    for _ in range(steps):
        stage.play(0.0, rng).store(memory.rows)
    memory.rows.cut(stage.obs)
    return memory


def test_every_task_has_a_replay_of_its_own_so_that_batches_are_balanced():
    memory = filled(700)  # more than fits: 500 rows a copy
    batch = memory.sample(4000, np.random.default_rng(1))
    assert batch.task is not None and batch.mask is not None and batch.next_mask is not None
    assert abs(float(batch.task.float().mean()) - 0.5) < 0.07  # Breakout's short episodes take more rows
    allowed = torch.from_numpy(np.stack([seat.mask for seat in seats(BOTH)]))[batch.task]
    assert torch.equal(batch.mask, allowed) and torch.equal(batch.next_mask, allowed)  # tails too
    assert batch.mask.gather(1, batch.action[:, None]).all()


def test_what_follows_a_rollout_or_an_episode_allows_what_the_row_before_it_allowed():
    spec = TaskSpec("X", (1,), "float32", 3, 1, None, {"env": "X"})
    memory, layout = memory_for(spec, Rollout(4), Storage(80), 2), Rollout(4)
    never, obs, mask = np.zeros(2, bool), np.zeros((2, 1), np.float32), np.array([[True, False, True]] * 2)
    for t in range(4):
        cut = ~never if t == 1 else never  # by a time limit
        memory.rows.add(obs, np.zeros(2, np.int64), np.zeros(2, np.float32), never, cut, obs, notes={"mask": mask})
    memory.rows.foresee(obs)
    found = layout.gather(memory.rows, []).next_mask
    assert found is not None and found.tolist() == [[[True, False, True]] * 4] * 2


def test_a_replay_that_an_agent_kept_says_which_task_each_row_is_of(tmp_path):
    memory = filled(60)
    kept = save_dataset(memory.rows, tmp_path, {"kind": "replay"}, own=True)
    again = memory_for(memory.rows.spec, Transitions(1), Storage(2000), 4)
    assert refill(again.rows, kept) > 100
    batch = again.sample(64, np.random.default_rng(0))
    assert batch.mask is not None and batch.mask.gather(1, batch.action[:, None]).all() and batch.task is not None


def test_stored_rows_are_told_by_their_own_tasks_teacher(rule):
    teacher = open_for(f"Breakout={rule(best=2)},Freeway={rule(best=1)}", envs.spec(BOTH))
    batch = filled(50).sample(64, np.random.default_rng(1), {"teacher": predictor_of(teacher)})
    best = batch.predictions["teacher"].x.argmax(-1)
    assert batch.task is not None and torch.equal(best, torch.tensor([2, 3])[batch.task])


def test_the_score_of_several_tasks_is_the_mean_of_their_normalised_scores():
    result = Evaluation.of_tasks([Evaluation((1.0, 3.0), 10), Evaluation((100.0, 100.0), 20)])
    scales = Scales.of_tasks([Scale(0.0, 4.0), Scale(0.0, 50.0)])
    assert result.mean == 51.0 and result.env_steps == 30
    assert scales.each(result) == (0.5, 2.0)
    score, low, high = scales.of(result)
    assert score == 1.25 and (score - low) == pytest.approx(1.96 * (1.0 / 4.0) / 2) == high - score
    assert result.interval()[1] == pytest.approx(51 + 1.96 * 1.0 / 2)


PLAIN, THREE = "own_tasks:Plain", "own_tasks:Three?length=7"


def small(tmp_path, rule, method=None, **changes) -> Run:
    teacher = f"Plain={rule(actions=2)},Three={rule(best=2, features=3)}"
    student = DQN(hidden=(8,), lr=1e-2, warmup=40, batch_size=8, replay_size=400, target_every=20)
    sizes = {"env_steps": 160, "evaluations": 2, "eval_episodes": 2, "final_episodes": 3, "reference_episodes": 2}
    run = {"teacher": teacher, "store": str(tmp_path / "store"), **sizes, **changes}
    return Run(f"{PLAIN},{THREE}", method or ActorMimic(), **{"student": student, **run})


def test_a_run_of_two_tasks_tells_each_ones_score_and_stands_on_both_teachers(tmp_path, rule):
    notes: list[str] = []
    result = execute(small(tmp_path, rule, env_steps=320), tmp_path / "run", note=notes.append)
    assert list(result["tasks"]) == [PLAIN, THREE]
    each = [task["normalised"] for task in result["tasks"].values()]
    assert result["normalised"] == pytest.approx(np.mean(each))
    assert [task["episodes"] for task in result["tasks"].values()] == [2, 1]
    assert len(result["prior"]["parents"]) == 2 and result["prior"]["uses_teacher"]
    assert any("the teacher of Plain tells no features: beta is 0 there" in note for note in notes)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert {"normalised_0", "normalised_1"} <= lines[-1].keys()
    trained = [line for line in lines if "loss_features" in line]
    assert trained[-1]["loss_mimic"] < trained[0]["loss_mimic"]
    assert trained[-1]["loss_features"] < trained[0]["loss_features"]
    assert trained[-1]["agreement_teacher"] > trained[0]["agreement_teacher"] or trained[-1]["agreement_teacher"] > 0.9
    line = evaluate_agent(
        f"store:{tmp_path / 'run'}", episodes=4
    )  # its own actions alone, though nobody masks its word
    assert f"each: {PLAIN} " in str(line)


@pytest.mark.parametrize("student", [None, PQN(hidden=(8,), batch_size=16, rollout=8, epsilon=0.1)])
def test_a_stopped_run_of_two_tasks_goes_on_to_the_same_bits(tmp_path, rule, student):
    run = small(tmp_path, rule, **({"student": student, "env_steps": 128, "envs": 4} if student else {}))
    whole = execute(run, tmp_path / "whole")

    def stop(*_):
        raise Stop

    with at_barrier(1, stop), pytest.raises(Stop):
        execute(run, tmp_path / "cut")
    again = execute(run, tmp_path / "cut", resume=True)
    assert again["returns"] == whole["returns"]
    weights = [(tmp_path / name / "agent" / "weights.safetensors").read_bytes() for name in ("whole", "cut")]
    assert weights[0] == weights[1]


def test_a_student_alone_stands_on_the_scale_of_those_that_were_taught(tmp_path, rule):
    execute(small(tmp_path, rule), tmp_path / "runs" / "taught")
    alone = execute(small(tmp_path, rule, Scratch(), teacher=None), tmp_path / "runs" / "alone")
    runs = {run.method: run for run in load_runs([tmp_path / "runs"]).runs}
    references = [task["reference"] for task in runs["actor_mimic"].result["tasks"].values()]
    ends = [(told["random"]["mean"], told["teacher"]["mean"]) for told in references]

    def on_scale(scores):
        return np.mean([Scale(*pair).normalise(score) for pair, score in zip(ends, scores, strict=True)])

    assert alone["normalised"] is None
    own = [task["score"] for task in alone["tasks"].values()]
    assert runs["scratch"].normalised == pytest.approx(on_scale(own))
    for run in runs.values():
        assert run.evaluations and all(len(e.parts) == 2 for e in run.evaluations)
        assert [e.normalised for e in run.evaluations] == pytest.approx([on_scale(e.parts) for e in run.evaluations])
    unknown = tuple(replace(e, parts=(), normalised=None) for e in runs["scratch"].evaluations)  # of an older run
    older = replace(runs["scratch"], teacher=None, evaluations=unknown)
    assert not on_one_scale([runs["actor_mimic"], older])[1].evaluations  # rather none than on another scale


def test_other_methods_teach_several_tasks_too(tmp_path, rule):
    for direction in ("forward", "reverse"):
        run = small(tmp_path, rule, Kickstart(direction=direction), envs=4)
        assert np.isfinite(execute(run, tmp_path / direction)["score"])
        lines = (tmp_path / direction / "metrics.jsonl").read_text().splitlines()
        taught = [line["loss_distil"] for line in map(json.loads, lines) if "loss_distil" in line]
        assert taught and np.isfinite(taught).all()


@pytest.mark.parametrize(("tasks", "env_steps", "copies"), [(3, 1600, 15), (3, 100, 3), (2, 300, 2), (1, 1600, 16)])
def test_teachers_play_each_task_in_as_many_copies(tasks, env_steps, copies, rule):
    names = [CART, "Acrobot-v1", "MountainCar-v0"][:tasks]
    own = [rule(actions=envs.spec(name).actions) for name in names]
    address = ",".join(f"{name}={rule_}" for name, rule_ in zip(names, own, strict=True)) if tasks > 1 else own[0]
    spec = envs.spec(",".join(names))
    played = collect(
        spec, open_for(address, spec), "greedy", env_steps, 0.0, np.random.default_rng(0), lambda *told: None
    )
    assert played.streams == copies and played.transitions >= env_steps


def test_what_several_tasks_cannot_share_is_refused_before_anything_runs(tmp_path, rule):
    for said, changes in (
        ("--envs 3 cannot be shared by 2 tasks", {"envs": 3}),
        ("--final-episodes 1 is too few: one for each of 2 tasks", {"final_episodes": 1}),
    ):
        with pytest.raises(UserError, match=said):
            prepare(small(tmp_path, rule, **changes))
    assert not (tmp_path / "store").exists()


def test_a_student_without_maps_learns_the_policies_alone_and_says_so(tmp_path, rule):
    from reincarnate.students import STUDENTS

    teacher = rule(actions=2, features=2)
    prepared = prepare(Run(CART, ActorMimic(), STUDENTS["ppo"](), teacher=teacher, store=str(tmp_path)))
    assert prepared.run.method == ActorMimic(temperature=1.0, beta=0.0) and prepared.recorded.method == ActorMimic()
    assert any("learns no map to features: beta is 0" in line for line in prepared.warnings)
    assert prepared.run.student.predicts == LOGITS
