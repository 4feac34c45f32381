"""The command line: `reincarnate COMMAND …`, each command a few lines over the library."""

import importlib
import os
import sys
from collections.abc import Callable

from reincarnate import __version__, ui
from reincarnate.errors import UserError

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
    return getattr(importlib.import_module(f"reincarnate.cli.{module}"), function)


COMMANDS = {
    "demo": "demo:demo",
    "inspect": "inspect:inspect",
    "advise": "advise:advise",
    "convert": "convert:convert",
    "train": "train:train",
    "resume": "train:resume",
    "evaluate": "evaluate:evaluate",
    "compare": "compare:compare",
    "study": "study:study",
    "lineage": "store:lineage",
    "gc": "store:gc",
    "export": "export:export",
    "push": "hub:push",
    "pull": "hub:pull",
}
"""Name -> module:function here, imported when it is asked for."""


if __name__ == "__main__":
    main()
