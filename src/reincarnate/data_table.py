"""A report on logged data as a table for people."""

import json

import numpy as np
from rich.table import Table
from rich.text import Text

from reincarnate.data_inspection import DataReport

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
