"""The command predict: the model knows what."""

from __future__ import annotations

from typing import Any

import click

from lmgen.cli import console
from lmgen.cli.options import command, load, note_nothing, refuse_useless
from lmgen.cli.predictions import graphs, labels, pairs, trees
from lmgen.models import kinds
from lmgen.options import commands
from lmgen.system import terminal

# For each kind of model a module with `inputs` (of a file), `put` and `record` (a prediction as text, as JSON), and `evaluate`.
SHOWN: dict[kinds.Kind, Any] = {
    kinds.LABELLER: labels,
    kinds.TRANSLATOR: pairs,
    kinds.TREES: trees,
    kinds.GRAPH: graphs,
}


@command(
    "echo Giovanni | lmgen predict languages --top 3",
    "lmgen predict languages names.txt",
    options=commands.PREDICT,
)
@click.argument("model")
@click.argument("file", default="-")
def predict(
    model: str, file: str, field: Any, encoding: str, errors: str, mixture: bool, precision: str, json: bool, **options: Any
) -> None:
    """Predict what belongs to texts, trees or graphs: labels, tags, translations.

    FILE has a text a line, or is text with labels or targets in any form that lmgen train reads, which are not looked at; without
    FILE standard input is read as it arrives. Prints for each text its label, the label's probability and the text; tags as
    columns (word, tag, probability) with a blank line after each text; a translation as a line.
    """
    from lmgen.models.capabilities import Predicts, require

    loaded = load(model, precision, mixture)
    kind = require(loaded.lm, Predicts, "use lmgen {command}, or train one on labelled text").kind
    refuse_useless(kind, commands.PREDICT, options | {"field": field, "mixture": mixture})
    own = {one.name: options[one.name] for one in commands.PREDICT if one.name in options and not kind.lacks(one)}
    shown, settings = SHOWN[kind], {option.name: own.pop(option.name) for option in commands.DECODING if option.name in own}
    one = None
    for one in loaded.predict(shown.inputs(loaded.lm, file, encoding, errors, field), **settings):
        if json:
            console.put_json(shown.record(one, **own))
        else:
            shown.put(one, **own)
        own |= {name: None for name in own if name == "plot"}  # which draws the first
        if file == "-":
            terminal.finish()
    if one is None:
        note_nothing("predict", file)
