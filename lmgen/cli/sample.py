"""The commands that use a model: sample, fill, score, show."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from lmgen.cli import console, models, novelty
from lmgen.cli.options import CONTROL, ENCODING, ERRORS, EXACT, JSON, NGRAM, PRECISION, Bounded, Typed, Whole
from lmgen.errors import InputError
from lmgen.options import table
from lmgen.system import terminal


@click.command()
@click.argument("model", required=False)
@click.option("-n", "--count", "wanted", type=Whole(), help="How many samples.  [default: 10; 1 with a carried state]")
@click.option("-p", "--prompt", default="", help="What each sample begins with.")
@click.option("-t", "--temperature", type=Bounded(0), default=1.0, show_default=True, help="0 takes the likeliest symbol.")
@click.option("--top-k", type=Whole(0), default=0, help="Draw from the k likeliest symbols; 0 from all.")
@click.option(
    "--top-p", type=Bounded(0, 1, open_low=True), default=1.0, help="Draw from the fewest whose probabilities sum to p."
)
@click.option("--min-p", type=Bounded(0, 1), default=0.0, help="Draw from those at least p times as likely as the likeliest.")
@click.option("--max-length", type=Whole(), default=1000, show_default=True, help="The most symbols in a sample.")
@click.option("--lines", type=Whole(), help="Lines in a sample, where the state is carried.  [default: 10]")
@click.option("--novel", is_flag=True, help="Only samples that are not in the corpus, and no repeats.")
@click.option("--distinct", is_flag=True, help="No repeats.")
@click.option(
    "--novelty", "corpora", multiple=True, metavar="FILE", help="Tell what samples share with this corpus, as lmgen novelty does."
)
@CONTROL
@NGRAM
@EXACT
@click.option("--unknown", is_flag=True, help="Allow UNK to be drawn.")
@click.option("--strict", is_flag=True, help="Fail where the prompt has symbols that the model does not know.")
@click.option(
    "--seed",
    type=Typed(table.SEED),
    help="The number that the draw starts from: the same one, the same text.  [default: anew]",
)
@PRECISION
@JSON
def sample(
    model: str | None,
    wanted: int | None,
    prompt: str,
    novel: bool,
    distinct: bool,
    corpora: tuple[str, ...],
    control: str | None,
    ngram: int,
    exact: bool,
    strict: bool,
    seed: int | None,
    precision: str,
    as_json: bool,
    **settings: Any,
) -> None:
    """Write new text.

    MODEL is a directory or a name under checkpoints/; without it the newest there writes. A sample ends where the model says
    EOS. On a terminal, samples that stand in the corpus are marked. Each call draws anew, and says on
    stderr which --seed repeats it.
    """
    import random

    from lmgen import api
    from lmgen.evaluation import novelty as novelties
    from lmgen.system import devices

    devices.prepare()
    loaded = api.load(model, precision)
    if unknown := loaded.lm.vocab.unknown(prompt):
        listed = " ".join(map(repr, unknown[:10]))
        if strict:
            raise InputError(f"the model does not know {listed} of the prompt: leave it out, or leave out --strict")
        terminal.note(f"the model does not know {listed}: read as unknown")
    carried = loaded.lm.carry
    settings["lines"] = settings["lines"] or loaded.defaults["lines"]
    wanted = wanted or loaded.defaults["count"]
    reference = None
    if corpora:
        how = loaded.trained_on
        controls = (control,) if control else tuple(name for name in how.valid_files if Path(name).exists())
        reference = novelty.open_reference(corpora, controls, how.sequence, carried, how.encoding, how.errors, exact)
    elif control:
        raise click.UsageError("--control is compared with what --novelty names: give both, or neither")
    found = 0
    looked_up = []
    start = random.SystemRandom().randrange(1 << 31) if seed is None else seed
    for one in loaded.samples(wanted, prompt=prompt, seed=start, novel=novel, distinct=distinct, **settings):
        found += 1
        if found == 1 and (model is None or seed is None):
            name = loaded.lm.path.name if loaded.lm.path else "the model"
            terminal.note(f"{name}: seed {start}" + f" (--seed {start} repeats this)" * (seed is None))
        if reference:
            looked_up.append(novelties.check(reference.index, one.text, ngram, exact=exact))
        if as_json:
            value = {name: getattr(one, name) for name in ("text", "nats", "symbols", "ended", "known")}
            console.put_json(value | (novelty.fields(looked_up[-1], one.known) if reference else {}))
        else:
            separator = "" if (loaded.lm.sequence == "line" and settings["lines"] == 1) or found == 1 else "\n"
            mark = "  (in the corpus)" if one.known and sys.stdout.isatty() else "" if one.ended else " …" * sys.stdout.isatty()
            terminal.put(separator + one.text + mark)
            if reference:
                novelty.put_novelty(looked_up[-1], ngram)
    if (novel or distinct) and found < wanted:
        kind = "new" if novel else "different"
        terminal.note(
            f"found {found:,} {kind} sample{'s' * (found != 1)} of {wanted:,}: the model draws little else; "
            "try a higher --temperature"
        )
    if reference and looked_up:
        novelty.put_report(looked_up, reference, ngram, as_json)


@click.command()
@click.argument("model")
@click.argument("texts", nargs=-1, metavar="TEXT...")
@click.option("-n", "--count", type=Whole(), default=5, show_default=True, help="How many fillings of each text.")
@click.option("--blank", default="_", show_default=True, help="The mark of a missing character; a run of it of a missing word.")
@PRECISION
@JSON
def fill(model: str, texts: tuple[str, ...], count: int, blank: str, precision: str, as_json: bool) -> None:
    """Fill the blanks of a text.

    Prints the likeliest fillings of each TEXT (or of each line of standard input) by MODEL, which reads in both directions, with
    their probabilities: "em_a" has a letter missing, "the ___ sat" a word.
    """
    from lmgen import api
    from lmgen.data import reading
    from lmgen.system import devices

    devices.prepare()
    loaded = api.load(model, precision)
    unknown: dict[str, None] = {}
    lines = reading.whole(reading.once("-", loaded.lm.sequence)) if texts in ((), ("-",)) else texts
    for number, line in enumerate(lines):
        found = loaded.fill(line, count, blank)
        unknown |= dict.fromkeys(s for s in loaded.lm.vocab.unknown(line) if not (s.strip() and set(s.strip()) <= set(blank)))
        if number and not as_json:
            terminal.put("")
        for one in found:
            if as_json:
                console.put_json({"text": one.text, "symbols": one.symbols, "probability": one.probability})
            else:
                terminal.put(f"{one.probability:.4f}\t{one.text}")
        terminal.finish()  # whoever writes the lines may wait for what fills them
    if unknown:
        terminal.note(f"the model does not know {' '.join(map(repr, [*unknown][:10]))}: read as unknown")


@click.command()
@click.argument("model")
@click.argument("file", default="-")
@click.option("--symbols", is_flag=True, help="The nats of every symbol, too.")
@ENCODING
@ERRORS
@PRECISION
@JSON
def score(model: str, file: str, symbols: bool, encoding: str, errors: str, precision: str, as_json: bool) -> None:
    """Score each line of a text.

    Prints the nats of each sequence of FILE (or standard input, as it comes) under MODEL, its EOS included: the fewer, the
    likelier. A model of both directions gives pseudo-nats, each symbol given all others. A blank line, which training and eval
    pass over unless the state is carried, gets 0, so that each line of the text has its line of output.
    """
    from lmgen import api
    from lmgen.data import reading
    from lmgen.system import devices

    devices.prepare()
    loaded = api.load(model, precision)
    opened = reading.once(file, loaded.lm.sequence, True, encoding, errors)
    name, blank = "pseudo_nats" if loaded.fills else "nats", 0
    for one in loaded.score(reading.arriving(opened)):
        if not (one.text.strip() or loaded.lm.carry):
            one, blank = replace(one, nats=0.0, symbols=(), unknown=0), blank + 1
        if as_json:
            value = {"text": one.text, name: one.nats, "symbols": len(one.symbols), "unknown": one.unknown}
            console.put_json(value | ({"each": one.symbols} if symbols else {}))
        elif symbols:
            terminal.put(" ".join(f"{s or '<EOS>'}:{nats:.2f}" for s, nats in one.symbols))
        else:
            terminal.put(f"{one.nats:.3f}\t{one.text}")
        if opened.pipe:
            terminal.finish()
    for line in opened.notes:
        terminal.note(line)
    if blank:
        terminal.note(f"{blank:,} blank line{'s' * (blank > 1)} got 0: lmgen eval passes over such")


@click.command()
@click.argument("model", required=False)
@click.option(
    "--plot", type=click.Path(path_type=Path), metavar="FILE", help="Draw the curves of the training: a .png, .svg or .pdf."
)
@JSON
def show(model: str | None, plot: Path | None, as_json: bool) -> None:
    """Show what a model holds.

    Without a name: the models in checkpoints/, as lmgen list.
    """

    if model:
        _show_model(model, plot, as_json)
        return
    if plot:
        raise click.UsageError("--plot draws the curves of one model: name it")
    models.put_models(as_json)


def _show_model(model: str, plot: Path | None, as_json: bool) -> None:
    from lmgen.models import facts
    from lmgen.system import directories
    from lmgen.training import curves

    found, path = facts.model(model), directories.find(model)
    if as_json:
        console.put_json(found)
    else:
        rows = [(k.replace("_", " "), facts.words(v)) for k, v in found.items()]
        indent = max(len(name) for name, _ in rows)
        console.table([*rows, *_validation(curves.read(path)["valid_nats"], indent)])
    if plot:
        curves.plot(path, plot)
        terminal.note(f"wrote {plot}")


def _validation(curve: Any, indent: int) -> list[tuple[str, str]]:
    """How the validation went, where there is a curve of it: as blocks, where these fit and can be shown, and its two ends."""
    from lmgen.training import display

    if len(curve.values) < 2:
        return []
    width = (shutil.get_terminal_size().columns if sys.stdout.isatty() else 80) - indent - 2
    ends = f"{curve.values[0]:.3f} to {curve.values[-1]:.3f}"
    blocks = display.sparkline(curve.values, width - len(ends) - 1, sys.stdout)
    return [("validation", f"{blocks} {ends}".lstrip())]
