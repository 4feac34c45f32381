"""How the page looks: its style sheet, and the pieces of HTML it is made of. Cells come escaped."""

from collections.abc import Sequence
from html import escape

from reincarnate.report.curves import DARK

_CSS = """
* { box-sizing: border-box }
body { margin: 0 auto; padding: 2.5rem 1.25rem 4rem; max-width: 68rem; background: var(--fffffe);
  color: var(--1c1e21); font: 16px/1.55 system-ui, -apple-system, "Segoe UI", sans-serif }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 1rem; text-wrap: balance }
h2 { font-size: 1.08rem; margin: 2.8rem 0 .6rem }
h3 { font-size: .95rem; margin: 1.2rem 0 .3rem } h3 .muted { font-weight: 400; margin-left: .4rem }
.verdict { font-size: 1.06rem; margin: .35rem 0; max-width: 56rem }
.note, figcaption, .muted { color: var(--6a7078); font-size: .86rem }
.note, figcaption { max-width: 52rem; margin: .6rem 0 }
figure { margin: 1.6rem 0 0 } figure svg { width: 100%; min-width: 38rem; height: auto; display: block }
.scroll { overflow-x: auto }
table { border-collapse: collapse; width: 100%; font-size: .88rem; font-variant-numeric: tabular-nums }
th, td { padding: .36rem .7rem; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--e3e5e8) }
th { color: var(--6a7078); font-weight: 500; vertical-align: bottom; white-space: normal }
th:first-child, td:first-child { text-align: left; padding-left: 0 }
th:last-child, td:last-child { padding-right: 0 }
td:first-child { min-width: 8.5rem; max-width: 22rem; white-space: normal; overflow-wrap: break-word }
.runs th:last-child, .runs td:last-child { text-align: left; min-width: 16rem; white-space: normal;
  overflow-wrap: anywhere }
tr.task td { font-weight: 600; padding-top: 1.1rem }
tr.teacher td, tr.random td { color: var(--6a7078) }
a { color: inherit; text-decoration-color: var(--6a7078); text-underline-offset: .18em }
.dot { display: inline-block; width: .62em; height: .62em; border-radius: 50%; margin-right: .55em }
.forest { width: 9rem; height: 1.1rem; display: block }
ol { margin: .2rem 0; padding-left: 1.3rem }
code, pre { font: .82rem/1.5 ui-monospace, Menlo, Consolas, monospace; overflow-wrap: anywhere }
pre { background: var(--f3f4f6); padding: .7rem .9rem; border-radius: 6px; white-space: pre-wrap }
summary { cursor: pointer; font-size: .9rem; margin-top: .8rem }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1.2rem; font-size: .88rem;
  margin: .4rem 0 }
dt { color: var(--6a7078) } dd { margin: 0 }
caption { text-align: left; color: var(--6a7078); font-size: .86rem; padding-bottom: .4rem }
.arms { margin: 1rem 0 0; font-size: .86rem } .arms[hidden] { display: none }
.arms button { font: inherit; color: inherit; background: none; border: 1px solid var(--e3e5e8); border-radius: 99px;
  padding: .2rem .7rem; margin: 0 .4rem .4rem 0; cursor: pointer }
.arms button[aria-pressed=false] { text-decoration: line-through; opacity: .6 }
.faint { opacity: .15 } .off { display: none }
@media (max-width: 40rem) { body { padding: 1.2rem .8rem 3rem } h1 { font-size: 1.3rem }
  .scroll::before { content: "scrolls sideways"; display: block; position: sticky; left: 0; color: var(--6a7078);
  font-size: .78rem } dl { grid-template-columns: 1fr } figure svg { min-width: 34rem } }
@media print { body { max-width: none; padding: 0 } }
"""


_SCRIPT = """
(() => {
  const bar = document.querySelector(".arms");
  if (!bar) return;
  bar.hidden = false;
  const buttons = [...bar.querySelectorAll("button")];
  const light = arm => buttons.forEach(b => document.querySelectorAll("." + b.dataset.arm).forEach(
    part => part.classList.toggle("faint", arm !== null && b.dataset.arm !== arm)));
  const follow = (part, arm) => {
    for (const event of ["mouseenter", "focus"]) part.addEventListener(event, () => light(arm));
    for (const event of ["mouseleave", "blur"]) part.addEventListener(event, () => light(null));
  };
  for (const button of buttons) {
    const arm = button.dataset.arm;
    follow(button, arm);
    document.querySelectorAll("." + arm).forEach(part => follow(part, arm));
    button.addEventListener("click", () => {
      const on = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", on);
      document.querySelectorAll("svg ." + arm).forEach(part => part.classList.toggle("off", !on));
    });
  }
})();
"""


def switches(arms: Sequence[tuple[str, str, str]]) -> str:
    """Buttons that switch methods off and on in every plot: of each its class, colour and name. Hidden without
    JavaScript; those who point at one, or at its curve or row, see the others faint."""
    buttons = "".join(
        f'<button type="button" data-arm="{name}" aria-pressed="true"><span class="dot" style="background:{shade}">'
        f"</span>{escape(label)}</button>"
        for name, shade, label in arms
    )
    return f'<div class="arms" role="group" aria-label="Methods shown in the plots" hidden>{buttons}</div>'


def document(title: str, body: str) -> str:
    """A whole page. Each colour of the curves is a CSS variable, with another value for a dark ground."""
    light = " ".join(f"--{colour[1:]}: {colour};" for colour in DARK)
    dark = " ".join(f"--{colour[1:]}: {other};" for colour, other in DARK.items())
    colours = f":root {{ color-scheme: light dark; {light} }}\n"
    colours += f"@media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{colours}{_CSS}</style></head>\n"
        f"<body>\n{body}\n<script>{_SCRIPT}</script></body></html>\n"
    )


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
    """A table row of cells."""
    return f'<tr class="{kind}">' + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def section(heading: str, *parts: str) -> str:
    """A heading and what stands under it."""
    return "\n".join([f"<section><h2>{escape(heading)}</h2>", *parts, "</section>"])


def note(text: str) -> str:
    """A line in small print, from plain text."""
    return f'<p class="note">{escape(text)}</p>'
