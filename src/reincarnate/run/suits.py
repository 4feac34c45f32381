"""What a method, a student and a teacher must have in common, looked at before anything runs. All raise UserError."""

from reincarnate.errors import UserError
from reincarnate.losses.terms import Proximal
from reincarnate.methods import METHODS
from reincarnate.nets.probe import blank
from reincarnate.run.settings import Run, method_name
from reincarnate.run.several import follows_features
from reincarnate.students import compilable
from reincarnate.teachers.frozen import why_watching
from reincarnate.training.asking import predictor_of
from reincarnate.types import GAUSSIAN, LOGITS, SQUASHED, Student, TaskSpec, Teacher, Term


def check_priors(run: Run) -> None:
    """Refuse a run that lacks what its method needs, or names weights that nothing reads."""
    needs, name = run.method.needs, method_name(run)
    if "teacher" in needs and run.teacher is None:
        free = ", ".join(name for name in METHODS.ours if "teacher" not in METHODS[name]().needs)
        raise UserError(f"{name} needs a --teacher; methods that need none: {free}")
    if "data" in needs and run.teacher is None and run.data is None:
        raise UserError(f"{name} needs --data, or a --teacher that plays it")
    if "weights" in needs and run.weights is None:
        raise UserError(f"{name} needs --weights: store:DIR, an agent's folder or a finished run's; or sb3:FILE.zip")
    if "weights" not in needs and run.weights is not None:
        hint = "--start weights" if "start" in vars(run.method) else "finetune does"
        raise UserError(f"{name} does not start from --weights; {hint}")


def check_words(run: Run, spec: TaskSpec, teacher: Teacher | None, student: Student, device: str) -> None:
    """Refuse a method that the student cannot follow, and a teacher whose word it cannot learn from."""
    _check_student(run, student)
    for term in (weighted.term for phase in run.phases() for weighted in phase.objective.terms):
        _check_term(run, term, spec, teacher, student)
    _check_compiled(run, device)
    _check_actor_and_critic(run)
    if teacher is not None:
        _check_teacher(run, spec, teacher, student)


def _check_student(run: Run, student: Student) -> None:
    if reason := getattr(student, "unfit", lambda phases: None)(run.phases()):
        raise UserError(f"{method_name(run)}: {reason}")
    if getattr(run.student, "decorrelate", 0.0) and not hasattr(student, "features"):
        raise UserError(f"--student.decorrelate: a {_name(run)} student does not tell its features yet")


def _check_term(run: Run, term: Term, spec: TaskSpec, teacher: Teacher | None, student: Student) -> None:
    """Refuse a term that cannot be taught to this student."""
    tells = GAUSSIAN if spec.continuous and run.student.predicts == LOGITS else run.student.predicts
    kinds = getattr(term, "suits", None)
    if kinds and tells not in kinds:
        other = getattr(term, "instead", "kickstart and qdagger suit it")
        raise UserError(
            f"{method_name(run)} teaches by a {term.name} term, which reads {' or '.join(sorted(kinds))}; a "
            f"{_name(run)} student tells {tells}: {other}"
        )
    if type(term).__hash__ is None:
        kind = type(term).__name__
        raise UserError(f"the term {kind} of {method_name(run)} has no hash: make it a frozen dataclass (frozen=True)")
    if getattr(term, "std", None) and not (teacher and _spreads(student) and not tells_alike(teacher, student)):
        raise UserError(
            f"{method_name(run)}: --teacher-std is for a student that tells a Gaussian (sac, ppo) and a teacher "
            "that tells means alone, or another kind of Gaussian"
        )
    _check_direction(run, term, teacher, student)
    if isinstance(term, Proximal) and tells not in (LOGITS, GAUSSIAN):
        raise UserError(
            f"{method_name(run)} needs an on-policy student, which has a ratio to weigh by; for others: kickstart"
        )


def _check_direction(run: Run, term: Term, teacher: Teacher | None, student: Student) -> None:
    """Refuse a direction where the error of actions is taken, which has none."""
    if not getattr(term, "reverse", False) or teacher is None or not student.spec.continuous:
        return
    if not _spreads(student) or not (getattr(term, "std", None) or tells_alike(teacher, student)):
        raise UserError(
            f"{method_name(run)}: --direction reverse is a KL's; between this teacher and this student the error of "
            "actions is taken. For sac and ppo students --teacher-std 0.2 makes a Gaussian of the teacher's actions"
        )


def _check_compiled(run: Run, device: str) -> None:
    if run.compile != "on":
        return
    if follows_features(run):
        raise UserError("--compile on: the maps to a teacher's features are not compiled; leave it out, or --beta 0")
    if not compilable(run.student, device == "cuda"):
        memory = " with a memory" if getattr(run.student, "remembers", 0) else ""
        raise UserError(
            f"--compile on: updates of a {_name(run)} student{memory} cannot be compiled on this device ({device}): "
            "leave it out"
        )


def _check_actor_and_critic(run: Run) -> None:
    """Refuse what only a student with an actor and critics of its own each can be told."""
    if any(phase.objective.actor_lr != 1 for phase in run.phases()) and not hasattr(run.student, "actor_lr"):
        raise UserError(
            f"--actor-lr: the actor of a {_name(run)} student has no optimiser of its own; set --student.lr"
        )
    if not any(phase.objective.sarsa for phase in run.phases()):
        return
    if getattr(run.student, "expectile", 1.0):
        raise UserError(
            "--critic-targets data is for critics of continuous actions without state values: td3, sac, tqc, d4pg, "
            "modern_sac; others learn values as they always do"
        )
    if run.student.remembers:
        raise UserError("--critic-targets data reads lone steps; leave --student.memory out, or let it ask the actor")


def _check_teacher(run: Run, spec: TaskSpec, teacher: Teacher, student: Student) -> None:
    """Refuse a teacher of other actions, or one that cannot be asked what the method asks."""
    if teacher.card.continuous != spec.continuous:
        sorts = [("discrete", "continuous")[kind] for kind in (teacher.card.continuous, spec.continuous)]
        raise UserError(f"the teacher {teacher.card.uri} has {sorts[0]} actions; the student's are {sorts[1]}")
    if run.method.measures and spec.continuous and not _spreads(student):
        raise UserError(f"--temperature auto: a {_name(run)} student tells means, which have no spread to be taught")
    if run.asks_teacher and why_watching(teacher) == "has a memory" and "data" in run.method.needs and run.data:
        raise UserError("a teacher with a memory cannot say what it thinks of given data; let it play its own")


def _name(run: Run) -> str:
    return type(run.student).__name__


def kind_of(teacher: Teacher, spec: TaskSpec) -> str:
    """Of its predictions: files may hold a spread that its card, which says what it plays by, does not name."""
    if teacher.view != "student":
        return teacher.card.tells
    return predictor_of(teacher)(blank(spec)).kind


def tells_alike(teacher: Teacher, student: Student) -> bool:
    """Whether both tell predictions of one kind."""
    return kind_of(teacher, student.spec) == getattr(student, "kind", student.settings.predicts)


def _spreads(student: Student) -> bool:
    """Whether it tells a Gaussian."""
    return getattr(student, "kind", student.settings.predicts) in (GAUSSIAN, SQUASHED)
