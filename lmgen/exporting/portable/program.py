"""The command line."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from lmgen.exporting.portable.between import pseudo_score
from lmgen.exporting.portable.given import MODEL
from lmgen.exporting.portable.labels import predict
from lmgen.exporting.portable.pairs import score_pair, translate
from lmgen.exporting.portable.writing import sample, score


def put_samples(count, **settings):
    """Write texts."""
    for text in sample(count, **settings):
        show(text)


def put_scores(**settings):
    """Print the nats of each line of standard input."""
    put_nats((line, score(line, **settings)) for line in lines())


def put_pseudo_scores():
    """Print the pseudo-nats of each line of standard input."""
    put_nats((line, pseudo_score(line)) for line in lines())


def put_pair_scores():
    """Print the nats of each target, given its source, of lines of source TAB target."""
    put_nats((line.partition("\t")[2], score_pair(*line.partition("\t")[::2])) for line in lines())


def put_nats(scored):
    for text, symbols in scored:
        show(f"{sum(nats for _, nats in symbols):.3f}\t{text}")


def put_predictions():
    """Print the label of each line of standard input with its probability, or its symbols with their tags."""
    for line in lines():
        found = predict(line)
        for label, p in found.get("labels", [])[:1]:
            show(f"{label}\t{p:.4f}\t{line}")
        if "tags" in found:
            show("".join(f"{symbol.strip()}\t{tag}\t{p:.4f}\n" for symbol, tag, p in found["tags"]))


def put_translations():
    """Print the translation of each line of standard input."""
    for line in lines():
        show(translate(line)[0])


def show(text):
    print(text.encode("utf-8", "replace").decode())  # halves of characters cannot be printed


def lines():
    return (line.rstrip("\r\n") for line in sys.stdin)


COMMANDS: dict[str, Any] = {  # what each does, and its options with their defaults
    "sample": (
        put_samples,
        {"count": 10, "prompt": "", "seed": -1, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0}
        | {"max_length": 1000, "lines": 0, "label": ""},
    ),
    "score": (put_scores, {"label": ""}),
    "pseudo-score": (put_pseudo_scores, {}),
    "score-pairs": (put_pair_scores, {}),
    "predict": (put_predictions, {}),
    "translate": (put_translations, {}),
}


def main(words=None):
    """Run a command, as in: sample --count 3 --seed 1."""
    parser = argparse.ArgumentParser(description=f"{MODEL['name']}: {MODEL['summary']}")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (function, options) in COMMANDS.items():
        command = commands.add_parser(name, help=function.__doc__)
        for option, default in options.items():
            command.add_argument(
                "--" + option.replace("_", "-"), type=type(default), default=default, help=f"default: {default!r}"
            )
    given = vars(parser.parse_args(words))
    try:
        COMMANDS[given.pop("command")][0](**given)
    except ValueError as error:
        parser.exit(2, f"{error}\n")
    except BrokenPipeError:  # whoever reads has enough
        sys.stderr.close()
