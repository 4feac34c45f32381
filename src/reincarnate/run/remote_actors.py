"""Those who act for a run's learner (`--actors`): what they can be asked for, and where they are."""

from reincarnate.envs.several import is_several
from reincarnate.errors import UserError
from reincarnate.run.cluster import check_installed
from reincarnate.run.settings import Note, Run
from reincarnate.teachers.frozen import why_watching
from reincarnate.training.remote_actors import ActorBackend, RemoteActors, shared_out
from reincarnate.types import Student, TaskSpec, Teacher


def check_actors(run: Run, spec: TaskSpec, teacher: Teacher | None) -> None:
    """Raises UserError where something must see, or say, each step as it happens, and actors are asked for."""
    if not run.actors and run.actor_steps > 1:
        raise UserError("--actor-steps is about --actors, and there are none: --actors 2")
    if not run.actors and run.backend != "processes" and not run.method.distant:
        raise UserError(f"--backend {run.backend} is about --actors, and ald --processes two; there are neither")
    if run.backend == "ray":
        check_installed()
    if not run.actors:
        return
    phases = run.phases()
    if run.copies < run.actors:
        raise UserError(f"--actors {run.actors} need a copy of the task each: --envs {run.actors}, or more")
    if run.population > 1:
        raise UserError("--actors act for one learner; leave them out with --population")
    if is_several(spec):
        raise UserError("--actors play one task; several side by side are played by the learner")
    if any(phase.guide for phase in phases):
        raise UserError("--actors act as the student does; a method whose teacher takes the actions needs --actors 0")
    if any(phase.acts != "student" for phase in phases):
        raise UserError("--actors act as the student does; here another of the cast acts: --actors 0")
    if told := getattr(run.student, "episodic", ""):
        raise UserError(f"--actors: one that takes another's place would not know {told}; --actors 0")
    if teacher and any("teacher" in phase.listens for phase in phases) and (why := why_watching(teacher)):
        raise UserError(f"the teacher {teacher.card.uri} {why}: it must see each step where the learner is; --actors 0")


def actors_of(run: Run, spec: TaskSpec, student: Student, note: Note) -> RemoteActors:
    """Actors, each with its share of the copies. Raises UserError without Ray, where that is asked for."""
    copies = shared_out(run.copies, run.actors)
    return RemoteActors(_backend(run, spec), student, copies, run.actor_steps, note)


def _backend(run: Run, spec: TaskSpec) -> ActorBackend:
    if run.backend == "ray":
        from reincarnate.run.ray_actors import RayBackend

        return RayBackend(run, spec)
    from reincarnate.run.process_actors import ProcessBackend

    return ProcessBackend(run, spec)
