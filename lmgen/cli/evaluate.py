"""The command eval: the scorecard of a text, as a table, as JSON, as rows of Markdown."""

from __future__ import annotations

from typing import Any

import click

from lmgen.cli import console
from lmgen.cli.options import ENCODING, ERRORS, JSON, PRECISION, Whole
from lmgen.system import terminal
from lmgen.training import display


@click.command(name="eval")
@click.argument("model")
@click.argument("files", nargs=-1, metavar="[FILE]...")
@click.option("--with", "other", metavar="MODEL", help="Mix in another model, with the weight that suits the held-out text.")
@click.option("--valid", metavar="FILE", help="The text on which the weight of --with is fitted.  [default: the held-out text]")
@click.option(
    "--protocol",
    type=click.Choice(["whole", "windows"]),
    default="whole",
    help="windows: each window starts from an empty state, as in some published figures.",
)
@click.option("--baselines/--no-baselines", default=True, help="Fit n-gram models and file compressors on the training text.")
@click.option("--batch", type=Whole(), help="Columns read side by side; changes the speed, not the result.")
@click.option("--window", type=Whole(), help="Symbols read at a time; changes the result with --protocol windows alone.")
@click.option("--markdown", is_flag=True, help="A row of a Markdown table for each text.")
@ENCODING
@ERRORS
@PRECISION
@JSON
def eval_(
    model: str,
    files: tuple[str, ...],
    other: str | None,
    valid: str | None,
    protocol: str,
    baselines: bool,
    batch: int | None,
    window: int | None,
    markdown: bool,
    encoding: str,
    errors: str,
    precision: str,
    as_json: bool,
) -> None:
    """Measure how well a model predicts a text.

    Prints perplexity, bits per character and bits per byte with a 95 % interval, beside n-gram models and file compressors
    fitted on the same training text; for a model of both directions pseudo-perplexity. Without a FILE the text is measured on
    which the model was validated.
    """
    if other and not (files or valid):
        raise click.UsageError("the weight of --with is fitted on the held-out text, so measure another one: name a FILE")
    if valid and not other:
        raise click.UsageError("--valid says where the weight of --with is fitted: name the other model, or leave it out")
    from lmgen import api
    from lmgen.system import devices

    devices.prepare()
    loaded = api.load(model, precision)
    options: dict[str, Any] = {name: value for name, value in (("batch", batch), ("window", window)) if value}
    judge = loaded.judge(other, precision, cold=protocol == "windows", **options)
    weight = None
    if other:
        weight = judge.weight(loaded.source(valid).ids if valid else judge.origin.validation())
    sources = (loaded.sources(*files, encoding=encoding, errors=errors, note=terminal.note)) if files else [judge.held_out()]
    for number, source in enumerate(sources):
        card = judge.card(source, baselines, weight)
        if as_json:
            console.put_json(card.as_dict())
        elif markdown:
            _put_markdown(card, head=number == 0)
        else:
            _put_card(card, loaded.lm)


def _put_card(card: Any, lm: Any) -> None:
    from lmgen.data import corpus
    from lmgen.evaluation import scores

    m = card.measures
    terminal.put(card.name)
    noun = corpus.unit_noun(lm.vocab)
    if isinstance(m, scores.PseudoMeasures):
        console.table(_pseudo_rows(m, lm, noun))
        return
    console.table([*_rows(m, lm, noun), *_further_rows(card, lm)])
    if card.baselines:
        terminal.put("")
        console.table(_beside(card), head=("", "nats per symbol", "bits per byte"), numbers=(1, 2))


def _beside(card: Any) -> list[tuple[str, str, str]]:
    """The model among the baselines, spelling included."""
    m = card.measures
    rows = [("this model" if card.weight is None else "the mixture", m.nats_per_symbol, m.spelt_bits_per_byte)]
    rows += [(b.name, b.nats_per_symbol, b.bits_per_byte) for b in card.baselines]

    def shown(value: float | None) -> str:
        return "–" if value is None else f"{value:.4f}"

    return [(name, shown(nats), shown(bits)) for name, nats, bits in rows]


def _further_rows(card: Any, lm: Any) -> list[tuple[str, str]]:
    m, rows = card.measures, []
    if card.weight is not None:
        rows.append(("  mixture", f"{card.weight:.4f} of the first model"))
    if card.overlap:
        seen = f"{card.overlap.known:,} of {card.overlap.sequences:,} {lm.sequence}s ({card.overlap.share:.2%})"
        rows.append(("  overlap", f"{seen} stand in the training text"))
    if card.lack:
        rows.append(("  no baselines", card.lack))
    if m.interval is None:
        rows.append(("  95 % interval", "none: the text is too short"))
    return rows


