"""`python -m reincarnate.cli`."""

from reincarnate.cli import main

if __name__ == "__main__":
    main()
