"""Which cases of a parametrised test run every time, and which only with the slow tests."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest


def slow(*values: Any) -> Any:
    """A case of the slow tests: much like one that runs every time."""
    return pytest.param(*values, marks=pytest.mark.slow)


def thinned(cases: Iterable[Any], often: Callable[..., bool]) -> list[Any]:
    """The cases, tuples or single values; those that `often` says no to are slow ones."""
    rows = [case if isinstance(case, tuple) else (case,) for case in cases]
    return [pytest.param(*row) if often(*row) else slow(*row) for row in rows]
