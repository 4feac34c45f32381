"""Strangers' text as text: nothing in it commands a terminal, and no line is longer than one reads."""

from reincarnate.files import limits


def clean(text: str, most: int = limits.LINE) -> str:
    """One line of at most `most` letters; what cannot be printed becomes a space, what was cut an ellipsis."""
    text = "".join(letter if letter.isprintable() else " " for letter in text[: most + 1])
    return text if len(text) <= most else f"{text[: most - 1]}…"


def clean_lines(text: str, most: int = limits.LINE) -> str:
    """The same line by line, for text that has several."""
    return "\n".join(clean(line, most) for line in text.split("\n"))


def visible(page: str) -> str:
    """A page without characters that command a terminal or cannot be written; its own lines and tabs stay."""
    return "".join(c if c.isprintable() or c in "\n\t" else " " for c in page)


def markdown(text: str, most: int = limits.NAME) -> str:
    """A stranger's word in a page of markdown: no fence, no link, no HTML."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]<>#|~!&$" else c for c in clean(text, most))


def fenced(text: str) -> str:
    """Lines in a fence that nothing in them can close."""
    inside = clean_lines(text).strip("\n")
    longest = max((len(run) for run in "".join(c if c == "`" else " " for c in inside).split()), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{inside}\n{fence}"


def printable(text: str) -> bool:
    """Whether it can be written as UTF-8: no half of a pair of surrogates stands alone."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text) if not text.isascii() else True
