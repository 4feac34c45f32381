"""The command line: one file a command. `from reincarnate.cli import main` is its entry point."""
