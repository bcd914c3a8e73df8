"""The errors a user can cause: each carries one sentence (what, why, the way out) and the exit code of the command line."""


class LmgenError(Exception):
    """Something went wrong that one sentence explains; the command line prints it and exits with `exit_code`."""

    exit_code = 1


class InputError(LmgenError):
    """Wrong usage, or a text or an option that cannot be worked with."""

    exit_code = 2


class CheckpointError(LmgenError):
    """A model directory that is missing, damaged, foreign or of another format."""

    exit_code = 3


class DivergedError(LmgenError):
    """Training whose loss or gradient stopped being finite."""

    exit_code = 4


def printable(text: str, most: int = 200) -> str:
    """A name or a word from outside as a sentence can show it: what a terminal or a page would act on becomes "?"."""
    return "".join(c if c.isprintable() else "?" for c in text)[:most]
