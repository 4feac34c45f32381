"""Run: the configuration of one training run, and `execute`: the only place that wires the rooms together."""

import os
import platform
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro

from reincarnate import envs, prior, weights
from reincarnate.agents import Agent, save_agent
from reincarnate.card import agent_card, command
from reincarnate.config import from_dict, to_dict
from reincarnate.data import Dataset
from reincarnate.errors import UserError
from reincarnate.evaluate import Evaluation, evaluate
from reincarnate.exploration import Exploration, epsilon_greedy
from reincarnate.files import sha256_json
from reincarnate.methods import METHODS, AnyMethod
from reincarnate.nets.qnet import natural_torso
from reincarnate.plan import describe, updates
from reincarnate.prior import Reference, Tick
from reincarnate.rundir import RunDirectory
from reincarnate.seeds import stream
from reincarnate.students import STUDENTS, AnyStudent, ValueSettings, ValueStudent
from reincarnate.students.dqn import DQN
from reincarnate.students.functional import PAYS_AFTER
from reincarnate.teachers import check_fit, open_teacher
from reincarnate.temperature import Measured, measure
from reincarnate.tensorboard import TensorBoard
from reincarnate.training import Training
from reincarnate.types import Phase, Policy, TaskSpec, Teacher, VectorEnv

NAMES: dict[str, type] = {**METHODS, **STUDENTS}
Note = Callable[[str], None]


@dataclass(frozen=True)
class Run:
    """One method, task, prior and seed."""

    env: str
    """Task id, e.g. CartPole-v1, MinAtar/Breakout-v1, ALE/Pong-v5."""
    method: Annotated[AnyMethod, tyro.conf.arg(name="")]  # pyright: ignore[reportInvalidTypeForm]
    student: AnyStudent = field(default_factory=DQN)  # pyright: ignore[reportInvalidTypeForm]
    teacher: str | None = None
    """Where the teacher is: sb3:PATH.zip, store:DIR, py:FILE.py:NAME. Methods without one use it as the scale."""
    data: str | None = None
    """A stored dataset, or store:DIR for an agent's replay; without it the teacher plays `data_env_steps` once."""
    weights: str | None = None
    """An agent to start from: store:DIR, its folder or a finished run's. --student defaults to its settings."""
    keep: Literal["weights", "all"] = "weights"
    """What the agent keeps; all: the optimiser's state and the replay too, for finetune --reuse all."""
    seed: int = 0
    env_steps: int = 50_000
    """The student's budget of env steps."""
    envs: int = 0
    """Copies of the task the student plays at once; 0: the student's own number (1, pqn 32)."""
    evaluations: int = 10
    """Per phase, evenly spread; weaning by score looks at them, and each is a checkpoint."""
    eval_episodes: int = 20
    final_episodes: int = 50
    """Episodes of the final score."""
    eval_epsilon: float = 0.001
    """Random actions in evaluation, as in the paper's protocol."""
    reference_episodes: int = 100
    """Episodes for the teacher's and the random policy's score, the two anchors of the scale."""
    teacher_plays: Literal["auto", "greedy", "sample"] = "auto"
    """auto: as its makers do; where that is unknown, policies sample and values are played greedily."""
    data_env_steps: int = 50_000
    """Env steps of teacher data, where none is given."""
    data_epsilon: float = 0.1
    """Random actions while the teacher collects data, for coverage."""
    threads: int = 0
    """Torch threads; 0 chooses: one for small networks, half the cores for 84×84 screens."""
    overlap: Literal["auto", "on", "off"] = "auto"
    """Step environments beside the learner; the result is the same. auto: where screens make it pay."""
    compile: Literal["auto", "on", "off"] = "auto"
    """One compiled program per update. auto: small networks with updates enough to pay for the compilation."""
    store: str = ".reincarnate"
    """Where priors measured once are kept."""
    label: str = ""
    """What reports call this run, where the method's name does not say enough."""

    @property
    def copies(self) -> int:
        """Of the task the student plays at once."""
        return self.envs or self.student.copies

    def phases(self) -> list[Phase]:
        """What the method unrolls into, with this run's number of evaluations."""
        phases = self.method.phases(self.env_steps)
        return [replace(phase, evaluations=self.evaluations if phase.learns else 1) for phase in phases]


@dataclass(frozen=True)
class Prepared:
    """Everything a run needs, opened and checked; nothing written yet but the store."""

    run: Run
    spec: TaskSpec
    teacher: Teacher | None
    warnings: tuple[str, ...]
    agent: Agent | None = None  # whose weights the student starts from
    temperature: Measured | None = None  # where the method asked for "auto": then `run` has it, and `asked` has not
    asked: Run | None = None


