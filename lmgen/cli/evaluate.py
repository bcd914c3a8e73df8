"""The command eval: the scorecard of a text, as a table, as JSON, as rows of Markdown."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import click

from lmgen.cli import console
from lmgen.cli.options import command, load, refuse_useless, together
from lmgen.cli.predict import SHOWN
from lmgen.cli.predictions import labels
from lmgen.models import kinds
from lmgen.options import commands
from lmgen.system import terminal
from lmgen.training import display

# What measures a model of something other than plain text.
MEASURES = {kinds.WRITER: labels.evaluate_by_label, **{kind: shown.evaluate for kind, shown in SHOWN.items()}}


@command("lmgen eval cities", "lmgen eval cities test.txt --with trigrams --valid valid.txt", options=commands.EVAL)
@click.argument("model")
@click.argument("files", nargs=-1, metavar="[FILE]...")
def eval_(model: str, files: tuple[str, ...], precision: str, processes: int, mixture: bool, **options: Any) -> None:
    """Measure how well a model predicts a text.

    Prints perplexity, bits per character and bits per byte with a 95 % interval, beside n-gram models and file compressors
    fitted to the same training text; for a model of both directions, pseudo-perplexity. Without FILE, measures the text on which
    the model was validated.
    """
    other, adapt, valid = options["with"], options["adapt"], options["valid"]
    if (other or adapt) and not (files or valid):
        raise click.UsageError(
            f"{'the weight of --with' if other else '--adapt'} is fitted to the held-out text, so measure another text: "
            "name a FILE"
        )
    if other and adapt:
        raise click.UsageError("a mixture does not adapt: choose one of --with and --adapt")
    if adapt and options["protocol"] == "windows":
        raise click.UsageError("--adapt reads the text as a whole: leave out --protocol windows")
    if valid and not (other or adapt):
        raise click.UsageError("--valid is the text to fit --with or --adapt to: give one of these, or leave --valid out")
    if together(processes, (*files, valid or ""))():
        options["plot"] = None  # of process 0
    loaded = load(model, precision, mixture)
    kind = loaded.lm.kind
    refuse_useless(kind, commands.EVAL, {**options, "mixture": mixture})
    if kind in MEASURES:
        MEASURES[kind](loaded, files, options)
        return
    reading = {name: options[name] for name in ("batch", "window") if options[name]}
    judge = loaded.judge(other, precision, cold=options["protocol"] == "windows", **reading)
    encoded = {name: options[name] for name in ("encoding", "errors", "field")}
    weight = adaptation = None
    if other or adapt:
        fitted_to = loaded.source(valid, field=options["field"]).ids if valid else judge.origin.validation()
        if other:
            weight = judge.weight(fitted_to)
        else:
            from lmgen.evaluation.adaptive import reading as adaptive

            adaptation = adaptive.adaptation(loaded.lm, adapt, fitted_to)
    sources = loaded.sources(*files, **encoded, note=terminal.note) if files else [judge.held_out()]
    for number, source in enumerate(sources):
        card = judge.card(source, options["baselines"], weight)
        if adaptation:
            card = replace(card, adapted=adaptation.measure(source.ids))
        if options["json"]:
            console.put_json(card.as_dict())
        elif options["markdown"]:
            _put_markdown(card, head=number == 0)
        else:
            _put_card(card, loaded.lm)


def _put_card(card: Any, lm: Any) -> None:
    from lmgen.data import corpus

    terminal.put(card.name)
    noun = corpus.unit_noun(lm.vocab)
    if hasattr(card.measures, "pseudo_nats"):
        console.table(_pseudo_rows(card.measures, lm, noun))
        return
    console.table([*_rows(card.measures, lm, noun), *_further_rows(card, lm)])
    if card.adapted:
        terminal.put("")
        console.table(_adapted_rows(card.adapted))
    beside = [card.alone, *card.baselines] if card.alone else card.baselines
    if beside:
        ours = "this model" if card.weight is None else "the mixture"
        rows = [(ours, card.measures.nats_per_symbol, card.measures.spelt_bits_per_byte)]
        rows += [(b.name, b.nats_per_symbol, b.bits_per_byte) for b in beside]
        cells = [(name, _decimals(nats), _decimals(bits)) for name, nats, bits in rows]
        terminal.put("")
        console.table(cells, head=("", "nats per symbol", "bits per byte"), numbers=(1, 2))


def _decimals(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _further_rows(card: Any, lm: Any) -> list[tuple[str, str]]:
    rows = []
    if card.weight is not None:
        rows.append(("  mixture", f"{card.weight:.4f} of the first model"))
    if card.overlap:
        rows.append(("  overlap", card.overlap.sentence.format(f"{lm.sequence}s")))
    if card.lack:
        rows.append(("  no baselines", card.lack))
    if card.measures.interval is None:
        rows.append(("  95 % interval", "none: the text is too short"))
    return rows


WAYS = {"cache": "a neural cache", "dynamic": "dynamic evaluation", "both": "dynamic evaluation and a neural cache"}
SETTINGS = {"rate": "rate", "decay": "decay", "window": "window", "theta": "θ", "weight": "the network's share"}


def _adapted_rows(adapted: Any) -> list[tuple[str, str]]:
    """The measures with adaptation, which no row of the plain ones contains."""
    m = adapted.measures
    interval = f" [{m.interval[0]:.4f}, {m.interval[1]:.4f}]" if m.interval else ""
    settings = ", ".join(f"{SETTINGS[name]} {value:.3g}" for name, value in adapted.settings.items())
    return [
        ("  adapted", f"while it read, by {WAYS[adapted.how]}; {settings}"),
        ("  … nats per symbol", f"{m.nats_per_symbol:.4f}{interval}"),
        ("  … perplexity", f"{display.perplexity(m.perplexity)} per symbol"),
        ("  … bits per character", _decimals(m.bits_per_character)),
        ("  … bits per byte", _decimals(m.bits_per_byte)),
        *_spelt(m),
    ]


def _pseudo_rows(m: Any, lm: Any, noun: str) -> list[tuple[str, str]]:
    ends = f"and an EOS for every {lm.sequence}" if m.carry else f"each given all others of its {lm.sequence}"
    nats = f"{m.pseudo_nats_per_symbol:.4f}   ({m.pseudo_nats:,.1f} pseudo-nats, {m.symbols:,} symbols)"
    return [
        ("  pseudo-nats per symbol", nats),
        ("  pseudo-perplexity", f"{display.perplexity(m.pseudo_perplexity)} per symbol   ({noun}s, {ends})"),
        _unknown(m, "pseudo-perplexity", m.pseudo_perplexity_known),
        _state(m, lm),
    ]


def _rows(m: Any, lm: Any, noun: str) -> list[tuple[str, str]]:
    from lmgen.data.vocab import UNITS

    bound = ", lower bound: excludes unknown or dropped text" if m.unknown or m.unit == "word-only" else ""
    interval = f" [{m.interval[0]:.4f}, {m.interval[1]:.4f}]" if m.interval else ""

    def bits(value: float | None, count: int, of: str) -> str:
        return "–" if value is None else f"{value:.4f}   ({count:,} {of}{bound})"

    rows = [
        ("  nats per symbol", f"{m.nats_per_symbol:.4f}{interval}   ({m.nats:,.1f} nats, {m.symbols:,} symbols)"),
        ("  perplexity", f"{display.perplexity(m.perplexity)} per symbol   ({noun}s, and an EOS for every {lm.sequence})"),
        ("  bits per character", bits(m.bits_per_character, m.characters, "characters with line ends")),
        ("  bits per byte", bits(m.bits_per_byte, m.bytes, "bytes")),
        *_spelt(m),
    ]
    if m.unit != "char" and m.characters:
        rows.append(("  character perplexity", display.perplexity(m.character_perplexity)))
    if m.words and m.word_perplexity <= display.LARGEST and not UNITS[m.unit].language:
        rows.append(("  word perplexity", f"{display.perplexity(m.word_perplexity, 1)}   ({m.words:,} words)"))
    if m.bytes:
        rows.append(("  byte perplexity", display.perplexity(m.byte_perplexity)))
    return [*rows, _unknown(m, "perplexity", m.perplexity_known), _state(m, lm)]


def _spelt(m: Any) -> list[tuple[str, str]]:
    """A row with the bits per byte of all of the text, where some of it is unknown."""
    if not (m.unknown and m.bytes):
        return []
    return [("  … with spelling", f"{m.spelt_bits_per_byte:.4f}   (unknown text costs its bytes)")]


def _unknown(m: Any, measure: str, without: float | None) -> tuple[str, str]:
    known = f"; {measure} without them {display.perplexity(without)}" if m.unknown and without else ""
    return "  unknown", f"{m.unknown:,} symbols ({m.unknown / max(1, m.symbols):.2%}){known}"


def _state(m: Any, lm: Any) -> tuple[str, str]:
    if getattr(m, "window", None):
        return "  state", f"windows of {m.window:,} symbols, each from an empty state"
    return "  state", f"carried from one {lm.sequence} to the next" if m.carry else f"each {lm.sequence} on its own"


MARKDOWN = (
    *("symbols", "unknown", "nats_per_symbol", "perplexity", "pseudo_nats_per_symbol", "pseudo_perplexity"),
    *("bits_per_character", "bits_per_byte", "spelt_bits_per_byte"),
)


def _put_markdown(card: Any, head: bool) -> None:
    """The row of a text, with the head of the table if it is the first."""
    measures = card.measures.as_dict()
    names = [name for name in MARKDOWN if name in measures]
    if head:
        titles = [name.replace("_", " ") for name in (*names, *(b.name for b in card.baselines))]
        terminal.put("| text | " + " | ".join(titles) + " |")
        terminal.put("|---" * (len(titles) + 1) + "|")
    values = [*(measures[name] for name in names), *(b.bits_per_byte for b in card.baselines)]
    cells = [f"{value:,}" if isinstance(value, int) else _decimals(value) for value in values]
    terminal.put(f"| {card.name.replace('|', chr(92) + '|')} | " + " | ".join(cells) + " |")
