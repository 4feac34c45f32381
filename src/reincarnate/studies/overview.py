"""A study's report: the comparison of its finished runs, and which runs are missing, and why."""

from pathlib import Path
from typing import Any

from reincarnate import report, ui
from reincarnate.errors import UserError
from reincarnate.files.finished import refuse_inside_a_run
from reincarnate.report.runs import NOT_BEGUN, Loaded, Missing, left_out, load_runs, unfinished
from reincarnate.studies.pins import read_study_record


def report_study(directory: Path, out: Path | None = None, seed: int = 0, quiet: bool = False) -> list[report.Row]:
    """Write the page, rows and curves of a study into its directory or `out`, and print the table unless `quiet`.

    Says which runs are not counted and what cannot be concluded. Raises UserError where no run has a score, or runs
    do not stand on the same prior, protocol and budget.
    """
    refuse_inside_a_run(out or directory)
    kept, found = directory / "index.json", {}
    if report.is_report(directory):
        title, out, loaded = report.title_of(kept), out or directory, report.load_published(kept)
    else:
        record = read_study_record(directory)
        title, out, found = str(record["title"]), out or directory, record.get("found", {})
        loaded = load_study(directory, record)
    rows = report.publish(loaded, out, seed, title)
    if not quiet:
        ui.console.print(f"[bold]{ui.escape(title)}[/]", highlight=False)
        ui.console.print(report.as_rich(rows))
    total = len(loaded.runs) + len(loaded.missing)
    ui.note(f"{len(loaded.runs)} of {total} runs are counted")
    for arm, told in found.items():
        words = ", ".join(f"{name} {value:.3g}" for name, value in told["settings"].items()) or "as asked"
        ui.note(f"{arm}: {words}, searched for in {told['env_steps']:,} env steps, which are not counted below")
    for run in loaded.missing:
        ui.note(f"warning: {run.path}: {run.state}{f': {run.reason}' if run.reason else ''}")
    for line in report.gaps(loaded.runs, loaded.missing):
        ui.note(line)
    if not quiet:
        ui.say(f"page: {out / 'index.html'}")
    return rows


def load_study(directory: Path, record: dict[str, Any]) -> Loaded:
    """The finished runs among those that a study consists of, by its `study.json`, and all others as missing."""
    runs: list[dict[str, str]] = record["runs"]
    there = [directory / run["directory"] for run in runs if (directory / run["directory"] / "config.json").exists()]
    absent = [_absent(directory, run) for run in runs if directory / run["directory"] not in there]
    try:
        loaded = load_runs(there)
    except UserError as error:
        told = left_out(absent)
        raise UserError(f"study in {directory}: {error}{f'; {told}' if told else ''}") from None
    return Loaded(loaded.runs, loaded.missing + absent, record.get("settings", {}).get("by_clock") is True)


def _absent(directory: Path, run: dict[str, str]) -> Missing:
    """A run without a directory of its own: not begun, or failed before it could begin."""
    missing = unfinished(directory / run["directory"])
    state = missing.state if missing.reason else NOT_BEGUN
    return Missing(missing.path, state, missing.reason, run["env"], run["label"])
