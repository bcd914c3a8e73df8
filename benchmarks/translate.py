"""Pairs: trains with no option but --budget and writes sections of benchmarks/RESULTS.md.

    python benchmarks/translate.py [tatoeba|reverse|dates|addition]

Each figure is the mean over three seeds, or over as many as LMGEN_SEEDS in the environment says, with the lowest and the highest.
LMGEN_MINUTES shortens the budget of each training. tatoeba needs sacrebleu and PyTorch; LMGEN_TORCH names the Python that has it.
"""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
import unicodedata
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path

from labels import SEEDS, seeds, spread
from report import DATA, Commands, Sections, main, table
from sacrebleu.metrics import BLEU

PLACE = DATA / "tatoeba-fr-en"
TORCH = Path(__file__).with_name("translate_torch.py")


def minutes(usual: float) -> float:
    """The budget of a training."""
    return float(os.environ.get("LMGEN_MINUTES", usual))


def budget(usual: float, seed: int) -> str:
    """The options of a training."""
    return f"--budget {60 * minutes(usual):.0f}s --seed {seed} --quiet --output model --force"


# ---- translation -------------------------------------------------------------------------------------------------------


def simple(text: str) -> str:
    """A text as the tutorial reads it: words of ASCII letters without case and accents, and . ! ? apart."""
    bare = "".join(c for c in unicodedata.normalize("NFD", text.lower()) if unicodedata.category(c) != "Mn")
    return " ".join(re.findall(r"[a-z]+|[.!?]", bare))


def tutorial(run: Commands, seed: int) -> list[str]:
    """The translations of the test text by the model of PyTorch's tutorial, trained for the same minutes."""
    for name in ("train", "test"):
        lines = (PLACE / f"{name}.tsv").read_text("utf-8").splitlines()
        cut = ("\t".join(map(simple, line.split("\t")[:2])) for line in lines)
        (run.folder / f"{name}.words").write_text("".join(f"{line}\n" for line in cut), "utf-8")
    threads = os.environ.get("LMGEN_THREADS", str(os.cpu_count()))
    how = ["train.words", "test.words", f"{minutes(20):g}", str(seed), threads]
    python = os.environ.get("LMGEN_TORCH", sys.executable)
    found = subprocess.run(
        [python, str(TORCH), *how], cwd=run.folder, check=True, stdout=subprocess.PIPE, text=True, encoding="utf-8"
    )
    run.done.append(f"python {TORCH.name} {' '.join(how)}")
    return found.stdout.splitlines()


# How outputs and references are compared: whether without case, and what is done to both before.
COMPARED: dict[str, tuple[bool, Callable[[str], str]]] = {
    "BLEU": (False, str),
    "without case": (True, str),
    "in the tutorial's words": (True, simple),
}


def scored(outputs: list[str], references: list[str]) -> list[float]:
    """The BLEU of outputs, in each way of comparing, as a share."""
    found = []
    for lowercase, prepared in COMPARED.values():
        metric = BLEU(lowercase=lowercase, force=True)
        found.append(metric.corpus_score([*map(prepared, outputs)], [[*map(prepared, references)]]).score / 100)
    return found


def tatoeba(run: Commands) -> Iterator[str]:
    lines = [line.split("\t") for line in (PLACE / "test.tsv").read_text("utf-8").splitlines()]
    references = [line[1] for line in lines]
    outputs: dict[str, list[list[float]]] = {}
    cards: dict[str, list[dict]] = {}
    for seed in SEEDS:
        for options, name in (("", "attention"), (" --no-attention", "no attention")):
            where = "--valid DATA/tatoeba-fr-en/valid.tsv"
            run(f"train DATA/tatoeba-fr-en/train.tsv {where} {budget(20, seed)}{options}")
            cards.setdefault(name, []).append(json.loads(run("eval model DATA/tatoeba-fr-en/test.tsv --json")))
            for decoding, way in (("", "greedy"), (" --beam 5", "beam 5")):
                wrote = run(f"predict model DATA/tatoeba-fr-en/test.tsv --json{decoding}").splitlines()
                texts = [json.loads(line)["text"] for line in wrote]
                outputs.setdefault(f"{name}, {way}", []).append(scored(texts, references))
        outputs.setdefault("PyTorch's tutorial, greedy", []).append(scored(tutorial(run, seed), references))
    first = cards["attention"][0]
    copied = {rule["name"]: rule["bleu"] for rule in first["baselines"]}
    yield f"{seeds()} Every training has {minutes(20):g} minutes. {first['pairs']:,} pairs."
    rows = [(name, *map(spread, zip(*found, strict=True))) for name, found in outputs.items()]
    yield table(("tatoeba-fr-en, test", *COMPARED), *rows, *((name, f"{bleu:.1f}", "", "") for name, bleu in copied.items()))
    yield (
        f"BLEU is that of sacrebleu (`{first['signatures']['bleu']}`). The tutorial's model writes without case, "
        "accents, and marks other than . ! ?, so the last column compares all systems and the references in this spelling."
    )
    yield table(("words and marks of the source", "pairs", *(f"BLEU, {name}" for name in cards)), *by_length(cards))
    means = {name: sum(part[0] for part in found) / len(found) for name, found in outputs.items()}
    gains = {
        "beam over greedy": ("attention, beam 5", "attention, greedy", "above 0"),
        "attention over none": ("attention, greedy", "no attention, greedy", "4"),
    }
    own, theirs = ([part[-1] for part in outputs[name]] for name in ("attention, greedy", "PyTorch's tutorial, greedy"))
    over = f"over the tutorial, in its words {100 * (sum(own) - sum(theirs)) / len(own):+.1f} (aim 3)"
    differences = [f"{gain} {100 * (means[a] - means[b]):+.1f} (aim {aim})" for gain, (a, b, aim) in gains.items()]
    yield f"Differences of means: {'; '.join([*differences, over])}."


