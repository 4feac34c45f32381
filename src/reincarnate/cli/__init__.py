"""The command line: one file a command. `main` is its entry point."""


def main(argv: list[str] | None = None) -> None:
    """`reincarnate COMMAND …`: by default the process's own arguments. Exits with code 2 on bad input."""
    from reincarnate.cli import commands

    commands.main(argv)


__all__ = ["main"]