def prepare(run: Run) -> Prepared:
    """Check a run against its task and teacher. Raises UserError for what does not fit; writes nothing."""
    _check_settings(run)
    spec = envs.spec(run.env)
    _check_priors(run)
    teacher = open_teacher(run.teacher, spec.actions) if run.teacher else None
    warnings = tuple(check_fit(teacher.card, spec)) + teacher.card.warnings if teacher else ()
    student = run.student.newborn(spec, run.seed)  # raises where torso and task clash
    agent = weights.open_weights(run.weights) if run.weights else None
    if agent:
        _load(run, spec, agent, student)
        warnings += tuple(weights.differences(agent, spec))
    return Prepared(run, spec, teacher, warnings, agent)


def _check_priors(run: Run) -> None:
    """Refuse a run that lacks what its method needs, or names weights that nothing reads."""
    needs, name = run.method.needs, method_name(run)
    if "teacher" in needs and run.teacher is None:
        free = ", ".join(name for name, kind in METHODS.items() if "teacher" not in kind().needs)
        raise UserError(f"{name} needs a --teacher; methods that need none: {free}")
    if "data" in needs and run.teacher is None and run.data is None:
        raise UserError(f"{name} needs --data, or a --teacher that plays it")
    if "weights" in needs and run.weights is None:
        raise UserError(f"{name} needs --weights: store:DIR, where DIR is an agent's folder or a finished run's")
    if "weights" not in needs and run.weights is not None:
        hint = "--start weights" if hasattr(run.method, "start") else "finetune does"
        raise UserError(f"{name} does not start from --weights; {hint}")


def _load(run: Run, spec: TaskSpec, agent: Agent, student: ValueStudent) -> list[str]:
    """Let a newborn start from an agent. Returns what was done."""
    fitted = weights.fit(agent, run.method.surgery, spec, student.weights(), stream(run.seed, "surgery"))
    return weights.begin(student, fitted)


def _check_settings(run: Run) -> None:
    """Refuse numbers that cannot mean anything."""
    at_least_one = (
        "env_steps",
        "evaluations",
        "eval_episodes",
        "final_episodes",
        "reference_episodes",
    )
    for name in (*at_least_one, "data_env_steps"):
        if getattr(run, name) < 1:
            raise UserError(f"--{name.replace('_', '-')} must be at least 1, not {getattr(run, name)}")
    for name in ("data_epsilon", "eval_epsilon"):
        if not 0 <= getattr(run, name) <= 1:
            raise UserError(f"--{name.replace('_', '-')} is a probability, not {getattr(run, name)}")
    if run.envs < 0:
        raise UserError(f"--envs must not be negative: {run.envs}")
    run.student.check(run.copies)
    run.phases()  # raises where the method's settings cannot mean anything


def method_name(run: Run) -> str:
    """The registered name of a run's method."""
    return next(name for name, kind in METHODS.items() if kind is type(run.method))


def execute(
    run: Run, out: Path, resume: bool = False, tick: Tick = lambda *_: None, note: Note = lambda _: None
) -> dict[str, Any]:
    """Train, and return the result (also in `out/result.json`).

    `tick(what, done, total)` reports progress, `note(text)` says what a person should know. Raises UserError for bad
    input before anything is written under `out`; KeyboardInterrupt leaves a run that `resume` continues exactly.
    """
    prepared = prepare(run)
    for warning in prepared.warnings:
        note(f"warning: {warning}")
    torch.set_num_threads(threads(run, prepared.spec))
    directory = RunDirectory.reopen(out) if resume else RunDirectory.fresh(out)
    reference, data = prior_of(prepared, tick)
    _warn_of_weak_teacher(reference, note)
    prepared = with_temperature(prepared, data, tick, note)
    training = _training(prepared, reference, data, note)
    if not resume:
        directory.create(record(run))
    try:
        if resume:
            for warning in directory.restore(training):
                note(f"warning: {warning}")
        _train(training, directory, tick, note)
        return _finish(prepared, training, directory, reference, data, tick)
    finally:
        training.env.close()


def record(run: Run) -> dict[str, Any]:
    """The run as JSON values, with the command that repeats it and the versions that matter: `config.json`."""
    packages = ("reincarnate", "torch", "numpy", "gymnasium", "ale-py", "minatar")
    versions = {"python": platform.python_version(), **{name: version(name) for name in packages}}
    settings = to_dict(run, NAMES)
    usual = Run(env=run.env, method=type(run.method)(), student=default_student(type(run.student), run.weights))
    defaults = to_dict(usual, NAMES)
    return {**settings, "command": command(settings, defaults), "versions": versions}


