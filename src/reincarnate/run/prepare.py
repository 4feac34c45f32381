"""Everything a run needs, opened, checked and measured in one pass into one immutable value."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import torch

from reincarnate import envs
from reincarnate.agents.agent import Agent
from reincarnate.agents.imported import Imported
from reincarnate.config import refuse_other_kinds
from reincarnate.data import Dataset
from reincarnate.errors import UserError
from reincarnate.methods.weaning import Imitates
from reincarnate.native import kernels
from reincarnate.nets.qnet import natural_torso
from reincarnate.priors import weights
from reincarnate.priors.played import Tick
from reincarnate.priors.reference import Reference, given_data, reference, teacher_data
from reincarnate.priors.remarks import remarks
from reincarnate.priors.support import Support, choose, with_support
from reincarnate.priors.temperature import Measured, MeasuredSpread, measure, measure_spread
from reincarnate.run.plan import updates
from reincarnate.run.remote_actors import check_actors
from reincarnate.run.settings import Note, Run, check_settings, method_name
from reincarnate.run.several import check_shares, follows_features, without_unknown_features
from reincarnate.run.suits import check_priors, check_words, tells_alike
from reincarnate.run.videos import check_video
from reincarnate.seeds import stream
from reincarnate.students import check_student, compilable, making, stacker
from reincarnate.students.gradient import KERNELS_PAY_AFTER, PAYS_AFTER, can_compile
from reincarnate.teachers.fit import open_for
from reincarnate.training.evaluate import check_metric
from reincarnate.types import Settings, Student, TaskSpec, Teacher

NO_ROOM = ("can't allocate memory", "calculation overflowed")  # as torch says it
SCREENS = ("nature", "screen", "keyed")  # torsos whose time is arithmetic


@dataclass(frozen=True)
class Prepared:
    """Everything a run needs, opened and checked; after `measure` its priors too. Nothing written yet but the store."""

    run: Run
    spec: TaskSpec
    device: torch.device
    teacher: Teacher | None
    warnings: tuple[str, ...]
    agent: Agent | None = None  # whose weights the student starts from
    reference: Reference | None = None  # the two anchors of the scale
    data: Dataset | None = None
    temperature: Measured | MeasuredSpread | None = None  # where it was left open: in `run`, and not in `asked`
    support: Support | None = None  # of a bounded critic, where it was left open: in `run`, and not in `asked`
    asked: Run | None = None
    mirrored: bool = False  # frames are held on the device as well
    frames_in: str | None = None  # a folder, where frames are kept on disk; "" is the system's for temporary files

    @property
    def recorded(self) -> Run:
        """The run as it was asked for."""
        return self.asked or self.run

    def of_seed(self, seed: int) -> "Prepared":
        """The same for another seed: priors do not vary with it."""
        asked = replace(self.asked, seed=seed) if self.asked else None
        return replace(self, run=replace(self.run, seed=seed), asked=asked)


def prepare(run: Run, opened: dict[str, Teacher] | None = None) -> Prepared:
    """Check a run against its task and teacher. Raises UserError for what does not fit; writes nothing.

    `opened` remembers teachers of other runs, by address, so that each is opened once.
    """
    check_settings(run)
    device = device_of(run.device)
    spec = envs.spec(run.env)
    folder = frames_folder(run.replay_device)
    frames = device_of(run.replay_device if folder is None else "cpu", "--replay-device")
    check_frames_device(frames, device, spec)
    check_metric(run.metric, spec)
    check_priors(run)
    teacher = _opened(run.teacher, spec, {} if opened is None else opened) if run.teacher else None
    if isinstance(teacher, torch.nn.Module):
        teacher.to(device)
    warnings = (remarks(teacher, spec) if teacher else ()) + tuple(envs.remarks(run.env))
    check_shares(run, spec)
    method = run.method.suited(teacher.card.tells, run.student.predicts) if teacher else run.method
    suited = replace(run, method=method, student=method.equipped(run.student, teacher.card if teacher else None))
    check_student(suited.student, run.copies)
    student = _newborn(suited.student, spec, run.seed)  # raises where torso and task clash
    _check_cast(suited, spec)
    warnings += _changes(run, suited) + _idle(run, spec) + tuple(getattr(run.student, "remarks", lambda spec: ())(spec))
    agent = weights.open_weights(run.weights, spec) if run.weights else None
    if agent:
        load_weights(run, spec, agent, student)
        warnings += tuple(weights.differences(agent, spec))
    check_words(run, spec, teacher, student, device.type)
    if teacher and follows_features(suited):
        suited, more = without_unknown_features(suited, teacher, spec, student)
        warnings += more
    run.exchange.suits(suited.student, suited.method)
    check_actors(suited, spec, teacher)
    check_video(suited, student)
    on_device = frames.type != "cpu"
    return Prepared(suited, spec, device, teacher, warnings, agent, asked=run, mirrored=on_device, frames_in=folder)


def _check_cast(run: Run, spec: TaskSpec) -> None:
    """Raises UserError where one of a method's cast does not suit the task, or has a process and others none."""
    if run.method.distant and run.population > 1:
        raise UserError("--processes two is for a run alone; leave it out with --population")
    for name in run.method.cast:
        if name != "student":
            other = run.method.settings_of(name, run.student)
            check_student(other, run.copies)
            _newborn(other, spec, run.seed)


