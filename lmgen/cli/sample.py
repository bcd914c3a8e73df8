"""The commands that write and score text: sample, top, verify, fill, score; and serve, by which other programs do."""

from __future__ import annotations

import math
import random
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lmgen.cli import console, novelty
from lmgen.cli.options import command, load, note_nothing, note_unknown, output_file
from lmgen.errors import InputError, LmgenError
from lmgen.options import commands
from lmgen.system import terminal

if TYPE_CHECKING:
    from lmgen.api import Model

FIELDS = ("text", "nats", "symbols", "ended", "known")  # of a sample as JSON


@command("lmgen sample cities -n 20 --novel", "lmgen sample cities --prompt San --temperature 0.8", options=commands.SAMPLE)
@click.argument("model", required=False)
def sample(model: str | None, precision: str, **options: Any) -> None:
    """Write new text.

    MODEL is a directory or a name in checkpoints/; the newest there if you omit it. A sample ends at EOS. On a terminal, samples
    that are in the corpus are marked. Each call draws other samples and prints the --seed that repeats them on stderr.
    """
    from lmgen.evaluation import novelty as novelties
    from lmgen.generation import receipts

    loaded = load(model, precision, options["mixture"])
    models = [loaded.lm]
    loaded = loaded.by(options["label"]) if options["label"] is not None else loaded
    if options["with"]:
        other = load(options["with"][0], precision, options["mixture"])
        models.append(other.lm)
        loaded = loaded.mixed(other, options["with"][1])
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
        from lmgen.data import finding

        text = loaded.trained_on
        controls = [options["control"]] if options["control"] else [name for name in text.valid_files if Path(name).exists()]
        how = {"sequence": text.sequence, "keep_blank": loaded.lm.carry, "encoding": text.encoding, "errors": text.errors}
        how |= {"normal": text.normal, "column": text.field_in(finding.find(options["novelty"]))}
        beside = () if text.form else None  # what learnt from plain text writes labels as any other text
        reference = novelty.open_reference(options["novelty"], controls, how, options["exact"], beside)
    elif options["control"]:
        raise click.UsageError("--control is compared with the corpus of --novelty: give both, or neither")
    anew = drawing["seed"] is None
    drawing["seed"] = seed = random.SystemRandom().randrange(1 << 31) if anew else drawing["seed"]
    if options["match_surprise"]:
        drawing["temperature"] = _matched(loaded, drawing)
    hashes: list[str] = []
    for one in loaded.samples(**drawing):
        found += 1
        hashes += [receipts.hashed(one.text)] if options["receipt"] else []
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
    if options["receipt"]:
        parts = {} if options["mixture"] else {"mixture": False}
        label = {} if options["label"] is None else {"label": options["label"]}
        weight = {"with_weight": options["with"][1]} if options["with"] else {}
        with output_file(options["receipt"], text=True) as file:
            file.write(receipts.receipt(models, precision, {**parts, **label, **weight, **drawing}, hashes))
    if reference and looked_up:
        novelty.put_report(looked_up, reference, ngram, json)


def _matched(loaded: Any, drawing: dict[str, Any]) -> float:
    """The temperature of --match-surprise, which is printed."""
    if drawing["temperature"] != 1:
        raise click.UsageError("--match-surprise chooses the temperature: leave out --temperature")
    found = loaded.match_surprise(**{n: v for n, v in drawing.items() if n not in ("temperature", "count", "novel", "distinct")})
    terminal.note(
        f"temperature {found.temperature}: samples have {found.samples:.3f} nats per symbol, held-out text {found.held_out:.3f}"
    )
    return found.temperature


@command("lmgen top cities 20", "lmgen top cities 5 --ends-with a", options=commands.TOP)
@click.argument("model")
@click.argument("number", type=click.IntRange(1, 10_000), default=10)
def top(model: str, number: int, label: str | None, precision: str, mixture: bool, json: bool, **options: Any) -> None:
    """Print the likeliest texts.

    Prints the NUMBER likeliest whole sequences of MODEL, with their probabilities, in their exact order, and on stderr how likely
    any other can be at most.
    """
    loaded = load(model, precision, mixture)
    loaded = loaded.by(label) if label is not None else loaded
    note_unknown(loaded.lm.vocab.unknown(options["prompt"]))
    ranking = loaded.top(number, **options)
    for one in ranking.found:
        if json:
            console.put_json({**asdict(one), "probability": math.exp(-one.nats)})
        else:
            terminal.put(f"{math.exp(-one.nats):.3g}\t{one.text or '<EOS>'}")
    if not ranking.whole:
        count = f"{len(ranking.found):,} of {number:,} texts"
        terminal.note(f"found {count} within {ranking.beginnings:,} beginnings: ask for fewer, or give a constraint")
    other = f"no other text has a probability above {math.exp(-ranking.bound):.3g}"
    terminal.note(other if ranking.bound < math.inf else "there is no other text")


