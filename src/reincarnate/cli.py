"""The command line: `reincarnate COMMAND …`, each command a few lines over the library."""

import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional, arg

from reincarnate import __version__, ui
from reincarnate.errors import UserError
from reincarnate.files import disk_errors

HELP = """reincarnate: train new agents from trained ones, instead of from scratch

usage: reincarnate COMMAND …

  demo                      see it work in a minute or two: a shipped agent teaches students of another architecture
  inspect TEACHER           what a trained agent is, whether it is safe and fits a task, and what it scores
  inspect --data ADDRESS    what logged data holds: episodes, returns, coverage, and whether a teacher agrees with it
  convert ADDRESS --out DIR logged data of others (Dopamine, Minari, d3rlpy, D4RL, SB3) as a dataset
  advise --env ID …         what a teacher, data or weights are worth there, which method to use them with, and why
  train METHOD              train a student: {methods}
  resume DIR                continue a run that was interrupted, to the same bits
  evaluate AGENT            an agent's score on a task, with its interval
  compare DIR …             finished runs side by side: a table and one HTML page, or why they cannot be compared
  study run FILE.yaml       a matrix of runs over the same prior: tasks × methods × seeds, resumable, here or on Ray
  study report DIR          what a study found so far, and which of its runs are missing
  lineage show AGENT        what an agent stands on, and what it all cost; also verify, diff, index
  gc                        delete from the store what no run, study or agent refers to
  export AGENT              an agent as ONNX, TorchScript or safetensors, checked against the agent itself
  push AGENT hf:ORG/REPO    an agent with its card to the Hugging Face Hub; --local DIR only makes the folder
  pull hf:ORG/REPO          an agent from there, every hash checked

TEACHER is sb3:FILE.zip, store:DIR (an agent or run of ours), py:FILE.py:NAME, or a plain path.
`reincarnate COMMAND --help` tells more. Bad input exits with code 2 and one line that says what to do.
"""


def main(argv: list[str] | None = None) -> None:
    """Entry point."""
    args = list(sys.argv[1:] if argv is None else argv)
    if not args or args[0] in ("-h", "--help"):
        from reincarnate.methods import METHODS

        print(HELP.format(methods=", ".join(METHODS)), end="")
        return
    if args[0] == "--version":
        print(__version__)
        return
    try:
        _command(args[0])(args[1:])
    except UserError as error:
        ui.errors.print(f"[bold red]error:[/] {_escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(2)
    except BrokenPipeError:  # the reader of our output, a pager say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        again = "the same command" if args[0] == "study" else "`reincarnate resume`"
        ui.errors.print(f"interrupted; {again} continues from the last checkpoint", highlight=False)
        sys.exit(130)


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def _command(name: str) -> Callable[[list[str]], None]:
    if name not in COMMANDS:
        import difflib

        near = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"commands: {', '.join(COMMANDS)}"
        raise UserError(f"unknown command {name!r}; {hint}")
    module, _, function = COMMANDS[name].partition(":")
    return getattr(importlib.import_module(f"reincarnate.{module}"), function)


def evaluate(args: list[str]) -> None:
    """`evaluate AGENT --env ID`."""

    def command(
        agent: Positional[str],
        env: str | None = None,
        episodes: int = 100,
        plays: str = "auto",
        seed: int = 0,
    ) -> None:
        """The mean return of an agent (ours or anybody's) with its 95 % interval.

        Args:
            agent: A run or agent of ours, or any teacher's address.
            env: Task; by default the one the agent was made for.
            episodes: Episodes to play.
            plays: auto, greedy or sample.
            seed: Of the evaluation's random streams.
        """
        from reincarnate.inspection import evaluate_agent

        with ui.Bars() as tick:
            line = evaluate_agent(agent, env, episodes, plays, seed, tick)
        ui.console.print(line, highlight=False, soft_wrap=True)

    tyro.cli(command, args=args, prog="reincarnate evaluate")


def compare(args: list[str]) -> None:
    """`compare DIR … [--out DIR]`."""

    def command(directories: Positional[tuple[Path, ...]], out: Path = Path("comparison"), seed: int = 0) -> None:
        """Finished runs side by side. Refuses to mix priors, protocols or budgets, and says which field differs.

        Args:
            directories: Runs, or folders of runs.
            out: Folder for index.html, index.png and index.json.
            seed: Of the bootstrap.
        """
        from reincarnate import report

        with disk_errors(out):
            rows = report.compare(list(directories), out, seed=seed, tell=ui.note)
        ui.console.print(report.as_rich(rows))
        ui.console.print(f"page: {out / 'index.html'}", highlight=False)

    tyro.cli(command, args=args, prog="reincarnate compare")


def demo(args: list[str]) -> None:
    """`demo [--out DIR]`."""

    def command(
        out: Annotated[Path, arg(help="Where the runs and the page go.")] = Path("out/demo"), seeds: int = 3
    ) -> None:
        """A small shipped agent teaches students of another architecture, with three methods, in a minute or two.

        Args:
            seeds: Seeds per method.
        """
        from reincarnate.demo import run_demo

        run_demo(out, seeds)

    tyro.cli(command, args=args, prog="reincarnate demo")


COMMANDS = {
    "demo": "cli:demo",
    "inspect": "inspect_command:inspect",
    "advise": "advise_command:advise",
    "convert": "convert_command:convert",
    "train": "train_command:train",
    "resume": "train_command:resume",
    "evaluate": "cli:evaluate",
    "compare": "cli:compare",
    "study": "studies.command:study",
    "lineage": "store_command:lineage",
    "gc": "store_command:gc",
    "export": "export_command:export",
    "push": "hub_command:push",
    "pull": "hub_command:pull",
}
"""Name -> module:function here, imported when it is asked for."""


if __name__ == "__main__":
    main()