def _newborn(settings: Settings, spec: TaskSpec, seed: int) -> Student:
    """A student. UserError: its networks do not fit into memory, or somebody's own student fails."""
    try:
        with making(settings):
            return settings.newborn(spec, seed)
    except RuntimeError as error:
        if not any(sign in str(error) for sign in NO_ROOM):
            raise
        raise UserError(
            "the networks do not fit into memory: make --student.hidden, or their outputs, smaller"
        ) from error


def _changes(asked: Run, suited: Run) -> tuple[str, ...]:
    """What the method has set of the student, in words."""
    names = [f.name for f in fields(asked.student) if getattr(asked.student, f.name) != getattr(suited.student, f.name)]
    values = {name: getattr(suited.student, name) for name in names}
    told = ", ".join(f"{name} = {v:.3g}" if type(v) is float else f"{name} = {v}" for name, v in values.items())
    return (f"{method_name(asked)} sets the student's {told}",) if names else ()


def _idle(run: Run, spec: TaskSpec) -> tuple[str, ...]:
    """What was set of the method and changes nothing, in words: continuous actions have no temperature."""
    if not spec.continuous or not isinstance(run.method, Imitates):
        return ()
    settings = {name: getattr(run.method, name, None) for name in ("temperature", "teacher_temperature")}
    told = [f"--{name.replace('_', '-')} {x:g}" for name, x in settings.items() if isinstance(x, int | float)]
    why = "continuous actions have no temperature; of a teacher that tells a spread the KL is taken, else an error"
    return (f"{' and '.join(told)} change{'' if told[1:] else 's'} nothing: {why}",) if told else ()


def prepare_all(runs: Sequence[Run]) -> list[Prepared]:
    """Several runs; those that differ in their seed alone are opened once."""
    known: dict[Run, Prepared] = {}
    opened: dict[str, Teacher] = {}
    for run in runs:
        refuse_other_kinds(run)  # a list in the place of a number has no hash
        alike = replace(run, seed=0)
        if alike not in known:
            known[alike] = prepare(run, opened)
    return [known[replace(run, seed=0)].of_seed(run.seed) for run in runs]


def _opened(address: str, spec: TaskSpec, opened: dict[str, Teacher]) -> Teacher:
    key = f"{spec.actions} {address}"
    if key not in opened:
        opened[key] = open_for(address, spec)
    return opened[key]


def measure_priors(prepared: Prepared, tick: Tick, note: Note) -> Prepared:
    """The same with the scale, the data where the method needs it, and what else it left to be measured.

    From the store where they have been made before.
    """
    run, spec, teacher, store = prepared.run, prepared.spec, prepared.teacher, Path(prepared.run.store)
    plays, episodes, greedy = run.teacher_plays, run.reference_episodes, run.reference_greedy
    found = reference(spec, teacher, plays, episodes, store, tick, greedy=greedy).by(run.metric)
    data = _data(prepared, store, tick) if "data" in run.method.needs else None
    return _with_support(_with_temperature(replace(prepared, reference=found, data=data), tick, note), note)


def _data(prepared: Prepared, store: Path, tick: Tick) -> Dataset:
    run, spec, teacher = prepared.run, prepared.spec, prepared.teacher
    if run.data:
        return given_data(run.data, spec, teacher if run.asks_teacher else None, store, tick)
    assert teacher is not None
    return teacher_data(spec, teacher, run.teacher_plays, run.data_env_steps, run.data_epsilon, store, tick)


def _with_temperature(prepared: Prepared, tick: Tick, note: Note) -> Prepared:
    """The same, with the temperature measured where the method leaves it to the teacher's action gaps."""
    run, teacher = prepared.run, prepared.teacher
    if not run.method.measures:
        return prepared
    assert teacher is not None, "a method with a temperature to measure needs a teacher"
    if prepared.spec.continuous:
        return _with_spread(prepared, teacher, tick, note)
    own = run.method.teacher_temperature
    found = measure(prepared.spec, teacher, run.teacher_plays, prepared.data, own, tick)
    note(
        f"temperature {found.temperature:.3g}: the teacher's median action gap is {found.median_gap:.3g}; its policy's "
        f"entropy is {found.entropy:.2g} nats, its best action's mean probability {found.top_probability:.0%}"
    )
    fitted = replace(run, method=run.method.fitted(found.temperature))
    return replace(prepared, run=fitted, temperature=found)


