"""`python -m reincarnate`."""

from reincarnate.cli.main import main

main()
