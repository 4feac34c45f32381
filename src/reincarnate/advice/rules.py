"""Which method, by rules: each says when it holds, what it recommends, why, and who found that out."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from reincarnate.advice import sources
from reincarnate.advice.facts import LONG, Measurement
from reincarnate.methods import (
    BC,
    JSRL,
    RLPD,
    TD3BC,
    WSRL,
    CalQL,
    Dagger,
    FineTune,
    Kickstart,
    Pretrain,
    QDagger,
    Rehearsal,
    Scratch,
)
from reincarnate.methods.weaning import Weaning
from reincarnate.types import MEANS, SQUASHED

STAYS = Kickstart(weight=0.5, wean=Weaning(by="fixed"))
"""As studied (studies/better.yaml, clock.yaml): the teacher stays to the end; the finished agent plays without it."""
FEW_UPDATES = 5000  # online: with no more than were studied, no student does better than one that only imitates


@dataclass(frozen=True)
class Rule:
    """If `when` holds, `method` is worth trying, for the reason `why`, as `source` found."""

    name: str
    when: Callable[[Measurement], bool]
    method: Any  # its defaults; settings.py fits them to what was measured
    why: Callable[[Measurement], str]
    source: str


def _finetune(m: Measurement) -> str:
    assert m.weights is not None
    if m.weights.score is None:
        return (
            f"the agent's network is the student's; what it is worth here is unknown: it was made for {m.weights.task}"
        )
    return "the agent's network is the student's: go on from its weights at a reduced rate before distilling them"


def _qdagger(m: Measurement) -> str:
    assert m.teacher is not None
    start = f"the teacher ({m.teacher.score.mean:.4g}) is better than random ({m.random.mean:.4g})"
    return f"{start}, and any student can learn from it: offline from its data first, then online while it is weaned"


def _scratch(m: Measurement) -> str:
    if m.teacher is None and m.weights is None and m.data is None:
        return "there is no prior"
    return "there is no prior here that beats the random policy: it would be learnt from only to be unlearnt"


RULES = (
    Rule("go on from the weights", lambda m: m.good_weights, FineTune(), _finetune, sources.FINETUNE),
    Rule(
        "warm up with the agent's own play",
        lambda m: m.good_weights and m.weights_beat_data and not m.on_policy,
        WSRL(),
        lambda m: "the agent is better than the data: keep near to it, and leave the data out",
        sources.OWN_PLAY_FIRST,
    ),
    Rule(
        "taught to the end",
        lambda m: m.good_teacher and m.policy_teacher and m.quick_student and m.budget >= LONG,
        STAYS,
        lambda m: (
            f"with its teacher at its side to the end a {m.student_name} student passed what that scores on three of "
            "four games, in a minute or two; the finished agent plays without it"
        ),
        sources.BETTER,
    ),
    Rule(
        "taught on its own rollouts",
        lambda m: m.good_teacher and m.on_policy,
        Kickstart(),
        lambda m: (
            f"a {m.student_name} student learns from what it has just played, and can be told there what its teacher "
            "would do"
        ),
        sources.ON_POLICY,
    ),
    Rule(
        "imitate only",
        lambda m: m.good_teacher and not m.weak_teacher and m.updates < FEW_UPDATES,
        Dagger(),
        lambda m: f"{m.updates:,} updates online are few: imitation is quicker, and ends at the teacher's level",
        sources.DISTILLATION,
    ),
    Rule("distil, then wean", lambda m: m.good_teacher, QDagger(), _qdagger, sources.METHODS),
    Rule(
        "let the teacher lead the way",
        lambda m: m.good_teacher and m.blind,
        JSRL(),
        lambda m: "the random policy's returns are all the same: exploration is hard, and the teacher knows a way",
        sources.JSRL,
    ),
    Rule(
        "distil online only",
        lambda m: m.good_teacher,
        Kickstart(),
        lambda m: "the same without an offline phase: no data of the teacher is needed",
        sources.KICKSTART,
    ),
    Rule(
        "half of each batch from few data",
        lambda m: m.good_data and m.few_data and not m.on_policy,
        RLPD(),
        lambda m: f"{_transitions(m)} are too few to learn from alone, and good enough to be in every batch",
        sources.RLPD,
    ),
    Rule(
        "offline from logs, no better than was earned",
        lambda m: m.good_data and not m.few_data and m.off_policy_actor and _plain(m, SQUASHED),
        CalQL(),
        lambda m: (
            f"{_transitions(m)}{_better(m)}: offline, values of unseen actions held down to what was earned; then TD"
        ),
        sources.CALQL,
    ),
    Rule(
        "offline from logs, held to their actions",
        lambda m: m.good_data and not m.few_data and m.off_policy_actor and m.student.predicts == MEANS,
        TD3BC(),
        lambda m: f"{_transitions(m)}{_better(m)}: offline, held to logged actions; online, while that falls away",
        sources.TD3BC,
    ),
    Rule(
        "clone the data, then learn held to the clone",
        lambda m: m.good_data and (m.on_policy or m.off_policy_actor),
        BC(),
        lambda m: f"{_transitions(m)}{_better(m)} can be cloned by any student with an actor, and warm its values",
        sources.CLONE,
    ),
    Rule(
        "offline first",
        lambda m: m.good_data and not m.few_data and not (m.on_policy or m.off_policy_actor),
        Pretrain(),
        lambda m: f"{_transitions(m)}{_better(m)}: conservative offline learning, then TD online",
        sources.PRETRAIN,
    ),
    Rule(
        "re-live the data",
        lambda m: m.good_data and not m.on_policy,
        Rehearsal(),
        lambda m: f"{_transitions(m)}{_better(m)} can be mixed into every batch at little cost",
        sources.REHEARSAL,
    ),
    Rule(
        "no prior that helps",
        lambda m: not (m.good_teacher or m.good_weights or m.good_data),
        Scratch(),
        _scratch,
        sources.SCRATCH,
    ),
    Rule(
        "re-live what there is",
        lambda m: m.data is not None and not m.on_policy,
        Rehearsal(),
        lambda m: f"{_transitions(m)} at the random policy's level: a small share costs little, and may cover more",
        sources.REHEARSAL,
    ),
)
"""In order of preference: the first that holds is recommended first, the next with another method second."""

BASELINE = Rule("baseline", lambda m: True, Scratch(), lambda m: "what the prior has to beat", sources.SCRATCH)


def choose(measured: Measurement) -> list[Rule]:
    """At most two rules of different methods, the best first, and the baseline."""
    chosen: list[Rule] = []
    for rule in RULES:
        if len(chosen) < 2 and rule.when(measured) and all(type(r.method) is not type(rule.method) for r in chosen):
            chosen.append(rule)
    return chosen if any(isinstance(r.method, Scratch) for r in chosen) else [*chosen, BASELINE]


def _plain(m: Measurement, kind: str) -> bool:
    """Whether the student tells this, and compares values with returns in one unit."""
    return m.student.predicts == kind and not getattr(m.student, "worth", 0.0)


def _transitions(m: Measurement) -> str:
    assert m.data is not None
    return f"{m.data.transitions:,} transitions"


def _better(m: Measurement) -> str:
    return " that return more than the teacher" if m.data_beats_teacher else ""
