"""`python -m reincarnate`."""

from reincarnate.cli import main

if __name__ == "__main__":
    main()
