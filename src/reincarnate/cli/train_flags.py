"""Flags of `train`: every field of the run, its method and its student, over an optional strict YAML file."""

import inspect
import re
import textwrap
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from reincarnate import envs
from reincarnate.cli.parsing import cli, path_of
from reincarnate.config import from_dict, read_yaml
from reincarnate.errors import UserError
from reincarnate.methods import METHODS
from reincarnate.plugins import Registry
from reincarnate.run.budget import fitted
from reincarnate.run.settings import NAMES, Run, default_student, with_imports
from reincarnate.seeds import check_many
from reincarnate.students import STUDENTS
from reincarnate.training.exchange import EXCHANGES

LINE = 100  # letters of what a list says of one method


@dataclass(frozen=True)
class Options:
    """What to do with the run."""

    out: Path | None = None
    """Directory of the run; by default runs/TASK-METHOD-sSEED. It must not exist."""
    seeds: int = 1
    """How many seeds to train, from --seed on, each in its own directory (with --out: in OUT/s0, OUT/s1 …)."""
    together: Literal["auto", "on", "off"] = "auto"
    """Several seeds in one process and in step; auto: where that is quicker than one after another."""
    config: Path | None = None
    """YAML file of settings that flags override; unknown and duplicate keys are errors."""
    print_config: bool = False
    """Print the settings as YAML and stop."""
    dry_run: bool = False
    """Print the phases, what they will cost, and stop; nothing is written."""
    chosen: Annotated[str, tyro.conf.Fixed, tyro.conf.Suppress] = ""
    """What was chosen for the budget, in words."""


@dataclass(frozen=True)
class Command:
    """All flags of `train`."""

    run: Annotated[Run, tyro.conf.arg(name="")]
    options: Annotated[Options, tyro.conf.arg(name="")]


def parse(args: list[str]) -> tuple[Run, Path, Options]:
    """The run with settings that fit its budget, its directory and the options.

    Raises UserError for unknown methods, students and keys.
    """
    if not args or args[0].startswith("-"):
        raise UserError(f"train needs a method: {', '.join(METHODS)}")
    METHODS.find(method := args[0])
    student, rest = _take(args[1:], "--student")
    exchange, rest = _take(rest, "--exchange")
    config, rest = _take(rest, "--config")
    weights, _ = _take(rest, "--weights")
    env, _ = _take(rest, "--env")
    file = None if config is None else path_of(config)
    default = _default(method, student, file, weights, env)
    if exchange is not None and EXCHANGES.find(exchange) is not type(default.exchange):
        default = replace(default, exchange=EXCHANGES[exchange]())
    about = inspect.cleandoc(METHODS[method].__doc__ or "") + f"\n\n--student NAME chooses: {', '.join(STUDENTS)}."
    about += f"\n\n--exchange NAME chooses, with --population N: {', '.join(EXCHANGES)}."
    about += f"\n\nOther methods: {', '.join(name for name in METHODS if name != method)}."
    parsed = cli(
        tyro.conf.AvoidSubcommands[Command],
        rest,
        f"reincarnate train {method}",
        default=Command(default, Options(config=file)),
        description=about,
    )
    run, options = parsed.run, parsed.options
    if not run.env:
        raise UserError("train needs a task: --env CartPole-v1, MinAtar/Breakout-v1, ALE/Pong-v5 …")
    check_many(options.seeds)
    if options.seeds > 1 and run.population > 1:
        raise UserError("--seeds and --population both say how many learners there are: train one population at a time")
    run, chosen = fitted(run, _said(rest, read_yaml(file) if file else {}))
    out = options.out or Path("runs") / f"{envs.parse(run.env).folder}-{method}"
    return run, out, replace(options, chosen=chosen)


def _said(args: list[str], file: dict[str, Any]) -> set[str]:
    """The settings that flags or a file name: "evaluations", "student.warmup"."""
    flags = (item[2:].partition("=")[0].replace("-", "_") for item in args if item.startswith("--"))
    student = file.get("student")
    return {*flags, *file, *(f"student.{name}" for name in (student if isinstance(student, dict) else ()))}


def overview() -> str:
    """Methods and students with a line each, for `train --help`. One that cannot be loaded says why."""
    return f"""usage: reincarnate train METHOD --env ID [--teacher T] [--student NAME] [flags]

methods:
{_lines(METHODS)}

students (--student NAME):
{_lines(STUDENTS)}

`reincarnate train METHOD --student NAME --help` lists every setting of both; `reincarnate advise` measures what there
is to start from, and recommends a method.
"""


def _lines(names: Registry) -> str:
    return "\n".join(f"  {name:<{max(map(len, names))}}  {_first_sentence(names, name)}" for name in names)


def _first_sentence(names: Registry, name: str) -> str:
    try:
        said = " ".join(inspect.cleandoc(names[name].__doc__ or "").partition("\n\n")[0].split())
    except UserError as error:
        return f"cannot be loaded: {error}"
    first = re.split(r"(?<=[^ .]{3})[.;] ", said, maxsplit=1)[0].rstrip(".")
    return textwrap.shorten(first, LINE, placeholder=" …")


def directories(run: Run, out: Path, options: Options) -> list[tuple[Run, Path]]:
    """Every seed's run and its directory."""
    runs = [replace(run, seed=run.seed + i) for i in range(options.seeds)] if run.population < 2 else run.members()
    if options.out is None:
        return [(one, out.with_name(f"{out.name}-s{one.seed}")) for one in runs]
    return [(run, out)] if len(runs) == 1 else [(one, out / f"s{one.seed}") for one in runs]


def _default(method: str, student: str | None, config: Path | None, weights: str | None, env: str | None) -> Run:
    """What flags start from: the defaults, or the file's settings."""
    settings: dict[str, Any] = read_yaml(config) if config else {}
    imports = with_imports(settings, str(config))
    said = settings.setdefault("method", {"name": method})
    if isinstance(said, str):
        said = settings["method"] = {"name": said}
    if not isinstance(said, dict) or said.setdefault("name", method) != method:
        raise UserError(f"{config} is for method {said!r}, not {method!r}")
    run = from_dict(Run, {"env": "", **settings, "imports": imports}, NAMES)
    kind = STUDENTS.find(student) if student is not None else None
    if "student" not in settings:
        begun = default_student(kind, weights or run.weights)
        return replace(run, student=begun if weights or run.weights else _suited(begun, env or run.env))
    return run if kind is None or type(run.student) is kind else replace(run, student=kind())


def _suited(student: Any, env: str) -> Any:
    """A student's defaults with what is suggested for a task, as far as it has such settings."""
    usual = envs.suggested(env) if env else {}
    known = {field.name for field in fields(student)}
    return replace(student, **{name: value for name, value in usual.items() if name in known})


def _take(args: list[str], flag: str) -> tuple[str | None, list[str]]:
    """Take `flag VALUE` or `flag=VALUE` out of the arguments."""
    for i, item in enumerate(args):
        if item == flag:
            if i + 1 == len(args):
                raise UserError(f"{flag} needs a value")
            return args[i + 1], args[:i] + args[i + 2 :]
        if item.startswith(f"{flag}="):
            return item.split("=", 1)[1], args[:i] + args[i + 1 :]
    return None, args
