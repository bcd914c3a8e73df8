"""The commands that apply a model to text: sample, fill, score."""

from __future__ import annotations

import random
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from lmgen.cli import console, novelty
from lmgen.cli.options import command, load, note_unknown
from lmgen.errors import InputError
from lmgen.options import commands
from lmgen.system import terminal

FIELDS = ("text", "nats", "symbols", "ended", "known")  # of a sample as JSON


@command("lmgen sample cities -n 20 --novel", "lmgen sample cities --prompt San --temperature 0.8", options=commands.SAMPLE)
@click.argument("model", required=False)
def sample(model: str | None, precision: str, **options: Any) -> None:
    """Write new text.

    MODEL is a directory or a name in checkpoints/; the newest there if you omit it. A sample ends at EOS. On a terminal, samples
    that are in the corpus are marked. Each call draws other samples and prints the --seed that repeats them on stderr.
    """
    from lmgen.evaluation import novelty as novelties

    loaded = load(model, precision)
    loaded = loaded.by(options["label"]) if options["label"] is not None else loaded
    prompt, ngram, json = options["prompt"], options["ngram"], options["json"]
    unknown = loaded.lm.vocab.unknown(prompt)
    if unknown and options["strict"]:
        listed = " ".join(map(repr, unknown[:10]))
        raise InputError(f"the model does not know {listed} of the prompt: leave it out, or leave out --strict")
    note_unknown(unknown)
    count = options["count"] or loaded.defaults["count"]
    lines = options["lines"] or loaded.defaults["lines"]
    drawing = {option.name: options[option.name] for option in commands.DRAWING if option is not commands.LABEL} | {
        "count": count
    }
    reference, found, looked_up = None, 0, []
    if options["novelty"]:
        text = loaded.trained_on
        controls = [options["control"]] if options["control"] else [name for name in text.valid_files if Path(name).exists()]
        how = (text.sequence, loaded.lm.carry, text.encoding, text.errors)
        reference = novelty.open_reference(options["novelty"], controls, how, options["exact"])
    elif options["control"]:
        raise click.UsageError("--control is compared with the corpus of --novelty: give both, or neither")
    anew = drawing["seed"] is None
    drawing["seed"] = seed = random.SystemRandom().randrange(1 << 31) if anew else drawing["seed"]
    for one in loaded.samples(**drawing):
        found += 1
        if found == 1 and (model is None or anew):
            name = loaded.lm.path.name if loaded.lm.path else "the model"
            terminal.note(f"{name}: seed {seed}" + f" (--seed {seed} repeats this)" * anew)
        if reference:
            looked_up.append(novelties.check(reference.index, one.text, ngram, exact=options["exact"]))
        if json:
            value = {name: getattr(one, name) for name in FIELDS}
            if reference:
                value |= asdict(looked_up[-1]) | {"known": bool(one.known or looked_up[-1].known)}
            console.put_json(value)
            continue
        separator = "" if (loaded.lm.sequence == "line" and lines == 1) or found == 1 else "\n"
        mark = "  (in the corpus)" if one.known else "" if one.ended else " …"
        terminal.put(separator + one.text + mark * sys.stdout.isatty())
        if reference:
            novelty.put_novelty(looked_up[-1], ngram)
    if (options["novel"] or options["distinct"]) and found < count:
        samples = f"{'new' if options['novel'] else 'different'} sample{'s' * (found != 1)}"
        terminal.note(f"found {found:,} {samples} of {count:,}: the model draws little else; try a higher --temperature")
    if reference and looked_up:
        novelty.put_report(looked_up, reference, ngram, json)


@command('lmgen fill blanks "em_a" "the ___ sat"', "lmgen fill blanks -n 3 < lines.txt", options=commands.FILL)
@click.argument("model")
@click.argument("texts", nargs=-1, metavar="TEXT...")
def fill(model: str, texts: tuple[str, ...], count: int, blank: str, precision: str, json: bool) -> None:
    """Fill the blanks of a text.

    Prints the likeliest fillings of each TEXT, or of each line of standard input, with their probabilities. "em_a" lacks a
    letter, "the ___ sat" a word. MODEL reads in both directions (lmgen train --direction both).
    """
    from lmgen.data import reading

    loaded = load(model, precision)
    unknown: dict[str, None] = {}
    lines = reading.whole(reading.once("-", loaded.lm.sequence)) if texts in ((), ("-",)) else texts
    for number, line in enumerate(lines):
        found = loaded.fill(line, count, blank)
        unknown |= dict.fromkeys(s for s in loaded.lm.vocab.unknown(line) if not (s.strip() and set(s.strip()) <= set(blank)))
        if number and not json:
            terminal.put("")
        for one in found:
            if json:
                console.put_json({"text": one.text, "symbols": one.symbols, "probability": one.probability})
            else:
                terminal.put(f"{one.probability:.4f}\t{one.text}")
        terminal.finish()  # whoever writes the lines may wait for their fillings
    note_unknown(unknown)


@command("lmgen score cities names.txt", "echo Berlin | lmgen score cities --symbols", options=commands.SCORE)
@click.argument("model")
@click.argument("file", default="-")
def score(model: str, file: str, symbols: bool, encoding: str, errors: str, precision: str, json: bool, **options: Any) -> None:
    """Score each line of a text.

    Prints the nats of each sequence of FILE (or standard input, as it arrives) under MODEL, EOS included: the fewer, the
    likelier. A model of both directions gives pseudo-nats, of each symbol given all others. A blank line, which lmgen eval skips
    unless the state is carried, gets 0.
    """
    from lmgen.data import reading

    loaded = load(model, precision)
    loaded = loaded.by(options["label"]) if options["label"] is not None else loaded
    opened = reading.once(file, loaded.lm.sequence, True, encoding, errors)
    name, blank = "pseudo_nats" if loaded.fills else "nats", 0
    for one in loaded.score(reading.arriving(opened)):
        if not (one.text.strip() or loaded.lm.carry):
            one, blank = replace(one, nats=0.0, symbols=(), unknown=0), blank + 1
        if json:
            value = {"text": one.text, name: one.nats, "symbols": len(one.symbols), "unknown": one.unknown}
            console.put_json(value | ({"each": one.symbols} if symbols else {}))
        elif symbols:
            terminal.put(" ".join(f"{s or '<EOS>'}:{nats:.2f}" for s, nats in one.symbols))
        else:
            terminal.put(f"{one.nats:.3f}\t{one.text}")
        if opened.pipe:
            terminal.finish()
    terminal.note(*opened.notes)
    if blank:
        terminal.note(f"{blank:,} blank line{'s' * (blank > 1)} got 0: lmgen eval skips blank lines")
