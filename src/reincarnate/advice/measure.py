"""Looking at a task and at what there is to start from; what takes long is kept in the store and not repeated."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reincarnate import envs
from reincarnate.advice.facts import (
    FEW_EPISODES,
    LEAST_BUDGET,
    LONG,
    DataFacts,
    Measurement,
    Score,
    TeacherFacts,
    WeightsFacts,
    own_temperature,
)
from reincarnate.agents.agent import Agent
from reincarnate.agents.places import folder_of
from reincarnate.errors import UserError
from reincarnate.files.atomic import FORMAT, sha256_json, write_json
from reincarnate.files.records import Record, load_record
from reincarnate.nets import surgery
from reincarnate.priors import reference as prior
from reincarnate.priors import weights
from reincarnate.priors.data_report import DataReport, describe_data
from reincarnate.priors.played import PRIOR_SEED, Tick
from reincarnate.priors.remarks import remarks
from reincarnate.priors.teacher_report import HOWS
from reincarnate.priors.temperature import measure as measure_temperature
from reincarnate.run.settings import default_student
from reincarnate.seeds import check_seed, stream
from reincarnate.students import PQN, SAC, STUDENTS
from reincarnate.teachers.fit import check_fit, open_for
from reincarnate.teachers.stored import StoredTeacher
from reincarnate.training.evaluate import Evaluation
from reincarnate.training.players import way_of_playing
from reincarnate.types import LOGITS, Settings, TaskSpec, Teacher


@dataclass(frozen=True)
class Question:
    """A task, what there is to start from, and what is to be made of it."""

    env: str
    teacher: str | None = None
    data: str | None = None
    weights: str | None = None
    student: str | None = None
    budget: int = 50_000
    episodes: int = 100
    plays: str = "auto"
    seed: int = 0
    store: Path = Path(".reincarnate")


def measure(question: Question, tick: Tick) -> Measurement:
    """Measure everything that a rule may look at. Raises UserError for bad input and for priors that do not fit."""
    kind = _checked(question)
    spec = envs.spec(question.env)
    agent = weights.open_weights(question.weights, spec) if question.weights else None
    teacher = _teacher(question, spec)
    if agent is None and isinstance(teacher, StoredTeacher):
        agent = weights.open_weights(teacher.card.uri)
    address = question.weights or (teacher.card.uri if teacher else None)
    student = _student(question, spec, kind, teacher, address if agent else None)
    dataset = _data_address(question, spec, agent, address)
    reference = prior.reference(spec, teacher, question.plays, question.episodes, question.store, tick)
    return Measurement(
        task=spec.id,
        budget=question.budget,
        student=student,
        student_name=str(STUDENTS.name_of(type(student))),
        random=Score.of(reference.random),
        blind=len(set(reference.random.returns)) == 1,
        continuous=spec.continuous,
        episodes=question.episodes,
        seed=question.seed,
        plays=question.plays,
        teacher=_of_teacher(question, spec, teacher, reference.teacher, tick) if teacher else None,
        data=_of_data(question, spec, dataset, teacher, tick) if dataset else None,
        weights=_of_weights(question, spec, agent, address, student, tick) if agent and address else None,
    )


def _student(
    question: Question, spec: TaskSpec, kind: type | None, teacher: Teacher | None, weights: str | None
) -> Any:
    """As asked, or as the weights are; else the one that passed such teachers within minutes (studies/better.yaml).

    That was where a policy teaches and env steps are cheap: not on screens.
    """
    policy = teacher is not None and teacher.card.tells == LOGITS and not teacher.initial(1).shape[-1]
    if kind is None and weights is None and policy and spec.stack == 1 and question.budget >= LONG:
        return PQN()
    return SAC() if spec.continuous and kind is None and weights is None else default_student(kind, weights)


def _checked(question: Question) -> type | None:
    """The kind of student. Raises UserError for what cannot be."""
    if not (question.teacher or question.data or question.weights):
        raise UserError("advise needs something to start from: --teacher, --data or --weights")
    if question.budget < LEAST_BUDGET:
        raise UserError(f"--budget must be at least {LEAST_BUDGET} env steps, not {question.budget}")
    if question.episodes < 2:
        raise UserError(f"--episodes must be at least 2, for an interval, not {question.episodes}")
    check_seed(question.seed)
    if question.plays not in HOWS:
        raise UserError(f"--plays {question.plays!r} is unknown; known: {', '.join(HOWS)}")
    return None if question.student is None else STUDENTS.find(question.student)


def _teacher(question: Question, spec: TaskSpec) -> Teacher | None:
    """The teacher; without one the agent of --weights, if it can play this task."""
    if question.teacher:
        teacher = open_for(question.teacher, spec)
        check_fit(teacher.card, spec)
        return teacher
    return _as_teacher(question.weights, spec) if question.weights else None


def _as_teacher(address: str, spec: TaskSpec) -> Teacher | None:
    """An agent as a teacher; None where it cannot play this task as it is."""
    teacher = open_for(address, spec)
    try:
        check_fit(teacher.card, spec)
    except UserError:
        return None
    return teacher


# ---- the teacher ----------------------------------------------------------------------------------------


def _of_teacher(
    question: Question, spec: TaskSpec, teacher: Teacher, evaluation: Evaluation | None, tick: Tick
) -> TeacherFacts:
    assert evaluation is not None
    card = teacher.card
    return TeacherFacts(
        uri=question.teacher or card.uri,
        score=Score.of(evaluation),
        tells=card.tells,
        plays=way_of_playing(card, question.plays),
        episode_steps=evaluation.env_steps / len(evaluation.returns),
        memory=teacher.initial(1).shape[-1] > 0,
        view=teacher.view,
        trained_env_steps=card.trained_env_steps,
        warnings=remarks(teacher, spec),
        **({} if spec.continuous else _preferences(question, spec, teacher, tick)),
    )


def _preferences(question: Question, spec: TaskSpec, teacher: Teacher, tick: Tick) -> dict[str, float | None]:
    """How decided the teacher is, over some thousand observations of its own play; from the store, once measured."""
    own = own_temperature(teacher.card.tells)
    how = way_of_playing(teacher.card, question.plays)
    who = {"teacher": teacher.card.sha256, "plays": how, "temperature": own}
    request = {"kind": "preferences", **who, "protocol": spec.protocol, "seed": PRIOR_SEED}
    request["task"] = envs.identity(spec.id)
    path = question.store / "preferences" / f"{sha256_json(request)[:16]}.json"
    if path.exists():
        kept = Record(load_record(path), path).record("measured")
        return {
            name: kept.number(name, None) if kept.get(name) is not None else None
            for name in ("gap", "temperature", "entropy", "top")
        }
    try:
        found = measure_temperature(spec, teacher, how, None, own, tick)
    except UserError:  # it has played before, so nothing is wrong with it, but that its median gap is 0
        measured: dict[str, float | None] = {"gap": 0.0, "temperature": None, "entropy": None, "top": None}
    else:
        measured = {
            "gap": found.median_gap,
            "temperature": found.temperature,
            "entropy": found.entropy,
            "top": found.top_probability,
        }
    write_json(path, {"format": FORMAT, "request": request, "measured": measured})
    return measured


# ---- the data -------------------------------------------------------------------------------------------


def _data_address(question: Question, spec: TaskSpec, agent: Agent | None, address: str | None) -> str | None:
    """The data that is given, or else the replay that the agent kept on this very task."""
    if question.data or agent is None or address is None:
        return question.data
    own = "data" in agent.kept and agent.spec.protocol == spec.protocol
    return f"store:{folder_of(address)}" if own else None


def _of_data(question: Question, spec: TaskSpec, address: str, teacher: Teacher | None, tick: Tick) -> DataFacts:
    dataset = prior.given_data(address, spec, None, question.store, tick)
    tick("the data", 0, 1)
    report = describe_data(dataset, stream(PRIOR_SEED, "data"), teacher)
    tick("the data", 1, 1)
    known = [*check_fit(teacher.card, spec), *teacher.card.warnings] if teacher else []
    return DataFacts(
        address=address,
        episodes=report.episodes,
        transitions=report.transitions,
        returns=_returns(report),
        terminated=report.terminated,
        truncated=report.truncated,
        coverage=report.coverage,
        agreement=report.agreement,
        agreement_interval=report.agreement_interval,
        warnings=tuple(warning for warning in report.warnings if warning not in known),  # said of the teacher already
    )


def _returns(report: DataReport) -> Score | None:
    """The data's mean return as a score, where rewards are not clipped and episodes are not too few."""
    if report.reward_clip is not None or report.episodes < FEW_EPISODES:
        return None
    return Score.of(Evaluation(tuple(map(float, report.returns)), report.transitions))


