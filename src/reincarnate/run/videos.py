"""Films of evaluations: `--video last` or `all` keeps GIFs of the student at play in `videos/` of a run's folder.

A film is of one more episode by the student that was evaluated, played as evaluations are, on a random stream that
neither training nor evaluations see; its env steps are not counted, for nothing is measured or learnt by them. It is
there before the checkpoint that follows, under the evaluation's number: a run that goes on writes the same again.
"""

from pathlib import Path

from reincarnate import envs
from reincarnate.errors import UserError
from reincarnate.files.atomic import write_bytes
from reincarnate.files.finished import VIDEOS
from reincarnate.run.settings import Run
from reincarnate.seeds import stream
from reincarnate.training.film import as_gif, check_watchable, frames_of, headed
from reincarnate.training.players import Greedy
from reincarnate.types import Student

LONGEST = 1_000  # env steps of a film
FPS = 20


def check_video(run: Run, student: Student) -> None:
    """Raises UserError where films are asked for of a task that cannot be filmed."""
    if run.video == "off":
        return
    if envs.parse(run.env).parts:
        raise UserError(f"--video {run.video}: several tasks side by side are not filmed; leave it off")
    try:
        check_watchable(run.env, student.policy.view)
    except UserError as error:
        raise UserError(f"--video {run.video}: {error}; leave it off") from None


def keep_video(run: Run, student: Student, directory: Path, evaluation: int) -> None:
    """Film the student after the evaluation of this number (1 is the newborn's), unless that has been done."""
    path = directory / VIDEOS / f"{evaluation:04d}.gif"
    if path.exists():
        return
    actor = Greedy(student.policy, student.spec, run.eval_epsilon)
    rng = stream(run.seed, "video", evaluation)
    shown = frames_of(run.env, student.policy.view, actor, rng, LONGEST)
    name = f"evaluation {evaluation}"
    write_bytes(path, as_gif([headed(frame, name, total) for frame, total in shown], FPS))
