"""Looking at logged data: how much there is, what it returned, what it covers, and whether a teacher would do the same.

Numbers only; `data_table` shows them.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.table import Table
from rich.text import Text

from reincarnate.agents.agent import open_agent
from reincarnate.data.codecs import codec_of, decoded
from reincarnate.data.dataset import Columns, Dataset, open_dataset
from reincarnate.data.readers import Logged, read_logged, reader_of
from reincarnate.data.tally import Interval, Tally
from reincarnate.errors import UserError
from reincarnate.teachers.fit import check_fit
from reincarnate.teachers.frozen import why_watching
from reincarnate.types import TaskSpec, Teacher

SAMPLED = 4096  # observations looked at one by one, where looking at all would take long
BLOCK = 1 << 14  # rows of a stored dataset at once


@dataclass(frozen=True)
class DataReport:
    """What logged data holds.

    `returns` are sums of the rewards as stored, so of clipped ones where `reward_clip` is not None; they and `lengths`
    have one entry an episode. `terminated` and `truncated` count episodes by how they ended. Either `action_counts`
    (int64 [A]) or, for continuous actions, `action_range` (least and greatest, [A] each) is there. `protocol` is what
    the data was collected under, as far as that is known, and `task` its id or "".

    `coverage`: of vectors the share of dimensions that vary, of images the share of distinct frames among `sampled`.
    `obs_range`: least and greatest of each dimension of vectors; None for images.

    `agreement` with the teacher's greedy action on `sampled` observations, 1 where it is always the same: the share of
    equal actions; for continuous actions 1 − the mean absolute difference in units of the bounds' width.
    `agreement_interval` is its 95 % interval. Both None without a teacher, or where it cannot be asked.
    """

    format: str
    sha256: str
    task: str
    protocol: dict[str, Any]
    obs_shape: tuple[int, ...]
    obs_dtype: str
    reward_clip: float | None
    episodes: int
    transitions: int
    returns: np.ndarray
    lengths: np.ndarray
    terminated: int
    truncated: int
    action_counts: np.ndarray | None
    action_range: tuple[np.ndarray, np.ndarray] | None
    coverage: float
    obs_range: tuple[np.ndarray, np.ndarray] | None
    sampled: int
    agreement: float | None
    agreement_interval: Interval | None
    warnings: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """All of it, as JSON values."""
        return {name: _plain(value) for name, value in vars(self).items()}


def _plain(value: Any) -> Any:
    """Arrays, alone or in pairs, as lists."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def open_data(address: str, spec: TaskSpec | None) -> Dataset | Logged:
    """A dataset of ours, the replay that an agent kept (store:DIR, or its folder), or logged data of others, unread.

    `spec` is of the task it is wanted for. UserError: none of these.
    """
    folder = Path(address.removeprefix("store:"))
    if not address.startswith("store:"):
        if reader_of(address):
            return read_logged(address, spec)
        if (folder / "manifest.json").exists():
            return open_dataset(folder)
    if not (folder / "agent.json").exists() and not (folder / "agent").exists():
        return read_logged(address, spec)  # says what could be there
    kept = open_agent(folder).data()
    if kept is None:
        raise UserError(f"{address} kept no replay; train it with --keep all")
    return kept


def describe_data(
    data: Dataset | Logged, rng: np.random.Generator, teacher: Teacher | None = None, sample: int = SAMPLED
) -> DataReport:
    """Read data once, front to back, and say what it holds. Nothing is written.

    `rng` draws about `sample` observations for what is measured one by one. UserError: the teacher does not fit, or
    whatever is wrong with the data.
    """
    asked, unasked = _fitting(teacher, data.spec)
    tally = Tally(data.spec, rng, sample / max(1, data.transitions), asked)
    for block in _stored(data) if isinstance(data, Dataset) else data.blocks():
        tally.add(block)
    if not tally.transitions:
        raise UserError("the data holds no steps")
    agreement, interval = tally.agreement()
    origin = _origin(data)
    return DataReport(
        format=origin.format,
        sha256=origin.sha256,
        task=data.spec.id,
        protocol=origin.protocol,
        obs_shape=data.spec.obs_shape,
        obs_dtype=data.spec.obs_dtype,
        reward_clip=data.spec.reward_clip,
        episodes=len(tally.lengths),
        transitions=tally.transitions,
        returns=np.array(tally.returns),
        lengths=np.array(tally.lengths, np.int64),
        terminated=tally.terminated,
        truncated=tally.truncated,
        action_counts=tally.counts,
        action_range=tally.acted.edges() if data.spec.continuous else None,
        coverage=tally.coverage(),
        obs_range=tally.seen.edges() if tally.vectors else None,
        sampled=tally.sampled,
        agreement=agreement,
        agreement_interval=interval,
        warnings=(*origin.warnings, *unasked, *tally.warnings()),
    )


class _Origin(NamedTuple):
    """Where data comes from, as far as it tells."""

    format: str
    sha256: str
    protocol: dict[str, Any]
    warnings: tuple[str, ...]


