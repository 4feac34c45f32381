"""Whole numbers as people write them, in flags and in files."""

import math
import re

THOUSANDS = re.compile(r"[+-]?\d{1,3}(,\d{3})+")  # 20,000; but 64,64 is two numbers


def whole_number(text: str) -> int:
    """A whole number as people write it: 100000, 100_000, 100,000, 1e5. Raises ValueError for what is none."""
    plain = (text.replace(",", "") if THOUSANDS.fullmatch(text) else text).replace("_", "")
    try:
        return int(plain)
    except ValueError:
        value = _number(plain)
    if not value.is_integer():  # an infinite one is none either
        raise ValueError(f"{text!r} is no whole number")
    return int(value)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
