"""How a training begins, from the command line as from Python: its text, its directory, and which options go where."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lmgen import arguments, checkpoint, recipe, run, text

Options = Mapping[str, Any]  # as arguments.checked gives them


def text_settings(files: Sequence[str], options: Options) -> run.TextSettings:
    """Where the text is and how it is read. Raises InputError for what is not there."""
    valid = text.find([options["valid"]]) if options["valid"] else []
    return run.TextSettings(
        absolute(text.find(files)), absolute(valid), **{n: options[n] for n in ("sequence", "encoding", "errors")}
    )


def directory(files: Sequence[str], options: Options) -> Path:
    """Where the model goes. Raises InputError where nothing can be written there, and for a network that there is not."""
    recipe.check(options)
    path = options["output"] or checkpoint.free(checkpoint.HOME / default_name(files))
    checkpoint.check_free(path, options["force"])
    return path


def learnt(options: Options) -> dict[str, Any]:
    """The options of run.new."""
    return arguments.belonging(options, "vocabulary", "network", "training", "end") | {"force": options["force"]}


def counted(options: Options) -> dict[str, Any]:
    """The options of fit.new."""
    return arguments.belonging(options, "vocabulary", "n-grams") | {"force": options["force"]}


def absolute(paths: Iterable[Path]) -> tuple[str, ...]:
    """Paths that still hold when a training is resumed from another folder."""
    return tuple(str(p.absolute()) for p in paths)


def default_name(files: Sequence[str]) -> str:
    """What a model is called: after its first file, or after that file's folder where the file's name says nothing."""
    first = Path(files[0]).absolute()
    says_nothing = first.stem in ("train", "all", "input", "text", "data", "corpus")
    name = "stdin" if files[0] == "-" else first.parent.name if says_nothing else first.stem
    return checkpoint.safe_name(name or first.stem)