def _with_spread(prepared: Prepared, teacher: Teacher, tick: Tick, note: Note) -> Prepared:
    """The same of continuous actions: the teacher's own spread, or where the student is of another kind its median."""
    run, spec = prepared.run, prepared.spec
    found = measure_spread(spec, teacher, run.teacher_plays, prepared.data, tick)
    alike = tells_alike(teacher, run.student.newborn(spec, run.seed)) or run.method.teacher_std
    said = "" if alike else ", which its actions are taken to have"
    note(f"the teacher's spread is {found.std:.3g} of [-1, 1]{said}")
    own = {} if alike else {"teacher_std": found.std}
    fitted = replace(run, method=replace(run.method.fitted(1.0), **own))  # pyright: ignore[reportArgumentType]
    return replace(prepared, run=fitted, temperature=found)


def _with_support(prepared: Prepared, note: Note) -> Prepared:
    """The same, with the support chosen where a bounded critic's was left open."""
    run, reference = prepared.run, prepared.reference
    assert reference is not None
    support = choose(run.student, prepared.spec, reference, prepared.data)
    if support is None:
        return prepared
    note(support.words)
    return replace(prepared, run=replace(run, student=with_support(run.student, support)), support=support)


def frames_folder(asked: str) -> str | None:
    """Of "disk" and "disk:FOLDER" the folder, "" for the system's; None of devices. UserError: there is no such one."""
    place, _, folder = asked.partition(":")
    if folder and place == "disk" and not Path(folder).is_dir():
        raise UserError(f"--replay-device {asked}: there is no folder {folder}; make it, or leave it out")
    return folder if place == "disk" else None


def check_frames_device(asked: torch.device, device: torch.device, spec: TaskSpec) -> None:
    """Raises UserError where frames cannot be held on the device that is asked for, the student being on `device`."""
    if asked.type == "cpu":
        return
    if (asked.type, asked.index or 0) != (device.type, device.index or 0):
        raise UserError(f"--replay-device {asked}: the student is on {device}; give both the same device")
    if spec.codec:
        raise UserError(f"--replay-device {asked}: {spec.id} stores its observations encoded; leave it out")


def device_of(asked: str, flag: str = "--device") -> torch.device:
    """The device that is meant; "auto" is the first GPU, if any. Raises UserError where it is not there."""
    known = "auto, cpu, cuda, cuda:0 …" + (", disk" if flag == "--replay-device" else "")
    if asked == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(asked)
    except RuntimeError:
        raise UserError(f"{flag} {asked!r} is none; known: {known}") from None
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"{flag} {asked!r} is none of {known}")
    there = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= there:
        seen = f"{there or 'no'} GPU{'s' if there > 1 else ''}"
        raise UserError(f"{flag} {asked}: PyTorch sees {seen} here; use {flag} cpu")
    return device


def load_weights(run: Run, spec: TaskSpec, agent: Agent, student: Student) -> list[str]:
    """Let a newborn start from an agent. Returns what was done."""
    fitted = weights.fit(agent, run.method.operations, spec, student.weights(), stream(run.seed, "surgery"))
    said: tuple[str, ...] = ()
    if isinstance(agent, Imported):
        said = tuple(f"warning: {run.weights}: {line}" for line in agent.said)
        if not run.method.operations:
            weights.refuse_other(student, agent, fitted, str(run.weights))
    return [*said, *weights.begin(student, fitted)]


def threads(run: Run, spec: TaskSpec) -> int:
    """How many torch threads: a small network gains nothing from a second one and loses much on a busy machine.

    For screens half the cores: the other half pass the target network and step environments.
    """
    if run.threads:
        return run.threads
    return max(1, min(8, os.cpu_count() or 1) // 2) if natural_torso(spec) in SCREENS else 1


def compiles(run: Run, spec: TaskSpec, seeds: int = 1, by_kernels: bool = False) -> bool:
    """Whether updates are compiled: a function of the settings and of there being a compiler, never of timing.

    `by_kernels`: the student's network is one that the compiled kernels are for (`fits_kernels`).
    """
    cuda = device_of(run.device).type == "cuda"
    if follows_features(run) or not compilable(run.student, cuda):
        return False
    if run.compile != "auto":
        return run.compile == "on"
    if cuda:
        return True  # graphs are recorded in milliseconds
    if natural_torso(spec) in SCREENS or not can_compile():
        return False
    total = _updates(run, seeds)
    return total >= PAYS_AFTER or (by_kernels and total >= KERNELS_PAY_AFTER and kernels() is not None)


def makes_programs(run: Run, seeds: int = 1) -> bool:
    """Whether a run is long enough for a compiled program of what the kernels do not know."""
    return run.compile == "on" or _updates(run, seeds) >= PAYS_AFTER


def _updates(run: Run, seeds: int) -> int:
    """How many updates a program is used for, by all seeds that share one."""
    alone = stacker(run.student) is None  # each seed has a program of its own
    return (1 if alone else seeds) * sum(updates(phase, run.student, run.copies) for phase in run.phases())