# ---- the weights ----------------------------------------------------------------------------------------


def _of_weights(
    question: Question, spec: TaskSpec, agent: Agent, address: str, student: Settings, tick: Tick
) -> WeightsFacts:
    misfit = _misfit(agent, student, spec)
    player = _as_teacher(address, spec)
    how, store = "auto", question.store
    reference = prior.reference(spec, player, how, question.episodes, store, tick) if player else None
    return WeightsFacts(
        address=address,
        task=agent.spec.id,
        same_network=not misfit,
        score=Score.of(reference.teacher) if reference and reference.teacher else None,
        misfit=misfit,
        kept=bool(agent.kept) and agent.spec == spec,
        trained_env_steps=agent.about.get("env_steps"),
    )


def _misfit(agent: Agent, student: Settings, spec: TaskSpec) -> str:
    """Why the agent's network is not the student's; "" where it is."""
    newborn = student.newborn(spec, 0)
    try:
        fitted = weights.fit(agent, (), spec, newborn.weights(), stream(PRIOR_SEED, "surgery"))
        report = surgery.load(newborn.network, fitted.weights)
    except UserError as error:
        return str(error)
    for name, there, here in report.mismatched:
        return f"{name} is {list(there)} there and {list(here)} in the student"
    for name in report.missing:
        return f"they lack the student's {name}"
    for name in report.unused:
        return f"the student has no {name}"
    return ""
