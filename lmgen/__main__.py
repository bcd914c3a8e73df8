"""The program lmgen, also python -m lmgen: it handles Ctrl-C before it imports anything else."""

import sys

from lmgen.system import signals


def main() -> None:
    """Run the command line."""
    signals.begin()
    try:
        from lmgen.cli import main

        main.main()
    except KeyboardInterrupt:
        sys.exit(signals.INTERRUPTED)


if __name__ == "__main__":
    main()
