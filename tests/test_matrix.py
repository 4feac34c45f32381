"""Every method with every student: it trains for a few updates, or one line says why not before anything runs."""

import gc
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import gymnasium as gym
import pytest
import torch
from interrupting import RULE
from pairs import trains_or_refuses
from test_continuous_students import Aim
from thinning import thinned

from reincarnate.methods import METHODS, Scratch
from reincarnate.run.execute import execute
from reincarnate.run.settings import Run
from reincarnate.students import STUDENTS

LEAN = """
import torch
def lean(obs):
    return torch.cat([obs * torch.tensor([2.0, 0.5]) + torch.tensor([1.0, 0.5]), torch.full((len(obs), 2), -1.0)], 1)
lean.tells = "gaussian"
"""
REPLAY = {"hidden": (8,), "warmup": 10, "batch_size": 8, "replay_size": 300}
ROLLOUTS = {"hidden": (8,), "rollout": 8, "batch_size": 8, "epochs": 1}
SEQUENCES = {"memory": "lstm", "memory_size": 4, "unroll": 4, "burn_in": 2, "overlap": 2}
SMALL: dict[str, dict[str, Any]] = {
    "pqn": {"hidden": (8,), "rollout": 4, "batch_size": 8},
    "r2d2": {**REPLAY, **SEQUENCES, "batch_size": 16, "update_every": 4},
    "d4pg": {**REPLAY, "update_every": 2},
    **dict.fromkeys(("ppo", "ppo-cleanrl", "ppo-continuous"), ROLLOUTS),
    "a2c": {"hidden": (8,), "rollout": 2},
    "primal_dual": {"hidden": (8,), "rollout": 4},
}
VALUES = ("dqn", "rainbow", "qrdqn", "iqn", "modern", "pqn", "r2d2")
OFF_POLICY = ("td3", "sac", "tqc", "d4pg", "modern_sac")
ON_POLICY = ("ppo", "ppo-cleanrl", "ppo-continuous", "a2c", "primal_dual")
REMEMBERING = {"ppo-lstm": ("ppo", {"memory": "lstm", "memory_size": 4, "segment": 4}), "sac-lstm": ("sac", SEQUENCES)}


def student_of(column: str) -> Any:
    """The settings behind a column's name, as small as will do."""
    name, more = REMEMBERING.get(column.removesuffix("-box"), (column.removesuffix("-box"), {}))
    return STUDENTS[name](**{**SMALL.get(name, REPLAY), **more})


BOXES = (*OFF_POLICY, "sac-lstm", *(f"{name}-box" for name in ON_POLICY))
COLUMNS = (*VALUES, *ON_POLICY, "ppo-lstm", *BOXES)
SHORT = {
    "offline_updates": 4,
    "warmup_env_steps": 12,
    "critic_env_steps": 12,
    "horizon": 5,
    "actions": 2,
}


def test_no_student_is_left_out():
    assert {*VALUES, *OFF_POLICY, *ON_POLICY} == set(STUDENTS)


@pytest.fixture(scope="module")
def priors(tmp_path_factory) -> Callable[..., Any]:
    """Teachers for both kinds of actions, and an agent of a column, trained for a moment when first asked for."""
    folder = tmp_path_factory.mktemp("priors")
    (folder / "rule.py").write_text(RULE)
    (folder / "lean.py").write_text(LEAN)
    gym.register("AimMatrix-v0", entry_point=Aim, max_episode_steps=10)

    def run_of(method: Any, column: str) -> Run:
        box = column in BOXES
        fields = {"env_steps": 64, "evaluations": 1, "eval_episodes": 1, "final_episodes": 1, "reference_episodes": 1}
        run = Run(
            "AimMatrix-v0" if box else "CartPole-v1",
            method,
            student_of(column),
            data_env_steps=60,
            envs=2 if column.startswith((*ON_POLICY, "pqn")) else 0,
            store=str(folder / "store"),
            **fields,
        )
        teacher = f"py:{folder / 'lean.py' if box else folder / 'rule.py'}:lean"
        run = replace(run, teacher=teacher) if {"teacher", "data"} & method.needs else run
        if "weights" in method.needs:
            agent = folder / column
            if not agent.exists():
                execute(run_of(Scratch(), column), agent)
            run = replace(run, weights=f"store:{agent}")
        return run

    yield run_of
    del gym.registry["AimMatrix-v0"]


