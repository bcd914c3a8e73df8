"""How a training begins, from the command line as from Python: its text, its directory, and which options go where."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lmgen.data import finding, formats
from lmgen.data.inputs import files as files
from lmgen.data.inputs import is_name
from lmgen.data.split import WHOLE
from lmgen.models import provenance
from lmgen.options import table
from lmgen.system import directories
from lmgen.training import defaults

Options = Mapping[str, Any]  # as arguments.checked gives them


def text_settings(
    files: Sequence[str], options: Options, note: Callable[[str], None] = lambda _: None
) -> provenance.TextSettings:
    """Where the text is and how it is read; `note` gets sentences on what was found. Raises InputError for what is not there."""
    how = {name: options[name] for name in ("sequence", "encoding", "errors")}
    paths = finding.find(files, options["glob"], note)
    if hint := formats.hint(paths[0]):
        note(hint)
    valid, split = finding.find(options["valid"] or []), WHOLE if options["no_valid"] else None
    return provenance.TextSettings(absolute(paths), absolute(valid), **how, split=split)


def place(given: Sequence[Any], options: Options) -> dict[str, Any]:
    """Where the model goes, as directories.new takes it. Raises InputError where that is taken, and for a network that there is
    not."""
    defaults.check(options)
    path, force = options["output"] or directories.HOME / default_name(given), options["force"]
    if not (count_on := not (options["output"] or force)):
        directories.check_free(path, force)
    return {"path": path, "force": force, "count_on": count_on}


def learnt(options: Options) -> dict[str, Any]:
    """The options of run.new."""
    return table.belonging(options, "vocabulary", "network", "training", "end")


def counted(options: Options) -> dict[str, Any]:
    """The options of fit.new."""
    return table.belonging(options, "vocabulary", "n-grams")


def absolute(paths: Iterable[Path]) -> tuple[str, ...]:
    """Paths that still hold when a training is resumed from another folder."""
    return tuple(str(p.absolute()) for p in paths)


def default_name(given: Sequence[Any]) -> str:
    """What a model is called: after its first file, or after that file's folder where the file's name says nothing."""
    first = given[0]
    if isinstance(first, list | tuple) and first and is_name(first[0]):
        return default_name(first)
    first = getattr(first, "name", None) if hasattr(first, "read") else first
    if not isinstance(first, str | os.PathLike):
        return "python"
    if first == "-":
        return "stdin"
    path = Path(first).absolute()
    says_nothing = path.stem in ("train", "all", "input", "text", "data", "corpus")
    return directories.safe_name((path.parent.name if says_nothing else path.stem) or path.stem)
