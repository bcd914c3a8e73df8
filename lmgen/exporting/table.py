"""The table of formats, and the export of a model to one of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from lmgen.applied.averaged import Averaged
from lmgen.data.vocab import UNITS
from lmgen.errors import InputError
from lmgen.exporting import html, hub, numpy, onnx, torch
from lmgen.exporting.target import Contents, Target, default_path
from lmgen.models.mixed import Mixed
from lmgen.options import commands, table
from lmgen.system import files

TARGETS: dict[str, Target] = {
    "html": html.TARGET,
    "numpy": numpy.TARGET,
    "onnx": onnx.TARGET,
    "torch": torch.TARGET,
    "hub": hub.TARGET,
}


def contents(lm: Any, format: str, **settings: Any) -> Contents:
    """The files of a model in a format, by name; that of a format of one file has the name "".

    Raises InputError for a model that the format does not hold, and for a setting that it does not have.
    """
    target = TARGETS[format]
    if why := lack(lm, target):
        others = ", ".join(name for name, other in TARGETS.items() if not lack(lm, other))
        raise InputError(f"this model {why}, which --format {format} does not hold: choose another --format ({others})")
    lm = held_by(lm, format)
    given = {name: value for name, value in settings.items() if value is not None}
    if useless := sorted(given.keys() - {*target.settings}):
        flag = useless[0].replace("_", "-")
        raise InputError(f"--{flag} means nothing for --format {format}: leave it out, or choose another --format")
    checked = {option.name: option.check(given[option.name]) for option in commands.EXPORT if option.name in given}
    return target.contents(lm, **checked)


def lack(lm: Any, target: Target) -> str:
    """What of a model a format does not hold, as in "is an n-gram model"; empty where it holds all."""
    if lm.kind not in target.kinds:
        return f"is {lm.kind.noun}"
    if target is not hub.TARGET and UNITS[lm.vocab.unit].language:
        return "reads words that a library cuts (--segment)"
    return target.lack(lm)


def held_by(lm: Any, format: str) -> Any:
    """The parts of a model that a format holds: one network, but for the Hub, and n-grams up to a number."""
    if isinstance(lm, Averaged):
        return lm if format == "hub" else lm.network
    if not isinstance(lm, Mixed):
        return lm
    if len(lm.ngrams) > TARGETS[format].ngrams:
        return lm.network
    return lm if format == "hub" else replace(lm, networks=lm.networks[:1])


def left_out(lm: Any, format: str) -> str:
    """A sentence on the parts of a model that a format does not hold; empty where it holds all."""
    if isinstance(lm, Averaged) and lm.networks and format != "hub":
        return f"the first of {len(lm.networks)} networks is written: --format {format} holds no more"
    if not isinstance(lm, Mixed):
        return ""
    count, most = len(lm.ngrams), TARGETS[format].ngrams
    if count <= most:
        several = len(lm.networks) > 1 and format != "hub"
        return f"the first of {len(lm.networks)} networks is written with the n-grams: --format {format} holds no more" * several
    why = f"{count:,} n-grams are more than the {most:,}" if most else "n-grams are nothing"
    return f"the network is written without what is mixed with it: {why} that --format {format} holds"


def format_of(format: str | None, path: Path | None) -> str:
    """The format that is asked for, that of the path's suffix, or else the first of the table."""
    if format is not None:
        return table.check("format", commands.FORMAT.kind, format)
    suffix = path.suffix if path else ""
    return next((name for name, target in TARGETS.items() if target.suffix == suffix != ""), next(iter(TARGETS)))


def export(lm: Any, path: Path | None = None, format: str | None = None, force: bool = False, **settings: Any) -> Path:
    """Write a model in a format, whole or not at all; return where it is.

    Raises InputError as `contents` does, and for a path that is taken, unless `force` replaces what an export wrote there.
    """
    format = format_of(format, path)
    made = contents(lm, format, **settings)
    path = path or default_path(lm, TARGETS[format].suffix or f"-{format}")
    files.put(path, made, force)
    return path