def small_method(name: str) -> Any:
    kind = METHODS[name]
    return kind(**{key: value for key, value in SHORT.items() if key in kind.__dataclass_fields__})


PLAYED = (
    *ON_POLICY,
    "ppo-lstm",
    *(name for name in BOXES if name.endswith("-box")),
)  # learn from what they have played
UNPLAIN = ("tqc", "d4pg", "modern_sac")  # their critics tell distributions
MIXED = dict.fromkeys(PLAYED, "no prior data can be mixed")
OF_VALUES = dict.fromkeys(VALUES, "reads .* student tells values: ")
OF_CHOICES = dict.fromkeys(BOXES, "reads logits or values|compares discrete actions")
REFUSED: dict[str, dict[str, str]] = {
    "rehearsal": MIXED,
    "rlpd": MIXED,
    "pretrain": OF_CHOICES,
    "dqfd": OF_CHOICES,
    "actor_mimic": OF_CHOICES,
    "wsrl": dict.fromkeys(PLAYED, "fills a replay"),
    "ppd": dict.fromkeys((*VALUES, *OFF_POLICY, "sac-lstm"), "needs an on-policy student"),
    "ald": dict.fromkeys((name for name in COLUMNS if name != "ppo-lstm"), "on-policy student with a memory"),
    "bc": OF_VALUES,
    "td3bc": {**OF_VALUES, **MIXED},
    "awac": {**OF_VALUES, **MIXED},
    "iql": {**dict.fromkeys((*VALUES, *PLAYED), "state values"), **dict.fromkeys(UNPLAIN, "plain values")},
    "calql": {
        **OF_VALUES,
        **MIXED,
        **dict.fromkeys(("td3", "d4pg"), "reads squashed"),
        "modern_sac": "scales rewards",
        "sac-lstm": "a student with a memory has none",
    },
}
"""The words that a pair is refused with; all others train."""


def refusal(method: str, column: str) -> str | None:
    """The words that a pair is refused with; None where it trains."""
    return REFUSED.get(method, {}).get(column)


PAIRS = [(method, column) for method in METHODS for column in COLUMNS]
OFTEN = {("jsrl", "a2c-box"), ("dagger", "tqc"), ("wsrl", "d4pg"), ("finetune", "primal_dual-box"), ("bc", "ppo-box")}
OFTEN |= {("ppd", "sac"), ("actor_mimic", "ppo-box"), ("warmcritic", "sac-lstm"), ("kickstart", "r2d2")}
"""Of each kind of pair that no other quick test has; the whole matrix is slow."""


@pytest.mark.parametrize("method, column", thinned(PAIRS, lambda *pair: pair in OFTEN))
def test_every_method_trains_every_student_or_says_in_one_line_why_not(method, column, priors, tmp_path):
    run = priors(small_method(method), column)
    agent = trains_or_refuses(run, refusal(method, column), tmp_path / "run")
    assert agent is None or type(agent.student) is type(run.student)


def _tensors() -> int:
    gc.collect()
    return sum(type(thing) is torch.Tensor for thing in gc.get_objects())


KEPT = 20  # tensors that a first run may leave in caches
OFTEN_LEFT = ("ppo", "ppo-continuous-box", "primal_dual", "pqn", "dqn", "ppo-lstm")


@pytest.mark.parametrize("column", thinned(COLUMNS, lambda column: column in OFTEN_LEFT))
def test_a_run_leaves_no_tensors_behind(column, priors, tmp_path):
    run = replace(priors(Scratch(), column), env_steps=96)
    execute(run, tmp_path / "first")
    before = _tensors()
    execute(replace(run, env_steps=192), tmp_path / "second")
    assert _tensors() - before < KEPT
