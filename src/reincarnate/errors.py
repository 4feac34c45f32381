"""The one exception whose message is meant for the person at the keyboard."""


class UserError(Exception):
    """Bad input: one line that says what was wrong, with what, and what to do. The command line exits with 2.

    It is one line whatever names from strangers' files it quotes: what cannot be printed becomes a space.
    """

    def __str__(self) -> str:
        return "".join(letter if letter.isprintable() else " " for letter in super().__str__())