@command("lmgen verify receipt.json", "lmgen verify receipt.json checkpoints/cities", options=commands.VERIFY)
@click.argument("receipt", type=click.Path(path_type=Path))
@click.argument("models", nargs=-1, metavar="[MODEL]...")
def verify(receipt: Path, models: tuple[str, ...], json: bool) -> None:
    """Draw the samples of a receipt again.

    RECEIPT is a file that lmgen sample --receipt wrote; MODEL, if the model has moved, where it is now. Prints the samples, or
    says what differs.
    """
    from lmgen.generation import receipts

    content = receipts.read(receipt)
    names = models or [one["path"] for one in content["models"]]
    if len(names) != len(content["models"]):
        raise InputError(f"the receipt is of {len(content['models'])} models: name as many")
    options = dict(content["options"])
    mixture = options.pop("mixture", True)
    loaded, *others = [load(name, content["precision"], mixture) for name in names]
    for one, before in zip((loaded, *others), content["models"], strict=True):
        if (now := receipts.described(one.lm)["sha256"]) != before["sha256"]:
            raise InputError(f"{one.path} is not the model of the receipt (sha256 {before['sha256'][:12]} then, {now[:12]} now)")
    label, weight = options.pop("label", None), options.pop("with_weight", 0.5)
    loaded = loaded.by(label) if label is not None else loaded
    for other in others:
        loaded = loaded.mixed(other, weight)
    drawn = [one.text for one in loaded.samples(**options)]
    if why := receipts.differences(content, [receipts.hashed(text) for text in drawn]):
        raise LmgenError(why)
    for text in drawn:
        if json:
            console.put_json({"text": text})
        else:
            terminal.put(text)
    terminal.note(f"{len(drawn):,} sample{'s are' if len(drawn) != 1 else ' is'} as in the receipt")


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

    loaded = load(model, precision, options["mixture"])
    loaded = loaded.by(options["label"]) if options["label"] is not None else loaded
    one = None
    field = options["field"] or (loaded.trained_on.field_in([Path(file)]) if Path(file).is_file() else None)
    opened = reading.once(file, loaded.lm.sequence, True, encoding, errors, field)
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
    if one is None:
        note_nothing("score", file)
    if blank:
        terminal.note(f"{blank:,} blank line{'s' * (blank > 1)} got 0: lmgen eval skips blank lines")


@command("lmgen serve cities", "lmgen serve cities names --port 8080", options=commands.SERVE)
@click.argument("models", nargs=-1, metavar="[MODEL]...")
def serve(
    models: tuple[str, ...],
    host: str,
    port: int,
    key_file: str | None,
    allow_host: tuple[str, ...] | None,
    allow_origin: tuple[str, ...] | None,
    time_limit: float,
    open: bool,
    precision: str,
    mixture: bool,
    **bounds: int,
) -> None:
    """Serve models over HTTP, as OpenAI's API does.

    MODEL is a directory or a name in checkpoints/; the newest there if you omit it. Answers /v1/completions, /v1/models,
    /tokenize, /detokenize, /predict, /health and /metrics on this computer alone, unless --host says otherwise; at / is a page
    to play with. Ctrl-C ends it after the requests in flight; a second one at once.
    """
    try:
        from lmgen.serving import run
        from lmgen.serving.settings import Settings
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "lmgen":
            raise
        raise InputError(f"lmgen serve needs {error.name}, which is not installed: pip install 'lmgen[serve]'") from None
    key = run.key_of(Path(key_file)) if key_file else None
    names = (host, *(allow_host or ()))
    settings = Settings(key=key, hosts=names, origins=allow_origin or (), seconds=time_limit, **bounds)
    with run.listen(host, port) as listening:
        if not (key or run.is_local(listening)):
            raise InputError(f"others can reach {host}, so the server needs a key: give --key-file, or leave out --host")
        loaded = _loaded(models, precision, mixture)
        address = run.address(listening)

        def ready() -> None:
            terminal.note(f"serving {', '.join(loaded)} at {address} (Ctrl-C ends it)")
            if open:
                click.launch(address)

        run.serve(loaded, listening, settings, ready)


def _loaded(models: tuple[str, ...], precision: str, mixture: bool) -> dict[str, Model]:
    """Models by the names of their directories."""
    found: dict[str, Model] = {}
    for model in models or (None,):
        one = load(model, precision, mixture)
        name = one.path.resolve().name if one.path else str(model)
        if name in found:
            raise InputError(f"two of the models are called {name}: rename one (lmgen rename)")
        found[name] = one
    return found
