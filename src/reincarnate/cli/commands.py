"""The command line: `reincarnate COMMAND …`, each command a few lines over the library."""

import importlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from reincarnate import __version__, errors, plugins, surroundings, ui
from reincarnate.errors import UserError

HELP = """reincarnate: train new agents from trained ones, instead of from scratch

usage: reincarnate COMMAND …

  demo                      see it work in a few minutes: somebody's policy, and a student that ends above it
  inspect TEACHER           what a trained agent is, whether it is safe and fits a task, and what it scores
  inspect --data ADDRESS    what logged data holds: episodes, returns, coverage, and whether a teacher agrees with it
  convert ADDRESS --out DIR logged data of others (Dopamine, Minari, d3rlpy, D4RL, SB3) as a dataset
  advise --env ID …         what a teacher, data or weights are worth there, which method to use them with, and why
  train METHOD              train a student: {methods}
  resume DIR                continue a run that was interrupted, to the same bits
  evaluate AGENT            an agent's score on a task, with its interval
  play AGENT …              an episode to look at, a student beside its teacher: --gif, --mp4, or in a window
  compare DIR …             finished runs side by side: a table and one HTML page, or why they cannot be compared
  study run FILE.yaml       a matrix of runs over the same prior: tasks × methods × seeds, resumable, here or on Ray
  watch DIR                 a page that follows a study, or any runs, while they go on
  study report DIR          what a study found so far, and which of its runs are missing
  priors list               a ready set of priors that studies name by hash; also card, fetch, play
  lineage show AGENT        what an agent stands on, and what it all cost; also verify, diff, index
  gc                        delete from the store what no run, study or agent refers to
  export AGENT              an agent as ONNX, TorchScript, safetensors or SB3's zip, checked against the agent
  push AGENT hf:ORG/REPO    an agent with its card to the Hugging Face Hub; --local DIR only makes the folder
  pull hf:ORG/REPO          an agent from there, every hash checked
  completion SHELL          a script that completes commands and flags in bash, zsh or fish

TEACHER is sb3:FILE.zip, hf:ORG/NAME, prior:NAME (of priors list), store:DIR (an agent or run of ours), py:FILE.py:NAME,
or a plain path.

A task of your own, with every command that has --env: --env module:Id (or module:Class), --env-kwargs.KEY VALUE,
--wrapper module:Class, --sees KEY (an entry of a Dict), --max-episode-steps N, --frame-stack N, --greyscale, and
--import MODULE for a module that registers something.
`reincarnate COMMAND --help` tells more. Bad input exits with code 2 and one line that says what to do;
with --debug the traceback comes too. --quiet leaves out progress and notes; inspect, advise, evaluate, compare
and study print JSON with --json.
"""


class Ended(KeyboardInterrupt):
    """A signal asked us to end: as Ctrl-C does, but by its own name."""

    def __init__(self, number: int):
        KeyboardInterrupt.__init__(self)
        self.number = number


def main(argv: list[str] | None = None) -> None:
    """Entry point. In a study's worker, which imports the script that called it, nothing is done a second time."""
    if surroundings.starting_up():
        return
    surroundings.own_process()
    args = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in args
    quiet = "--quiet" in args
    args = [item for item in args if item not in ("--debug", "--quiet")]
    if args and args[0] == "--version":
        print(__version__)
        return
    try:
        with _signals_end(), plugins.asking(), _flags(quiet):
            if not args or args[0] in ("-h", "--help"):
                _help(args[1:])
            else:
                command_of(args[0])(_with_task(args[1:]))
    except UserError as error:
        with _flags():
            if debug:
                _traceback(error)
            ui.errors.print(f"[bold red]error:[/] {_escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(2)
    except BrokenPipeError:  # the reader of our output, a pager say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt as error:
        sys.exit(_ended(args[0] if args else "", error))


def _help(args: list[str]) -> None:
    from reincarnate.methods import METHODS

    if args:  # --import MODULE: its methods are named too
        _with_task(args)
    print(HELP.format(methods=", ".join(METHODS)), end="")


def _with_task(args: list[str]) -> list[str]:
    from reincarnate.cli.task_flags import with_task

    return with_task(args)


def _traceback(error: BaseException) -> None:
    import traceback

    print("".join(traceback.format_exception(error)), end="", file=sys.stderr)


@contextmanager
def _flags(quiet: bool = False) -> Iterator[None]:
    """Within, messages speak of flags, and a person who wants quiet has it."""
    before = errors.flags, ui.quiet
    errors.flags, ui.quiet = True, quiet
    try:
        yield
    finally:
        errors.flags, ui.quiet = before


@contextmanager
def _signals_end() -> Iterator[None]:
    """Within, Ctrl-C, SIGTERM and SIGHUP end us by way of an exception: a line is said, temporary folders go.

    An exception that comes while Python cleans up or a library tries an import is lost there: the next sign of progress
    raises it again (`ui.ending`). A signal that is ignored (nohup) stays so. A second one ends us at once.
    """

    def end(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        ui.ending = Ended(number)
        raise ui.ending

    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL, signal.SIGHUP: signal.SIG_DFL}
    taken = [number for number, handler in usual.items() if signal.getsignal(number) is handler]
    with suppress(ValueError):  # not the main thread: signals are somebody else's
        for number in taken:
            signal.signal(number, end)
    try:
        yield
    finally:
        ui.ending = None
        with suppress(ValueError):
            for number in taken:
                signal.signal(number, usual[number])


AGAIN = {"study": "the same command continues", "demo": "the same command continues"}


def _ended(command: str, error: KeyboardInterrupt) -> int:
    """Say that we were stopped, if anybody still listens. Returns the exit code, as shells count it."""
    number = error.number if isinstance(error, Ended) else signal.SIGINT
    how = "interrupted" if number == signal.SIGINT else f"ended by {signal.Signals(number).name}"
    hint = again(error) or AGAIN.get(command, "")
    hint = f"; {hint}" if hint else ""
    with suppress(OSError):  # the terminal may be what has gone
        ui.errors.print(how + hint, highlight=False, markup=False, soft_wrap=True)
    return 128 + number


def again(error: KeyboardInterrupt) -> str:
    """What goes on with what was interrupted, as `train` and `resume` noted it on the way up."""
    return next(iter(getattr(error, "__notes__", ())), "")


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def command_of(name: str) -> Callable[[list[str]], None]:
    """The function that does a command, given its arguments. Raises UserError for an unknown one."""
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
    "play": "play:play",
    "compare": "compare:compare",
    "study": "study:study",
    "priors": "priors:priors",
    "watch": "watch:watch",
    "lineage": "store:lineage",
    "gc": "store:gc",
    "export": "export:export",
    "push": "hub:push",
    "pull": "hub:pull",
    "completion": "completion:completion",
}
"""Name -> module:function here, imported when it is asked for."""
