"""Make the sentences of docs/labels.md, train small networks on them, and write the figures of that page.

    python benchmarks/labels_course.py [PART ...]

A part of the page lies between `<!-- figures: its name -->` and `<!-- end of figures: its name -->`. All random numbers are
seeded.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from report import ROOT, quoted, renew, table

import lmgen
from lmgen.nn.cells import CELLS

PAGE = ROOT / "docs" / "labels.md"
TRAINED, TESTED, SEEDS = 400, 250, (0, 1, 2)  # pairs of twins; networks of each kind
SMALL = {
    "size": 32,
    "embedding": 16,
    "batch": 16,
    "window": 32,
    "steps": 400,
    "learning_rate": 0.01,
    "weight_decay": 0.0,
    "dropout": 0.0,
    "precision": "f32",
    "no_valid": True,
}

Sentence = list[tuple[str, str]]  # words and their tags
Pair = tuple[Sentence, Sentence]  # a sentence and its twin, in which the verbs are exchanged

# ---- sentences ---------------------------------------------------------------------------------------------------------

SLOTS = {"arrive": "B-destination", "leave": "B-departure"}
EVENTS = {"arrive": "arrival", "leave": "departure"}
CITIES = [
    *("Berlin", "Bogota", "Boston", "Cairo", "Dakar", "Delhi", "Denver", "Hanoi", "Lagos", "Lima"),
    *("Madrid", "Manila", "Nairobi", "Oslo", "Paris", "Quito", "Rome", "Seoul", "Taipei", "Tokyo"),
]
MONTHS = ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November"]
DAYS = ["1st", "2nd", "3rd", *(f"{day}th" for day in range(4, 21)), "21st", "22nd", "23rd"]
TAIL = [
    "please",
    "tell",
    "me",
    "the",
    "price",
    "of",
    "a",
    "ticket",
    "with",
    "one",
    "seat",
    "by",
    "my",
    "window",
    "and",
    "some",
    "tea",
]

# {verb} and {other} are one of the verbs and the other; a city belongs to the verb beside it.
BEFORE = (
    "{verb} {city} on {date}",
    "we {verb} {city} on {date}",
    "I would like to {verb} {city} on {date}",
    "on {date} we want to {verb} the town of {city}",
    "{verb} {city} on {date} and {other} {city} on {date}",
)
BEHIND = ("{city} is where we {verb} on {date}", "on {date} {city} is where I {verb}")
CORRECTED = ("{other} {city} no {verb} {city}", "we {other} {city} on {date} no we {verb} {city}")


def pairs(templates: tuple[str, ...], seed: int, tail: int = 0) -> Iterator[Pair]:
    """Different sentences of some templates, with a tail of random words, each with its twin."""
    draw, seen = random.Random(seed), set()
    while True:
        words = draw.choice(templates).split()
        ends = draw.choices(TAIL, k=tail)
        filled = [draw.choice(CITIES) if word == "{city}" else word for word in words]
        filled = [part for word in filled for part in ([draw.choice(MONTHS), draw.choice(DAYS)] if word == "{date}" else [word])]
        if (*filled, *ends) not in seen:
            seen.add((*filled, *ends))
            yield tuple(tagged([*filled, *ends], *verbs) for verbs in (("arrive", "leave"), ("leave", "arrive")))


def tagged(words: list[str], verb: str, other: str) -> Sentence:
    """A sentence with these verbs, in which each city has the slot of the verb before it, or else of the first one."""
    words = [{"{verb}": verb, "{other}": other}.get(word, word) for word in words]
    verbs = [word for word in words if word in SLOTS]
    tags, latest = [], verbs[0]
    for word in words:
        latest = word if word in SLOTS else latest
        tags.append(SLOTS[latest] if word in CITIES else "O")
    return list(zip(words, tags, strict=True))


def split(templates: tuple[str, ...], tail: int = 0) -> tuple[list[Sentence], list[Sentence]]:
    """The sentences to train on and to test with, which have none in common."""
    both = list(islice(pairs(templates, 0, tail), TRAINED + TESTED))
    return [one for pair in both[:TRAINED] for one in pair], [one for pair in both[TRAINED:] for one in pair]


def alone(sentences: list[Sentence]) -> list[Sentence]:
    """Each word as a sentence of its own."""
    return [[word] for sentence in sentences for word in sentence]


def columns(sentences: Iterable[Sentence]) -> str:
    """The file of a tagger: a word and its tag a line, an empty line after each sentence."""
    return "".join("".join(f"{word}\t{tag}\n" for word, tag in sentence) + "\n" for sentence in sentences)


def labelled(sentences: Iterable[Sentence]) -> str:
    """The file of a classifier: the event of the last verb, a TAB and the sentence a line."""
    found = ([word for word, _ in sentence] for sentence in sentences)
    return "".join(f"{EVENTS[[word for word in words if word in EVENTS][-1]]}\t{' '.join(words)}\n" for words in found)


# ---- measuring ---------------------------------------------------------------------------------------------------------


def measured(train: str, tests: list[str], **options: Any) -> list[list[Any]]:
    """What `model.evaluate` says of each test text: for each, a list with the measures of one network a seed."""
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, f"{k}.txt") for k in range(1 + len(tests))]
        for file, content in zip(files, [train, *tests], strict=True):
            file.write_text(content, "utf-8")
        found = []
        for seed in SEEDS:
            model = lmgen.train(files[0], output=Path(folder, f"model-{seed}"), seed=seed, **SMALL, **options)
            found.append([model.evaluate(file) for file in files[1:]])
    return [list(of_one) for of_one in zip(*found, strict=True)]


def percent(shares: list[float]) -> str:
    """The mean of some shares, with the range where they differ."""
    mean, least, most = (f"{100 * share:.0f}" for share in (sum(shares) / len(shares), min(shares), max(shares)))
    return f"{mean} %" if least == most else f"{mean} % ({least}–{most})"


def note(sentences: list[Sentence]) -> str:
    """How the figures of a part were made."""
    return (
        f"The mean over {len(SEEDS)} seeds, with the range if they differ, on {2 * TESTED:,} new sentences. Every network has "
        f"{SMALL['size']} units and was trained on {len(sentences):,} sentences for {SMALL['steps']:,} steps."
    )


# ---- the parts of the page ---------------------------------------------------------------------------------------------


def sentences() -> str:
    shown = [next(pairs((template,), seed)) for seed, template in enumerate(BEFORE)]
    return quoted("\n".join(" ".join(word for word, _ in sentence) for pair in shown for sentence in pair))


def memory() -> str:
    train, test = split(BEFORE)
    trials = {"`elman`, each word alone": ("elman", alone(train), alone(test))}
    trials |= {f"`{cell}`": (cell, train, test) for cell in CELLS}
    rows = [("cell", "F1 of the slots", "accuracy of the words")]
    for name, (cell, read, tested) in trials.items():
        (found,) = measured(columns(read), [columns(tested)], task="tag", cell=cell, direction="forward")
        rows.append((name, percent([one.entity_f1 for one in found]), percent([one.accuracy for one in found])))
        print(*rows[-1], sep="\t", flush=True)
    return f"{table(*rows)}\n\n{note(train)}"


def directions() -> str:
    (train, before), (other, behind) = split(BEFORE), split(BEHIND)
    rows = [("direction", "verb before the city", "verb behind the city")]
    for direction in ("forward", "both"):
        tests = [columns(before), columns(behind)]
        found = measured(columns(train + other), tests, task="tag", cell="lstm", direction=direction)
        rows.append((f"`{direction}`", *(percent([one.entity_f1 for one in of_one]) for of_one in found)))
        print(*rows[-1], sep="\t", flush=True)
    return f"{table(*rows)}\n\nF1 of the slots. {note(train + other)} The cell is `lstm`."


TAILS = (0, 5, 10, 100)


def pooling() -> str:
    trials = {f"{tail} words follow" if tail else "nothing follows": split(BEFORE[:3], tail) for tail in TAILS}
    trials["corrected"] = split(CORRECTED)
    rows = [("cell", "pool", *trials)]
    for cell in ("elman", "lstm"):
        for pool in ("last", "mean", "both"):
            shares = []
            for train, test in trials.values():
                (found,) = measured(labelled(train), [labelled(test)], task="classify", cell=cell, direction="forward", pool=pool)
                shares.append(percent([one.accuracy for one in found]))
            rows.append((f"`{cell}`", pool, *shares))
            print(*rows[-1], sep="\t", flush=True)
    return f"{table(*rows)}\n\nAccuracy; chance is 50 %. {note(trials['corrected'][0])}"


PARTS = (sentences, memory, directions, pooling)

if __name__ == "__main__":
    renew(PAGE, PARTS)