def by_length(cards: dict[str, list[dict]]) -> Iterator[tuple[str, ...]]:
    """For each length of the source the BLEU of each model: the rows are the same for all, since the sources are."""
    for k, row in enumerate(next(iter(cards.values()))[0]["by_length"]):
        bleu = (spread(card["by_length"][k]["bleu"] / 100 for card in some) for some in cards.values())
        lengths = "–".join(map(str, dict.fromkeys([row["shortest"], row["longest"]])))
        yield lengths, f"{row['pairs']:,}", *bleu


# ---- made pairs --------------------------------------------------------------------------------------------------------

Drawn = tuple[str, str]
MONTHS = [
    *("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December")
]
FIRST, DAYS = date(1969, 1, 1), 36525  # a hundred years, so that two digits of a year tell which
WRITINGS: tuple[Callable[[date], str], ...] = (
    lambda d: f"{MONTHS[d.month - 1]} {d.day}, {d.year}",
    lambda d: f"{d.day} {MONTHS[d.month - 1]} {d.year}",
    lambda d: f"{MONTHS[d.month - 1][:3]} {d.day}, {d.year}",
    lambda d: f"{d.day} {MONTHS[d.month - 1][:3]} {d.year % 100:02}",
    lambda d: f"{d.day}.{d.month}.{d.year}",
    lambda d: f"{d.day:02}.{d.month:02}.{d.year % 100:02}",
    lambda d: f"{d.month}/{d.day}/{d.year}",
    lambda d: (
        f"the {d.day}{'th' if 10 < d.day < 14 else {1: 'st', 2: 'nd', 3: 'rd'}.get(d.day % 10, 'th')} of "
        f"{MONTHS[d.month - 1]}, {d.year}"
    ),
)


def a_reverse(draw: random.Random) -> Drawn:
    letters = "".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(5, 20)))
    return letters, letters[::-1]


def a_date(draw: random.Random) -> Drawn:
    day = FIRST + timedelta(draw.randrange(DAYS))
    return draw.choice(WRITINGS)(day), day.isoformat()


def an_addition(draw: random.Random) -> Drawn:
    a, b = draw.randrange(1000), draw.randrange(1000)
    return f"{a}+{b}", str(a + b)


def made(of: Callable[[random.Random], Drawn], trained: int) -> Callable[[Commands], Iterator[str]]:
    """What measures pairs that a function draws: training and test have no source in common."""

    def measure(run: Commands) -> Iterator[str]:
        draw, drawn = random.Random(0), dict[str, str]()
        while len(drawn) < trained + 1000:
            source, target = of(draw)
            drawn[source] = target
        lines = [json.dumps({"source": source, "target": target}) + "\n" for source, target in drawn.items()]
        for name, some in (("test", lines[:1000]), ("train", lines[1000:])):
            (run.folder / f"{name}.jsonl").write_text("".join(some), "utf-8")
        cards = []
        for seed in SEEDS:
            run(f"train train.jsonl {budget(3, seed)}")
            cards.append(json.loads(run("eval model test.jsonl --json")))
        rules = ", ".join(f"{rule['name']} {100 * rule['exact']:.1f}" for rule in cards[0]["baselines"])
        yield f"{seeds()} {trained:,} pairs to train on, {minutes(3):g} minutes, 1,000 other sources; the first pairs are:"
        yield "".join(f"    {line}" for line in lines[:8]).rstrip()
        yield table(
            ("pairs", "reached", "aim", "rules"), ("exact match, %", spread(card["exact"] for card in cards), "99", rules)
        )

    return measure


SECTIONS: Sections = {
    "tatoeba": ("Translation: tatoeba-fr-en", tatoeba),
    "reverse": ("Pairs: 5 to 20 letters in reverse", made(a_reverse, 20_000)),
    "dates": ("Pairs: dates to ISO 8601", made(a_date, 20_000)),
    "addition": ("Pairs: addition of three digits", made(an_addition, 50_000)),
}


if __name__ == "__main__":
    main(SECTIONS, prefix="pairs-")
