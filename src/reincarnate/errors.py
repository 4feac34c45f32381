"""The one exception whose message is meant for the person at the keyboard."""


class UserError(Exception):
    """Bad input: one line that says what was wrong, with what, and what to do. The command line exits with 2."""
