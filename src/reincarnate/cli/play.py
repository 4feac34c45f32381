"""`reincarnate play`: look at an agent, alone or beside others."""

from pathlib import Path

from tyro.conf import Positional

from reincarnate import ui
from reincarnate.cli.parsing import cli
from reincarnate.errors import UserError


def play(args: list[str]) -> None:
    """`play AGENT … [--beside teacher] [--env ID] [--gif FILE] [--mp4 FILE]`."""

    def command(
        agents: Positional[tuple[str, ...]],
        env: str | None = None,
        beside: str | None = None,
        gif: Path | None = None,
        mp4: Path | None = None,
        plays: str = "auto",
        seed: int = 0,
        fps: int = 20,
        longest: int = 2_000,
        trust: bool = False,
    ) -> None:
        """An episode of an agent to look at; of several agents (a student and its teacher) side by side.

        Args:
            agents: Runs or agents of ours, or any teachers' addresses.
            env: Task; by default the one that the first was made for.
            beside: One more agent; "teacher" is the one that taught the first.
            gif: File to write; without --gif and --mp4 a window opens.
            mp4: File to write.
            plays: auto, greedy or sample.
            seed: The same for all.
            fps: Pictures a second.
            longest: Env steps at most.
            trust: Also run the code that an agent names which was not made on this machine. Look at that code first.
        """
        from reincarnate.sharing import film as films

        if not agents:
            raise UserError("nothing to play: name an agent")
        if beside is not None:
            agents = (*agents, _teacher_of(agents[0]) if beside == "teacher" else beside)
        _check(gif, mp4, fps)
        found = films.film(agents, _task(agents, env, trust), plays, seed, longest)
        if gif is not None:
            films.write_gif(found, gif, fps)
        if mp4 is not None:
            films.write_mp4(found, mp4, fps)
        if gif is None and mp4 is None:
            films.show(found, fps)
        for agent, total in zip(agents, found.returns, strict=True):
            ui.say(f"{agent}: return {total:.4g}")

    cli(command, args, "reincarnate play")


def _check(gif: Path | None, mp4: Path | None, fps: int) -> None:
    """Raises UserError for a pace that cannot be shown, and a file that would be of another kind than its name."""
    from reincarnate.training.film import MOST_FPS

    if not 1 <= fps <= 100:
        raise UserError(f"--fps must lie between 1 and 100, not {fps}")
    if gif is not None and fps > MOST_FPS:
        raise UserError(f"--fps {fps}: a GIF shows at most {MOST_FPS} pictures a second; more are for an --mp4")
    for file, ending in ((gif, ".gif"), (mp4, ".mp4")):
        if file is not None and file.suffix.lower() != ending:
            raise UserError(f"--{ending[1:]} {file}: the name of the file should end in {ending}")


def _teacher_of(agent: str) -> str:
    """The address of the teacher of a run. Raises UserError where there is no record of one."""
    from reincarnate.agents.places import folder_of
    from reincarnate.files.records import Record, load_record

    folder = folder_of(agent)
    found = next((path for path in (folder, folder.parent) if (path / "config.json").is_file()), None)
    where = (found or folder) / "config.json"
    record = Record(load_record(where) if found else {}, where)
    teacher = None if record.get("teacher", None) is None else record.text("teacher")  # null: a run without one
    if not teacher:
        raise UserError(f"{agent} is of no run with a teacher; name another agent: --beside ADDRESS")
    return teacher


def _task(agents: tuple[str, ...], env: str | None, trust: bool) -> str:
    """The task that is named, or that the first agent was made for. Raises UserError where neither says."""
    from reincarnate.store.trust import bring, refuse_strange_task
    from reincarnate.teachers.fit import open_for

    known = [bring(agent, trust) for agent in agents]
    if env is not None:
        return env
    task = open_for(agents[0], None).card.env
    if task is None:
        raise UserError(f"{agents[0]} does not say which task it was made for; name one with --env")
    refuse_strange_task(agents[0], task, known[0])
    return task
