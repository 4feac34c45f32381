"""Files of the package `balloon-learning-environment`, which cannot be imported on today's Python, found as files."""

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from reincarnate.errors import UserError

WHEEL = "balloon-learning-environment"
VERSION = "1.0.1"


def installed(member: str, who: str, hint: str = "") -> Path:
    """Where a member of the wheel is installed. UserError: the package is not; `who` needs it, `hint` goes on."""
    try:
        return Path(str(distribution(WHEEL).locate_file(member)))
    except PackageNotFoundError:
        raise UserError(
            f"{who} is in the package {WHEEL}, which is not installed: pip install --no-deps {WHEEL}=={VERSION}{hint}"
        ) from None
