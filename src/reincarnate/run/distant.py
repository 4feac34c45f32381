"""One of a run's cast who learns away from the others (`ald --processes two`), and where."""

from pathlib import Path

import torch

from reincarnate.plugins import asked_imports
from reincarnate.run.settings import Note, Run
from reincarnate.training.distant import Distant, Home, PupilSpec, state_of
from reincarnate.training.training import Training


def distant_student(run: Run, training: Training, note: Note) -> Distant:
    """The student of a training, with a process of its own. Raises UserError without Ray, where that is asked for."""
    student, keeps = training.student, training.memory.keeps
    told = (student.settings, student.spec, run.birth_seed, str(student.device), training.copies, keeps)
    part = PupilSpec(*told, torch.get_num_threads(), (*asked_imports(), *run.imports), Path.cwd())
    return Distant(training, "student", _home(run, part, training), note)


def _home(run: Run, part: PupilSpec, training: Training) -> Home:
    if run.backend == "ray":
        from reincarnate.run.ray_student import RayHome

        return RayHome(part, run.actors)
    from reincarnate.run.process_student import ProcessHome

    return ProcessHome(part, state_of(training.student))
