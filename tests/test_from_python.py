"""Calling from Python and notebooks: objects and paths go in, numbers come out, errors speak of arguments."""

import sys
import threading
import types
from pathlib import Path

import numpy as np
import pytest
import torch

import reincarnate as rc
from reincarnate import errors, ui
from reincarnate.agents.places import shipped
from reincarnate.envs import spec
from reincarnate.training.players import Player
from reincarnate.types import Prediction, TimeStep

TINY = {"evaluations": 1, "eval_episodes": 2, "final_episodes": 2, "reference_episodes": 2, "env_steps": 100}
SMALL = rc.DQN(hidden=(8,), warmup=20, batch_size=8)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A result, and the place of its run, given as a string."""
    place = tmp_path_factory.mktemp("made")
    run = rc.Run("CartPole-v1", rc.Scratch(), SMALL, store=place / "store", **TINY)
    return rc.execute(run, f"{place}/run"), place / "run"


@pytest.fixture
def from_python(monkeypatch):
    monkeypatch.setattr(errors, "flags", False)


def test_every_public_name_is_there_and_the_types_are_announced():
    assert set(rc.__all__) <= set(dir(rc)) and all(getattr(rc, name) is not None for name in rc.__all__)
    assert (Path(rc.__file__).parent / "py.typed").exists()


def test_an_agent_answers_one_observation_or_many_and_obeys_masks(made):
    agent = rc.open_agent(made[1])
    action, state = agent.predict(np.zeros(4))
    actions, _ = agent.predict(np.zeros((3, 4)), state=None, episode_start=np.ones(3))
    assert np.shape(action) == () and actions.tolist() == [action] * 3 and state.shape == (1, 0)
    assert agent.predict(np.zeros(4), action_masks=[action != 0, action != 1])[0] == 1 - action
    drawn = agent.predict(np.zeros((200, 4)), deterministic=False)[0]
    assert set(drawn) == {0, 1}
    with pytest.raises(rc.UserError, match=r"has observations \(4,\); these are \(5,\)"):
        agent.predict(np.zeros(5))


def test_opened_teachers_agents_paths_and_functions_become_addresses(made, tmp_path):
    agent = rc.open_agent(made[1])
    prior = rc.open_teacher("prior:minatar-breakout-dqn")
    run = rc.Run("CartPole-v1", rc.Kickstart(), teacher=prior, data=Path("d"), weights=agent)
    assert (run.teacher, run.data, run.weights) == (prior.card.uri, "d", f"store:{agent.path}")
    assert prior.card.uri.startswith("prior:minatar-breakout-dqn@")
    (tmp_path / "rule_of_thumb.py").write_text("def lean(obs):\n    return obs[:, :2]\n")
    code: dict = {}
    exec(compile((tmp_path / "rule_of_thumb.py").read_text(), str(tmp_path / "rule_of_thumb.py"), "exec"), code)
    assert rc.Run("CartPole-v1", rc.Kickstart(), teacher=code["lean"]).teacher == f"py:{tmp_path}/rule_of_thumb.py:lean"


def test_what_a_run_may_be_given_can_be_opened_and_evaluated_too(made, tmp_path):
    prior = rc.open_teacher(shipped("minatar-breakout-dqn"))  # a path
    assert prior.card.sha256 == rc.open_teacher("prior:minatar-breakout-dqn").card.sha256
    file = tmp_path / "rule_of_thumb.py"
    file.write_text("def lean(obs):\n    return obs[:, :2]\n")
    code: dict = {}
    exec(compile(file.read_text(), str(file), "exec"), code)
    scores = [
        rc.evaluate(x, "CartPole-v1", 2).score for x in (code["lean"], f"py:{file}:lean", rc.open_teacher(code["lean"]))
    ]
    assert scores[0] == scores[1] == scores[2]
    assert rc.evaluate(rc.open_agent(made[1]), episodes=1).env == "CartPole-v1"
    with pytest.raises(rc.UserError, match=r"^--agent must be an address, a path, or something opened"):
        rc.evaluate(3, "CartPole-v1")


def test_a_comparison_takes_one_folder_and_writes_into_no_run(made):
    assert rc.compare(str(made[1]), None)[-1].method == "scratch"
    before = sorted(made[1].iterdir())
    for out in (made[1], str(made[1] / "page"), made[1] / "page.html"):
        with pytest.raises(rc.UserError, match="a run, which keeps nothing but its own"):
            rc.compare([made[1]], out)
    assert sorted(made[1].iterdir()) == before


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_a_callers_threads_are_put_back_and_threads_of_a_process_take_turns(made, two_threads):
    alone, turns = rc.evaluate(made[1], episodes=3).returns, []
    assert torch.get_num_threads() == 2
    threads = [
        threading.Thread(target=lambda: turns.append(rc.evaluate(made[1], episodes=3).returns)) for _ in range(3)
    ]
    [thread.start() for thread in threads], [thread.join() for thread in threads]
    assert turns == [alone] * 3


def test_lists_in_settings_are_taken_for_tuples(made, tmp_path):
    place = made[1].parent / "store"
    student = rc.DQN(hidden=[8], warmup=20, batch_size=8)
    run = rc.Run("CartPole-v1", rc.Scratch(), student, store=place, imports=[], **TINY)
    assert run == rc.Run("CartPole-v1", rc.Scratch(), SMALL, store=place, **TINY)
    assert np.isfinite(rc.execute(run, tmp_path / "run")["score"])
    with pytest.raises(rc.UserError, match=r"^student\.lr: expected float, found \[0\.001\]$"):
        rc.execute(rc.Run("CartPole-v1", rc.Scratch(), rc.DQN(lr=[1e-3]), store=place, **TINY), tmp_path / "x")


def test_a_dataset_is_opened_by_a_path_as_text_and_an_agents_by_the_agent(made, tmp_path):
    run = rc.Run("CartPole-v1", rc.Scratch(), SMALL, store=tmp_path / "store", keep="all", **TINY)
    rc.execute(run, tmp_path / "run")
    kept = rc.open_agent(f"store:{tmp_path / 'run'}").data()
    assert kept is not None and rc.open_dataset(str(kept.path)).id == kept.id == rc.open_dataset(kept.path).id
    with pytest.raises(rc.UserError, match=r"manifest\.json"):
        rc.open_dataset("nope")
    with pytest.raises(rc.UserError, match=r"names an agent, and no dataset: open_agent\('store:runs/a'\)\.data\(\)"):
        rc.open_dataset("store:runs/a")


def test_what_no_record_could_name_is_refused(from_python):
    for teacher in (lambda obs: obs, types.SimpleNamespace(card=3)):
        with pytest.raises(rc.UserError, match=r"^teacher"):
            rc.Run("CartPole-v1", rc.Kickstart(), teacher=teacher)


def test_evaluate_returns_numbers(made):
    scored = rc.evaluate(made[1], episodes=3)
    assert scored.score == pytest.approx(np.mean(scored.returns)) and len(scored.returns) == 3
    assert scored.interval[0] <= scored.score <= scored.interval[1] and "over 3 episodes" in str(scored)


def test_errors_speak_of_arguments(from_python, tmp_path):
    with pytest.raises(rc.UserError, match=r"^env_steps must be at least 1, not 0$"):
        rc.execute(rc.Run("CartPole-v1", rc.Scratch(), env_steps=0), tmp_path / "x")
    said = "--wean.no-sticky and `x --seed 1`, not -- or a--b; pip install --no-deps y"
    assert errors.as_arguments(said) == "wean.sticky=False and `x --seed 1`, not -- or a--b; pip install --no-deps y"


def test_results_agents_cards_and_scores_show_themselves_in_notebooks(made):
    agent = rc.open_agent(made[1])
    for value in (made[0], agent, rc.open_teacher(f"store:{made[1]}").card, rc.evaluate(made[1], episodes=2)):
        html = value._repr_html_()
        assert "CartPole-v1" in html and "<script" not in html
    assert "&lt;b&gt;" in ui.table_of({"a": "<b>"})


def test_progress_in_a_notebook_is_one_line_that_is_written_over(monkeypatch):
    shown = []

    class Cell:
        def update(self, what, raw):
            shown.append(what["text/plain"])

    def display(what, raw, display_id):
        shown.append(what["text/plain"])
        return Cell()

    module = types.ModuleType("IPython.display")
    module.display = display
    monkeypatch.setitem(sys.modules, "ipykernel", types.ModuleType("ipykernel"))
    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    with rc.progress() as tick:
        for done in range(1, 5):
            tick("steps", done, 4)
    assert shown == ["steps: 1 / 4", "steps: 4 / 4"]


def test_a_teacher_that_plays_obeys_masks_when_it_strays_too():
    class Left:
        view, frozen = "student", True

        def initial(self, n):
            return torch.zeros(n, 0)

        def predict(self, step, carry):
            return Prediction("logits", torch.tensor([[9.0, 0.0]]).repeat(len(step.obs), 1)), carry

    mask = torch.tensor([[False, True]]).repeat(50, 1)
    step = TimeStep(torch.zeros(50, 4), torch.ones(50, dtype=torch.bool), mask=mask)
    player = Player(Left(), spec("CartPole-v1"), "logits", "sample", strays=0.5)
    assert player.act(step, torch.zeros(50, 0), 0.0, np.random.default_rng(0)).action.tolist() == [1] * 50
