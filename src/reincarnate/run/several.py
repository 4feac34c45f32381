"""What a run of several tasks, or one that follows a teacher's features, has to be checked for."""

from dataclasses import replace

from reincarnate.envs.several import is_several, names_of
from reincarnate.errors import UserError
from reincarnate.run.settings import Run
from reincarnate.teachers.by_task import ByTask, short
from reincarnate.teachers.features import features_of
from reincarnate.types import FEATURES, Student, TaskSpec, Teacher


def check_shares(run: Run, spec: TaskSpec) -> None:
    """Refuse copies and episodes that several tasks cannot share. Raises UserError."""
    if not is_several(spec):
        return
    tasks = len(names_of(spec))
    if run.copies % tasks:
        raise UserError(f"--envs {run.copies} cannot be shared by {tasks} tasks: it must be a multiple of {tasks}")
    for name in ("eval_episodes", "final_episodes"):
        if getattr(run, name) < tasks:
            raise UserError(
                f"--{name.replace('_', '-')} {getattr(run, name)} is too few: one for each of {tasks} tasks"
            )


def follows_features(run: Run) -> bool:
    """Whether any term reads a teacher's features."""
    return any(FEATURES in phase.listens for phase in run.phases())


def without_unknown_features(
    run: Run, teacher: Teacher, spec: TaskSpec, student: Student
) -> tuple[Run, tuple[str, ...]]:
    """The run without its feature regression where nobody can do it, and a word on each teacher that is left out."""
    remembers = student.initial(1).shape[-1] > 0  # its features are of what went before, too
    if remembers or not hasattr(student, "follow") or getattr(getattr(student, "critic", None), "implicit", False):
        return _plain(run), (f"a {type(run.student).__name__} student learns no map to features: beta is 0",)
    sizes = features_of(teacher, spec).sizes
    if not any(sizes):
        return _plain(run), (f"the teacher {teacher.card.uri} tells no features: beta is 0",)
    places = teacher.places if isinstance(teacher, ByTask) else ()
    silent = [short(place.seat.task.id) for place, size in zip(places, sizes, strict=False) if not size]
    return run, tuple(f"the teacher of {task} tells no features: beta is 0 there" for task in silent)


def _plain(run: Run) -> Run:
    return replace(run, method=run.method.by_policy_alone())
