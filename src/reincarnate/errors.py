"""The one exception whose message is meant for the person at the keyboard."""

LONGEST = 2000  # letters of a message, whatever it quotes


class UserError(Exception):
    """Bad input: one line that says what was wrong, with what, and what to do. The command line exits with 2.

    It is one line whatever names from strangers' files it quotes: what cannot be printed becomes a space, and it is
    cut at 2,000 letters.
    """

    def __str__(self) -> str:
        said = super().__str__()
        cut = said if len(said) <= LONGEST else f"{said[: LONGEST - 1]}…"
        return "".join(letter if letter.isprintable() else " " for letter in cut)