def _origin(data: Dataset | Logged) -> _Origin:
    if isinstance(data, Logged):
        return _Origin(data.format, data.source, data.spec.protocol, data.warnings)
    about = data.manifest["about"]
    if about.get("kind") != "import":
        return _Origin("reincarnate dataset", data.id, data.spec.protocol, ())
    kind = f"reincarnate dataset, from {about.get('reader')}"
    return _Origin(kind, data.id, about.get("protocol", {}), tuple(about.get("warnings", ())))


def _fitting(teacher: Teacher | None, spec: TaskSpec) -> tuple[Teacher | None, list[str]]:
    """The teacher, if it can say what it thinks of stored observations, and warnings. UserError: it does not fit."""
    if teacher is None:
        return None, []
    if reason := why_watching(teacher):
        return None, [f"the teacher {reason}, so it cannot be asked about stored observations"]
    named = spec if spec.id else replace(spec, id="the data")
    if not spec.id and not spec.continuous:  # the files show which actions were taken, not which there are
        named = replace(named, actions=max(spec.actions, teacher.card.actions or 0))
    return teacher, [*check_fit(teacher.card, named), *teacher.card.warnings]


def _stored(dataset: Dataset) -> Iterator[Columns]:
    """A dataset's rows, some at a time; frames stay on disk until they are looked at."""
    columns, codec = dataset.rows().columns, codec_of(dataset.spec)
    for first in range(0, len(columns["action"]), BLOCK):
        block = {name: column[first : first + BLOCK] for name, column in columns.items()}
        yield {**block, "frame": decoded(codec, block["frame"], block["frame"].ndim - 1)}


SHOWN = 18  # actions, as many as Atari has; of others the most frequent
RANGES = 8  # dimensions whose ranges are given one by one


def data_table(report: DataReport, title: str) -> Table:
    """All of a report, one line a thing."""
    table = Table(title=Text(title), show_header=False, title_justify="left", min_width=60)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("format", Text(report.format))
    table.add_row("task", Text(report.task or "its files do not say"))
    table.add_row("protocol", Text(json.dumps(report.protocol) if report.protocol else "its files do not say"))
    table.add_row("sha256", report.sha256)
    table.add_section()
    table.add_row("episodes", f"{report.episodes:,}; {report.terminated:,} terminated, {report.truncated:,} cut")
    table.add_row("transitions", f"{report.transitions:,}")
    table.add_row("returns", _spread(report.returns) + (" (of clipped rewards)" if report.reward_clip else ""))
    table.add_row("lengths", _spread(report.lengths))
    table.add_row("observations", Text(_observations(report)))
    table.add_row("actions", Text(_actions(report)))
    if report.agreement is not None and report.agreement_interval is not None:
        table.add_row("teacher", Text(_agreement(report, report.agreement, report.agreement_interval)))
    for warning in report.warnings:
        table.add_row("[yellow]warning", Text(warning))
    return table


def _spread(values: np.ndarray) -> str:
    if not len(values):
        return "none is whole"
    low, first, middle, third, high = np.quantile(values, (0, 0.25, 0.5, 0.75, 1))
    quartiles = f"quartiles {first:.4g}, {middle:.4g}, {third:.4g}"
    return f"mean {values.mean():.4g}; {quartiles}; {low:.4g} to {high:.4g}"


def _observations(report: DataReport) -> str:
    kind = f"{report.obs_dtype}{list(report.obs_shape)}"
    if report.obs_range is None:
        return f"{kind}; {report.coverage:.0%} of {report.sampled:,} frames drawn are distinct"
    low, high = report.obs_range
    vary = f"{round(report.coverage * low.size)} of {low.size} dimensions vary"
    pairs = zip(low.tolist(), high.tolist(), strict=True) if low.size <= RANGES else [(low.min(), high.max())]
    return f"{kind}; {vary}; " + ", ".join(f"{a:.3g} to {b:.3g}" for a, b in pairs)


def _actions(report: DataReport) -> str:
    if report.action_counts is None:
        assert report.action_range is not None
        low, high = report.action_range
        pairs = zip(low.tolist(), high.tolist(), strict=True) if low.size <= RANGES else [(low.min(), high.max())]
        return f"{low.size} numbers; " + ", ".join(f"{a:.3g} to {b:.3g}" for a, b in pairs)
    share = report.action_counts / max(1, report.action_counts.sum())
    often = np.sort(np.argsort(-share, kind="stable")[:SHOWN])
    taken = share[share > 0]
    entropy, most = float(-(taken * np.log(taken)).sum()), float(np.log(len(share)))
    listed = ", ".join(f"{a}: {share[a]:.1%}" for a in often) + (" …" if len(share) > SHOWN else "")
    return f"{listed}; entropy {abs(entropy):.3g} nats (uniform: {most:.3g})"


def _agreement(report: DataReport, agreement: float, interval: tuple[float, float]) -> str:
    low, high = interval
    if report.action_counts is not None:
        share = f"takes the logged action greedily in {agreement:.1%}"
        return f"{share}  95 % [{low:.1%}, {high:.1%}] of {report.sampled:,} drawn"
    away = f"is {1 - agreement:.1%} of the bounds' width away from the logged action"
    return f"{away}  95 % [{1 - high:.1%}, {1 - low:.1%}] in {report.sampled:,} drawn"
