"""How the page looks: its style sheet and script, and the pieces of HTML it is made of. Cells come escaped."""

from collections.abc import Sequence
from html import escape
from importlib.resources import files

from reincarnate.report.palette import DARK


def switches(arms: Sequence[tuple[str, str]]) -> str:
    """Buttons that switch methods off and on in every plot: of each its class and name. Hidden without JavaScript.

    Those who point at one, or at its curve, name or row, see it stand out from the others.
    """
    buttons = "".join(
        f'<button type="button" data-arm="{name}" class="{name}" aria-pressed="true"><span class="key"></span>'
        f"{escape(label)}</button>"
        for name, label in arms
    )
    every = '<button type="button" data-all="true">all</button><button type="button" data-all="false">none</button>'
    return f'<div class="arms" role="group" aria-label="Methods shown in the plots" hidden>{buttons}{every}</div>'


def document(title: str, body: str, rules: str = "") -> str:
    """A whole page; `rules` go into its style sheet. Each colour is a CSS variable, with another for a dark ground."""
    light = " ".join(f"--{colour[1:]}: {colour};" for colour in DARK)
    dark = " ".join(f"--{colour[1:]}: {other};" for colour, other in DARK.items())
    colours = f":root {{ color-scheme: light dark; {light} }}\n"
    colours += f"@media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}\n"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{colours}{_file('page.css')}{rules}</style></head>\n"
        f"<body><main>\n{body}\n</main><script>\n{_file('page.js')}</script></body></html>\n"
    )


def _file(name: str) -> str:
    return files("reincarnate.report").joinpath(name).read_text()


def colour(hexadecimal: str) -> str:
    """A colour of the curves as the page's variable, which follows the reader's light or dark."""
    return f"var(--{hexadecimal[1:]})"


def themed(svg: str, label: str) -> str:
    """A plot in the page's colours, with a name for those who do not see it."""
    for known in DARK:
        svg = svg.replace(known, colour(known))
    return svg.replace("<svg ", f'<svg role="img" aria-label="{escape(label)}" ', 1)


def table(headings: Sequence[str], rows: Sequence[str], caption: str, kind: str = "") -> str:
    """A table that scrolls sideways where the screen is narrow, by the keyboard too."""
    head = "".join(f'<th scope="col">{escape(x)}</th>' if x else "<td></td>" for x in headings)
    body = "\n".join(rows)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}"><table class="{kind}">'
        f"<caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>"
    )


def row(cells: Sequence[str], kind: str = "") -> str:
    """A table row; its first cell says what it is of."""
    first, *others = cells
    rest = "".join(f"<td>{cell}</td>" for cell in others)
    return f'<tr class="{kind}"><th scope="row">{first}</th>{rest}</tr>'


def group_row(name: str, columns: int) -> str:
    """A row that heads those below it, which are a body of the table; `name` is plain text."""
    return f'</tbody><tbody><tr class="task"><th scope="rowgroup" colspan="{columns}">{escape(name)}</th></tr>'


def section(heading: str, *parts: str) -> str:
    """A heading and what stands under it."""
    return "\n".join([f"<section><h2>{escape(heading)}</h2>", *parts, "</section>"])


def note(text: str) -> str:
    """A line in small print, from plain text."""
    return f'<p class="note">{escape(text)}</p>'
