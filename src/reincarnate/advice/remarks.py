"""What else has to be said of a prior, whatever is recommended: each with its condition and its source."""

from collections.abc import Callable
from dataclasses import dataclass

from reincarnate.advice import sources
from reincarnate.advice.facts import Measurement, Score
from reincarnate.types import ACTIONS

ENOUGH = 1_000_000  # env steps, as studied
FOREIGN = 0.5  # agreement below which data is said to be of another policy


@dataclass(frozen=True)
class Remark:
    """A condition on the measurements, what follows from it, and who found that out. `grave`: the prior is no good."""

    name: str
    when: Callable[[Measurement], bool]
    text: Callable[[Measurement], str]
    source: str
    grave: bool = False


@dataclass(frozen=True)
class Said:
    """A remark that holds."""

    name: str
    text: str
    source: str
    grave: bool


def _short(score: Score) -> str:
    return f"{score.mean:.4g} [{score.low:.4g}, {score.high:.4g}]"


def _random_level(m: Measurement) -> str:
    assert m.teacher is not None
    return (
        f"the teacher's score {_short(m.teacher.score)} cannot be told from the random policy's {_short(m.random)}: "
        "as a teacher it is worse than useless; do without it"
    )


def _below_random(m: Measurement) -> str:
    assert m.teacher is not None
    return (
        f"the teacher's score {_short(m.teacher.score)} is below the random policy's {_short(m.random)}: it was made "
        "for another objective, or another version of the task, and is worse than useless; do without it"
    )


def _beaten(m: Measurement) -> str:
    assert m.teacher is not None and m.data is not None and m.data.returns is not None
    return (
        f"the data returns {_short(m.data.returns)}, more than the teacher's {_short(m.teacher.score)}: the teacher "
        "was made for another objective, or did not make the data, and beside it is worse than useless; do without it"
    )


def _poor_weights(m: Measurement) -> bool:
    score = m.weights.score if m.weights else None
    return score is not None and not score.above(m.random)


def _weak(m: Measurement) -> str:
    hint = "" if m.continuous else "; if imitation goes badly, try --temperature 1"
    return (
        f"the teacher was trained for {m.trained:,} env steps, the student will be for {m.budget:,}: expect to outgrow "
        f"it{hint}"
    )


def _short_budget(m: Measurement) -> str:
    return (
        f"the budget of {m.budget:,} env steps is under a tenth of what the teacher had ({m.trained:,}): expect to "
        "come near it, not to pass it"
    )


def _unsure(m: Measurement) -> str:
    score = m.teacher.score if m.teacher else m.random
    wide = f"the teacher's interval [{score.low:.4g}, {score.high:.4g}] is wide"
    return f"{wide}: normalised scores will be as vague; more --episodes would narrow it"


def _no_gap(m: Measurement) -> bool:
    return m.teacher is not None and m.teacher.gap == 0


def _foreign(m: Measurement) -> bool:
    return m.data is not None and m.data.agreement is not None and m.data.agreement < FOREIGN


REMARKS = (
    Remark(
        "continuous actions",
        lambda m: m.continuous,
        lambda m: (
            f"{m.task} has continuous actions: which method comes first was mostly found for discrete ones, on budgets "
            "of Atari and MinAtar; --try it"
        ),
        "docs/findings.md: studies of continuous actions are small",
    ),
    Remark("random-level teacher", lambda m: m.random_level, _random_level, sources.USELESS, grave=True),
    Remark("wrong objective", lambda m: m.below_random, _below_random, sources.USELESS, grave=True),
    Remark("data better than teacher", lambda m: m.data_beats_teacher, _beaten, sources.REGIMES, grave=True),
    Remark(
        "random-level data",
        lambda m: m.data is not None and not m.good_data,
        lambda m: "the data's returns are no better than the random policy's: it can widen coverage, not show the way",
        sources.REHEARSAL,
        grave=True,
    ),
    Remark(
        "poor weights",
        _poor_weights,
        lambda m: "the agent of these weights is no better than the random policy: nothing to go on from",
        sources.SCRATCH,
        grave=True,
    ),
    Remark(
        "another network",
        lambda m: m.weights is not None and not m.weights.same_network,
        lambda m: f"the student cannot start from these weights: {m.weights.misfit}" if m.weights else "",
        sources.FINETUNE,
    ),
    Remark("weak teacher", lambda m: m.good_teacher and m.weak_teacher, _weak, sources.WEAK),
    Remark("short budget", lambda m: m.good_teacher and m.short_budget, _short_budget, sources.BUDGET),
    Remark(
        "a quicker student",
        lambda m: m.good_teacher and m.policy_teacher and m.slow_student and not m.weak_teacher,
        lambda m: (
            f"where env steps are cheap, a PQN student ends above such a teacher in minutes: ask again with --student "
            f"pqn --budget {ENOUGH}"
        ),
        sources.BETTER,
    ),
    Remark(
        "a teacher may hold its student back",
        lambda m: m.good_teacher and m.policy_teacher and m.quick_student and m.budget >= ENOUGH,
        lambda m: (
            "in one of the four games studied, Asterix, such a student ended higher alone than taught: with so many "
            "env steps, run scratch beside it"
        ),
        sources.BETTER,
    ),
    Remark(
        "names actions only",
        lambda m: m.good_teacher and m.teacher is not None and m.teacher.tells == ACTIONS,
        lambda m: "the teacher only names actions: each is taken to have probability 0.99, the second best is not told",
        "docs/methods/kickstart.md",
    ),
    Remark(
        "cannot annotate",
        lambda m: m.good_teacher and m.teacher is not None and m.data is not None and not m.teacher.annotates,
        lambda m: "the teacher has a memory or a view of its own and cannot judge stored data: it plays its own",
        sources.OWN_PLAY,
    ),
    Remark(
        "data of another policy",
        _foreign,
        lambda m: f"the teacher would do the same in {m.data.agreement:.0%} of the data only" if m.data else "",
        "docs/methods/qdagger.md: the paper's data is the teacher's own",
    ),
    Remark(
        "returns not comparable",
        lambda m: m.data is not None and m.data.returns is None,
        lambda m: "the data's returns are of clipped rewards, or of too few episodes, to be held against the teacher's",
        "docs/formats.md: stored rewards are clipped as the task's",
    ),
    Remark("noisy scale", lambda m: m.noisy_teacher, _unsure, sources.NOISE),
    Remark(
        "no preference",
        _no_gap,
        lambda m: "the teacher's median action gap is 0: mostly it prefers nothing, and little can be distilled",
        "docs/methods/kickstart.md",
    ),
)
"""Said in this order, each where it holds."""


def remarks(measured: Measurement) -> list[Said]:
    """All that hold."""
    return [Said(r.name, r.text(measured), r.source, r.grave) for r in REMARKS if r.when(measured)]