def _pseudo_rows(m: Any, lm: Any, noun: str) -> list[tuple[str, str]]:
    without = (
        f"; pseudo-perplexity without them {display.perplexity(m.pseudo_perplexity_known)}"
        if m.unknown and m.pseudo_perplexity_known
        else ""
    )
    ends = f"and an EOS for every {lm.sequence}" if m.carry else "each given all others of its " + lm.sequence
    return [
        (
            "  pseudo-nats per symbol",
            f"{m.pseudo_nats_per_symbol:.4f}   ({m.pseudo_nats:,.1f} pseudo-nats, {m.symbols:,} symbols)",
        ),
        ("  pseudo-perplexity", f"{display.perplexity(m.pseudo_perplexity)} per symbol   ({noun}s, {ends})"),
        ("  unknown", f"{m.unknown:,} symbols ({m.unknown / max(1, m.symbols):.2%}){without}"),
        ("  state", _state(m, lm)),
    ]


def _state(m: Any, lm: Any) -> str:
    if getattr(m, "window", None):
        return f"windows of {m.window:,} symbols, each from an empty state"
    return f"carried from one {lm.sequence} to the next" if m.carry else f"each {lm.sequence} on its own"


def _rows(m: Any, lm: Any, noun: str) -> list[tuple[str, str]]:
    without = f"; perplexity without them {display.perplexity(m.perplexity_known)}" if m.unknown and m.perplexity_known else ""
    bound = ", at least: what is unknown or dropped is not spelt" if m.unknown or m.unit == "word-only" else ""

    def bits(value: float | None, count: int, what: str) -> str:
        return "–" if value is None else f"{value:.4f}   ({count:,} {what}{bound})"

    return [
        ("  nats per symbol", f"{m.nats_per_symbol:.4f}{_interval(m, 1)}   ({m.nats:,.1f} nats, {m.symbols:,} symbols)"),
        ("  perplexity", f"{display.perplexity(m.perplexity)} per symbol   ({noun}s, and an EOS for every {lm.sequence})"),
        ("  bits per character", bits(m.bits_per_character, m.characters, "characters with line ends")),
        ("  bits per byte", bits(m.bits_per_byte, m.bytes, "bytes")),
        *_spelt(m),
        *_of_words(m),
        ("  unknown", f"{m.unknown:,} symbols ({m.unknown / max(1, m.symbols):.2%}){without}"),
        ("  state", _state(m, lm)),
    ]


def _interval(m: Any, scale: float) -> str:
    return f" [{m.interval[0] * scale:.4f}, {m.interval[1] * scale:.4f}]" if m.interval else ""


def _spelt(m: Any) -> list[tuple[str, str]]:
    if not m.unknown or not m.bytes:
        return []
    return [("  … with spelling", f"{m.spelt_bits_per_byte:.4f}   (what is unknown pays for its bytes)")]


def _of_words(m: Any) -> list[tuple[str, str]]:
    """Perplexity per word, where there are words and it is small enough to mean something; per byte in any case."""
    rows = [("  byte perplexity", display.perplexity(m.byte_perplexity))] if m.bytes else []
    if m.words and m.word_perplexity <= display.LARGEST:
        rows.insert(0, ("  word perplexity", f"{display.perplexity(m.word_perplexity, 1)}   ({m.words:,} words)"))
    return rows


def _put_markdown(card: Any, head: bool) -> None:
    """The row of a text, below the head of the table if it is the first."""
    m = card.measures.as_dict()
    if head:
        names = [name for name in MARKDOWN if name in m]
        names += [b.name for b in card.baselines]
        terminal.put("| text | " + " | ".join(name.replace("_", " ") for name in names) + " |")
        terminal.put("|---" * (len(names) + 1) + "|")
    values = [m[name] for name in MARKDOWN if name in m] + [b.bits_per_byte for b in card.baselines]
    cells = [f"{v:,}" if isinstance(v, int) else "–" if v is None else f"{v:.4f}" for v in values]
    terminal.put(f"| {card.name.replace('|', chr(92) + '|')} | " + " | ".join(cells) + " |")


MARKDOWN = (
    *("symbols", "unknown", "nats_per_symbol", "perplexity", "pseudo_nats_per_symbol", "pseudo_perplexity"),
    *("bits_per_character", "bits_per_byte", "spelt_bits_per_byte"),
)