def default_student(kind: type | None, address: str | None) -> ValueSettings:
    """What settings a student of this kind (None: any) has unless told: the agent's it starts from, if that is one."""
    given = weights.open_weights(address).student if address else DQN()
    return given if kind is None or type(given) is kind else kind()


def from_record(value: dict[str, Any]) -> Run:
    """A run from its record, strictly."""
    value = {k: v for k, v in value.items() if k not in ("format", "command", "versions")}
    return from_dict(Run, value, NAMES)


def threads(run: Run, spec: TaskSpec) -> int:
    """How many torch threads: a small network gains nothing from a second one and loses much on a busy machine.

    For screens half the cores: the other half pass the target network and step environments.
    """
    if run.threads:
        return run.threads
    return max(1, min(8, os.cpu_count() or 1) // 2) if natural_torso(spec) == "nature" else 1


def prior_of(prepared: Prepared, tick: Tick) -> tuple[Reference, Dataset | None]:
    """The scale, and the data where the method needs it; from the store where they have been made before."""
    run, spec, teacher = prepared.run, prepared.spec, prepared.teacher
    store = Path(run.store)
    reference = prior.reference(spec, teacher, run.teacher_plays, run.reference_episodes, store, tick)
    if "data" not in run.method.needs:
        return reference, None
    if run.data:
        asks = any(term.needs_teacher for phase in run.phases() for term, _ in phase.terms)
        return reference, prior.given_data(run.data, spec, teacher if asks else None, store, tick)
    assert teacher is not None
    steps, epsilon = run.data_env_steps, run.data_epsilon
    return reference, prior.teacher_data(spec, teacher, run.teacher_plays, steps, epsilon, store, tick)


def with_temperature(prepared: Prepared, data: Dataset | None, tick: Tick, note: Note) -> Prepared:
    """The same, with the temperature measured where the method leaves it to the teacher's action gaps."""
    run, teacher = prepared.run, prepared.teacher
    if getattr(run.method, "temperature", None) != "auto":
        return prepared
    assert teacher is not None, "a method with a temperature to measure needs a teacher"
    of_teacher = run.method.teacher_temperature
    found = measure(prepared.spec, teacher, run.teacher_plays, data, of_teacher, tick)
    note(
        f"temperature {found.temperature:.3g}: the teacher's median action gap is {found.median_gap:.3g}; its policy's "
        f"entropy is {found.entropy:.2g} nats, its best action's mean probability {found.top_probability:.0%}"
    )
    method = replace(run.method, temperature=found.temperature)
    return replace(prepared, run=replace(run, method=method), temperature=found, asked=run)


def _warn_of_weak_teacher(reference: Reference, note: Note) -> None:
    scale = reference.scale
    if scale and scale.teacher <= scale.random:
        note(
            f"warning: the teacher's score {scale.teacher:.4g} is no better than the random policy's "
            f"{scale.random:.4g}; by score it is weaned at once"
        )


def compiles(run: Run, spec: TaskSpec) -> bool:
    """Whether updates are compiled: a function of the settings and of there being a compiler, never of timing."""
    if run.compile != "auto":
        return run.compile == "on"
    total = sum(updates(phase, run.student, run.copies) for phase in run.phases())
    return natural_torso(spec) != "nature" and total >= PAYS_AFTER and shutil.which("g++") is not None


def _student(run: Run, spec: TaskSpec, overlap: bool, note: Note) -> ValueStudent:
    """A newborn, made as quick as the run is long."""
    student = run.student.newborn(spec, run.seed)
    if compiles(run, spec):
        note("updates are compiled; the first takes 5 to 25 s")
        student.compile()
    elif overlap:
        student.overlap()
    return student


def _training(prepared: Prepared, reference: Reference, data: Dataset | None, note: Note) -> Training:
    run, spec, config = prepared.run, prepared.spec, prepared.run.student
    view = prepared.teacher.view if prepared.teacher and "teacher" in run.method.needs else "student"
    overlap = natural_torso(spec) == "nature" if run.overlap == "auto" else run.overlap == "on"
    student = _student(run, spec, overlap, note)
    memory = config.memory(spec, run.copies)
    if prepared.agent:
        done = _load(run, spec, prepared.agent, student)
        if getattr(run.method, "reuse", "weights") == "all":
            done += weights.reuse(student, memory, prepared.agent)
        for line in done:
            note(line)
    return Training(
        student=student,
        env=envs.make(run.env, run.copies, view),
        phases=run.phases(),
        memory=memory,
        prior=data.source(config.n_step, config.gamma) if data else None,
        teacher=prepared.teacher if "teacher" in run.method.needs else None,
        scale=reference.scale,
        exploration=Exploration(config.warmup, config.epsilon_steps, config.epsilon),
        evaluate=lambda k: _evaluate(run, student, run.eval_episodes, k),
        seed=run.seed,
        pace=config.pace(run.copies),
        plays=run.teacher_plays,
        overlap=overlap,
    )


def _evaluate(run: Run, student: Any, episodes: int, index: int, tick: Callable[[int], None] = lambda _: None):
    """Greedy but for ε, on streams that training never sees."""

    def policy_at(env: VectorEnv) -> Policy:
        return lambda obs, begins, rng: epsilon_greedy(student.values, obs, env.spec.actions, run.eval_epsilon, rng)

    return evaluate(run.env, policy_at, episodes, stream(run.seed, "evaluate", index), on_episode=tick)


def _train(training: Training, directory: RunDirectory, tick: Tick, note: Note) -> None:
    board = TensorBoard(directory.path)
    ticker = _Ticker(training, tick)

    def take(line: dict[str, Any]) -> None:
        directory.record(line)
        board.add(line)
        _warn_of_weaning(training, line, note)

    try:
        training.run(take, lambda: directory.checkpoint(training), ticker)
    finally:
        board.close()
        directory.settle()


def _warn_of_weaning(training: Training, line: dict[str, Any], note: Note) -> None:
    """λ that falls to zero at the first look: a student as good already, a teacher too weak, or a wrong scale."""
    first = line["kind"] == "eval" and line["phase"] == "online" and len(training.at.scores) == 1
    if first and line["weight"] == 0 and training.at.phase_env_steps:
        score = f"normalised {line['normalised']:.2f} over the evaluation's few episodes"
        note(f"warning: weaned at the first online evaluation ({score}); --wean.no-sticky is slower")


class _Ticker:
    """Progress in units of a phase, not more often than is worth drawing."""

    def __init__(self, training: Training, tick: Tick, every: float = 0.2):
        self._training, self._tick, self._every, self._last = training, tick, every, 0.0

    def __call__(self, phase: Phase) -> None:
        now = time.perf_counter()
        if now - self._last > self._every:
            self._last = now
            at = self._training.at
            done, total = (at.phase_updates, phase.updates) if phase.offline else (at.phase_env_steps, phase.env_steps)
            self._tick(f"{phase.name} {'updates' if phase.offline else 'env steps'}", done, total)


def _finish(
    prepared: Prepared,
    training: Training,
    directory: RunDirectory,
    reference: Reference,
    data: Dataset | None,
    tick: Tick,
) -> dict[str, Any]:
    """The final evaluation, the agent, the result."""
    run, total = prepared.run, prepared.run.final_episodes
    training.student.publish()
    final = _evaluate(
        run, training.student, total, training.at.barrier, lambda done: tick("final evaluation", done, total)
    )
    result = _result(prepared, training, reference, data, final)
    agent = directory.path / "agent"
    if not agent.exists():
        about = {k: result[k] for k in ("method", "env", "seed", "env_steps", "updates", "seconds", "score", "prior")}
        card = agent_card(result, record(prepared.asked or run))
        save_agent(agent, training.student, about, card, training.memory if run.keep == "all" else None)  # pyright: ignore
    directory.finish(result)
    return result


def _result(
    prepared: Prepared, training: Training, reference: Reference, data: Dataset | None, final: Evaluation
) -> dict[str, Any]:
    run, at, scale = prepared.run, training.at, reference.scale
    offline = sum(phase.updates for phase in training.phases)
    low, high = final.interval()
    return {
        "method": method_name(run),
        "env": run.env,
        "seed": run.seed,
        "env_steps": at.env_steps,
        "updates": at.updates - offline,
        "offline_updates": offline,
        "eval_env_steps": at.eval_env_steps + final.env_steps,
        "seconds": round(at.seconds, 2),
        "score": final.mean,
        "interval": [low, high],
        "normalised": scale.normalise(final.mean) if scale else None,
        "returns": list(final.returns),
        "protocol": prepared.spec.protocol,
        "protocol_hash": sha256_json(prepared.spec.protocol),
        "prior": {
            "teacher": prepared.teacher.card.sha256 if prepared.teacher else None,
            "data": data.id if data else None,
            "weights": prepared.agent.sha256 if prepared.agent else None,
            "data_env_steps": data.transitions if data else 0,
        },
        "reference": reference.summary(),
        "temperature": asdict(prepared.temperature) if prepared.temperature else None,
        "plan": describe(run.phases(), run.student, run.copies),
        "threads": torch.get_num_threads(),
        "compiled": compiles(run, prepared.spec),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }
