"""The commands `study run` and `study report`."""

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from reincarnate.cli.parsing import cli
from reincarnate.config import read_yaml
from reincarnate.errors import UserError
from reincarnate.files.atomic import disk_errors
from reincarnate.report import json_of
from reincarnate.store.trust import check_study
from reincarnate.studies.matrix import read_study
from reincarnate.studies.overview import report_study
from reincarnate.studies.runner import run_study


def study(args: list[str]) -> None:
    """`study run FILE.yaml` and `study report DIR`."""
    verb, rest = (args[0], args[1:]) if args else ("--help", [])
    if verb in ("-h", "--help"):
        print("usage: reincarnate study run FILE.yaml [--help]\n       reincarnate study report DIR [--help]")
    elif verb == "run":
        _study_run(rest)
    elif verb == "report":
        _study_report(rest)
    else:
        said = " ".join(args)
        hint = "study report" if Path(verb).is_dir() else "study run"
        raise UserError(f"a study needs a verb, run or report: `reincarnate {hint} {said}`")


def _study_run(args: list[str]) -> None:
    def command(
        file: Positional[Path],
        out: Path | None = None,
        workers: int = 2,
        backend: Literal["local", "ray"] = "local",
        address: str | None = None,
        trust: bool = False,
        json_: Annotated[bool, arg(name="json")] = False,
    ) -> None:
        """Every method × task × seed of a study file over the same priors; run again to go on where it stopped.

        Args:
            file: The study; see studies/*.yaml.
            out: Folder of the runs, the table and the page; by default out/ and the file's name.
            workers: Processes at once, one torch thread each; for a Ray cluster at an address its CPUs decide.
            backend: Processes on this machine, or Ray.
            address: Of a running Ray cluster (auto, or ray://HOST:10001); without it Ray starts on this machine.
            trust: Also go on with runs of a study naming code that did not begin on this machine. Look at them first.
            json_: Print the report as JSON, not as a table.
        """
        _check_backend(workers, backend, address)
        executor = None
        if backend == "ray":
            from reincarnate.studies.ray import RayCluster

            executor = RayCluster(workers, address)
        out = out or Path("out") / file.stem
        check_study(read_yaml(file), out, trust)
        run_study(read_study(file), out, workers, executor, quiet=json_)
        _as_json(json_, out)

    cli(command, args, "reincarnate study run")


def _check_backend(workers: int, backend: str, address: str | None) -> None:
    if workers < 1:
        raise UserError(f"--workers must be at least 1, not {workers}")
    if address is not None and backend != "ray":
        raise UserError("--address is of a Ray cluster: add --backend ray")


def _as_json(wanted: bool, out: Path) -> None:
    if wanted:
        print(json_of(out).read_text(), end="")


def _study_report(args: list[str]) -> None:
    def command(
        directory: Positional[Path],
        out: Path | None = None,
        seed: int = 0,
        json_: Annotated[bool, arg(name="json")] = False,
    ) -> None:
        """What a study found: `compare` over its runs, and which are missing, and why. Nothing is trained.

        Args:
            directory: Folder of a study.
            out: Folder for index.html, index.png and index.json; by default the study's.
            seed: Of the bootstrap.
            json_: Print the report as JSON, not as a table.
        """
        with disk_errors(out or directory):
            report_study(directory, out, seed, quiet=json_)
        _as_json(json_, out or directory)

    cli(command, args, "reincarnate study report")
