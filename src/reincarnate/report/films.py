"""Films of the runs that kept any (`--video`), inside the page, behind a heading so that nothing moves unasked."""

import os
from base64 import b64encode
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from reincarnate.files.finished import videos_of
from reincarnate.files.regular import read_bounded
from reincarnate.report.runs import FinishedRun, by_env, by_label
from reincarnate.report.wording import number

ROOM = 1_200_000  # bytes of all films inside a page, which stays under 2 MB; others are linked


def films(runs: Sequence[FinishedRun], folder: Path) -> Iterable[str]:
    """Of each method on each task the last film of its first seed that has one; `folder` is where the page lies."""
    left = ROOM
    for env, group in by_env(runs).items():
        for label, own in by_label(group).items():
            found = [(run, kept[-1]) for run in sorted(own, key=lambda run: run.seed) if (kept := videos_of(run.path))]
            if not found:
                continue
            run, path = found[0]
            size = path.stat().st_size
            content = read_bounded(path, left) if size <= left else b""
            left -= len(content)
            yield _film(f"{label} on {env}, seed {run.seed}", run, path, content, folder)


def _film(name: str, run: FinishedRun, path: Path, content: bytes, folder: Path) -> str:
    told = f"{name}: one episode after evaluation {int(path.stem)} (final score {number(run.score)})"
    if not content.startswith(b"GIF8"):
        link = quote(os.path.relpath(path, folder).replace(os.sep, "/"))
        return f'<p><a href="{escape(link)}">{escape(told)}</a></p>'
    source = f"data:image/gif;base64,{b64encode(content).decode()}"
    image = f'<img src="{source}" alt="{escape(told)}" loading="lazy">'
    return f"<details><summary>{escape(told)}</summary>{image}</details>"
