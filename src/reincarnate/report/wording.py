"""Numbers as people write them; what is unknown is a dash."""

from reincarnate.report.statistics import Interval


def number(value: float | None) -> str:
    """A score as people write it: fewer decimals the larger it is, thousands apart."""
    if value is None:
        return "–"
    return f"{value:z,.{2 if abs(value) < 10 else 1 if abs(value) < 100 else 0}f}"


def interval(value: Interval | None, seeds: int) -> str:
    """`1.02 [0.98, 1.07]`, or the point and that there is no interval."""
    if value is None:
        return "–"
    if value.low is None or value.high is None:
        return f"{number(value.point)} ({'1 seed, ' if seeds == 1 else ''}no interval)"
    return f"{number(value.point)} [{number(value.low)}, {number(value.high)}]"


def duration(seconds: float | None) -> str:
    """`4.1 s`, `41 s`, `3 min 20 s`, `2 h 05 min`."""
    if seconds is None:
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    if minutes == 0:
        return f"{seconds:.1f} s" if seconds < 10 else f"{rest} s"
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def brief(seconds: float | None) -> str:
    """`41 s`, `3 min`, `2.1 h`."""
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 3570 else f"{seconds / 3600:.1f} h"


def count(value: int | None) -> str:
    """All digits, thousands apart."""
    return "–" if value is None else f"{value:,}"


def short(value: int | float | None) -> str:
    """`500`, `2.5k`, `1M`: at most three digits, where that is exact enough."""
    if value is None:
        return "–"
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"
