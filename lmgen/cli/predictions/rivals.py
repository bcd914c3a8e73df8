"""The cards of a text by the model of eval and, with --against, by another model of the same kind."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat
from typing import Any

import click

from lmgen.cli.options import load


def cards(loaded: Any, files: tuple[str, ...], options: dict[str, Any], **how: Any) -> Iterator[tuple[Any, Any]]:
    """The card of each file, or of the held-out text, with that of the other model, or None where there is no other.

    Raises UsageError for a model of another kind and, without files, for one that did not hold out the same text.
    """
    how |= {name: options[name] for name in ("encoding", "errors")}
    other = load(options["against"], loaded.lm.precision) if options["against"] else None
    if other and other.lm.kind is not loaded.lm.kind:
        raise click.UsageError(f"--against compares two models of one kind: name one that is {loaded.lm.kind.noun}, too")
    if other and not files and loaded.lm.provenance.held_out != other.lm.provenance.held_out:
        raise click.UsageError(
            "the two models did not hold out the same text, so --against needs one that neither has seen: name a FILE"
        )
    ours = loaded.cards(*files, baselines=options["baselines"], **how)
    return zip(ours, other.cards(*files, baselines=False, **how) if other else repeat(None), strict=False)
