"""Labels on corpora that others use: trains with no option but --budget and writes benchmarks/RESULTS.md.

    python benchmarks/labels.py [snips|trec|sst|ud|writing|transfer]

Each figure is the mean over three seeds, or over as many as LMGEN_SEEDS in the environment says, with the lowest and the highest.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path

from report import DATA, Commands, Sections, main, table

WRITTEN = 3  # names written for each that is held out
SEEDS = range(int(os.environ.get("LMGEN_SEEDS", "3")))
GLOVE = "--vectors DATA/glove/glove.6B.50d.head.txt"


def spread(values: Iterable[float]) -> str:
    """The mean, with the lowest and the highest."""
    some = [100 * value for value in values]
    return f"{sum(some) / len(some):.1f}" + (f" ({min(some):.1f} … {max(some):.1f})" if len(some) > 1 else "")


def evaluated(run: Commands, train: str, test: str) -> list[dict]:
    """The measures of a test text by the models of all seeds."""
    found = []
    for seed in SEEDS:
        run(f"train {' '.join(train.split())} --seed {seed} --quiet --output model --force")
        found.append(json.loads(run(f"eval model {test} --json")))
    return found


def seeds() -> str:
    """How many trainings a figure is the mean of."""
    many = f"{len(SEEDS)} seeds: the mean, the lowest and the highest"
    return f"Each figure is of {'one seed' if len(SEEDS) == 1 else many}."


def baselines(measures: dict, of: str) -> str:
    """The rules beside the model."""
    return ", ".join(f"{rule['name']} {100 * rule['value']:.1f}" for rule in measures[of]["baselines"])


def snips(run: Commands) -> Iterator[str]:
    found = evaluated(run, "DATA/snips/train --valid DATA/snips/valid --budget 5m", "DATA/snips/test")
    yield seeds()
    yield table(
        ("snips, 5 minutes, one model for both, nothing pretrained", "reached", "aim", "rules on the same text"),
        ("slots, F1", spread(one["entity_f1"] for one in found), "90", baselines(found[0], "tags")),
        ("intent, accuracy", spread(one["labels"]["accuracy"] for one in found), "97.5", baselines(found[0], "labels")),
        ("calibration error of intents", spread(one["labels"]["calibration_error"] for one in found), "", ""),
    )


def trec(run: Commands) -> Iterator[str]:
    rows = [("trec, 6 classes, a minute", "accuracy", "aim", "rules on the same text")]
    for name, options, aim in (("no option", "", "88.5"), ("with GloVe", GLOVE, "90.5")):
        found = evaluated(run, f"DATA/trec/train.tsv --budget 1m {options}", "DATA/trec/test.tsv")
        rows.append((name, spread(one["accuracy"] for one in found), aim, baselines(found[0], "labels")))
    yield seeds()
    yield table(*rows)


def nodes(tree: str) -> Iterator[tuple[str, str]]:
    """The label and the words of every node of a tree in brackets, the root first."""
    found: list[tuple[int, str, list[str]]] = []
    open_nodes: list[int] = []
    for bracket, word in re.findall(r"\((\d+)|([^\s()]+|\))", tree):
        if bracket:
            open_nodes.append(len(found))
            found.append((len(found), bracket, []))
        elif word == ")":
            open_nodes.pop()
        else:
            for k in open_nodes:
                found[k][2].append(word)
    return ((label, " ".join(words)) for _, label, words in found)


def sentiments(part: str, binary: bool, phrases: bool) -> str:
    """Lines `label TAB text` of the Stanford Sentiment Treebank; `binary` leaves out the neutral ones."""
    lines: dict[str, None] = {}
    for tree in (DATA / "sst-trees" / f"{part}.txt").read_text("utf-8").splitlines():
        for k, (label, text) in enumerate(nodes(tree)):
            if (k and not phrases) or (binary and label == "2"):
                continue
            named = ("very negative", "negative", "neutral", "positive", "very positive")[int(label)]
            lines[f"{named.split()[-1] if binary else named}\t{text}"] = None
    return "".join(f"{line}\n" for line in lines)


def sst(run: Commands) -> Iterator[str]:
    rows = [("Stanford Sentiment Treebank, 5 minutes, trained on phrases, roots as sentences", "accuracy", "aim", "rules")]
    for binary, options, name, aim in (
        (True, "", "2 classes", "83.5"),
        (True, GLOVE, "2 classes, with GloVe", "85"),
        (False, "", "5 classes", "43"),
    ):
        for part in ("train", "dev", "test"):
            (run.folder / f"{part}.tsv").write_text(sentiments(part, binary, part == "train"), "utf-8")
        found = evaluated(run, f"train.tsv --valid dev.tsv --budget 5m {options}", "test.tsv")
        rows.append((name, spread(one["accuracy"] for one in found), aim, baselines(found[0], "labels")))
    yield seeds()
    yield table(*rows)


def ud(run: Commands) -> Iterator[str]:
    rows = [("parts of speech of ud-ewt, 2,001 sentences, a minute", "accuracy", "aim", "rules on the same text")]
    for name, options, aim in (
        ("words alone", "--input symbol", "80"),
        ("with their spelling (no option)", "", "89"),
        ("with GloVe, too", GLOVE, "91"),
    ):
        found = evaluated(run, f"DATA/ud-ewt/train.conll --budget 1m {options}", "DATA/ud-ewt/test.conll")
        rows.append((name, spread(one["accuracy"] for one in found), aim, baselines(found[0], "tags")))
    yield seeds()
    yield table(*rows)


def writing(run: Commands) -> Iterator[str]:
    """A classifier trained on nine tenths of the names judges names that a writer makes and names that it has not seen.

    Some languages are harder to recognise than others, so the written names have the mix of languages of those held out.
    """
    names = (run.folder / "names.tsv", run.folder / "train.tsv", run.folder / "test.tsv")
    names[0].write_text(run("corpus write names-by-language"), "utf-8")
    lines = names[0].read_text("utf-8").splitlines(keepends=True)
    names[2].write_text("".join(lines[::10]), "utf-8")
    names[1].write_text("".join(line for k, line in enumerate(lines) if k % 10), "utf-8")
    languages = Counter(line.partition("\t")[0] for line in lines[::10])
    rows = [
        ("seed", "real held-out names recognised", "written names recognised", "ratio (aim 0.9)", "written names that are new")
    ]
    for seed in SEEDS:
        run(f"train train.tsv --budget 2m --seed {seed} --quiet --output judge --force")
        run(f"train train.tsv --task generate --budget 2m --seed {seed} --quiet --output writer --force")
        real = json.loads(run("eval judge test.tsv --no-baselines --json"))["accuracy"]
        new, written = [], []
        for language, many in sorted(languages.items()):
            sampled = run(f"sample writer --label {language} -n {WRITTEN * many} --seed {seed} --json")
            drawn = [json.loads(line) for line in sampled.splitlines()]
            new += [not one["known"] for one in drawn]
            written += [f"{language}\t{one['text']}\n" for one in drawn if one["text"].strip()]
        (run.folder / "written.tsv").write_text("".join(written), "utf-8")
        judged = json.loads(run("eval judge written.tsv --no-baselines --json"))["accuracy"]
        rows.append((str(seed), f"{real:.1%}", f"{judged:.1%}", f"{judged / real:.2f}", f"{sum(new) / len(new):.0%}"))
    run.done = [one for one in run.done if not re.search(r"--seed [1-9]|--label (?!Irish)", one)]  # of one seed, of one label
    yield (
        f"For each of the {len(languages)} labels {WRITTEN} times as many names are written as are held out"
        f" ({languages.total()} in all), so that both have the same mix of languages."
    )
    yield table(*rows)


def transfer(run: Commands) -> Iterator[str]:
    """A tagger on a tenth of snips, with and without a language model of all its text."""
    source = DATA / "snips" / "train"
    for name in ("seq.in", "seq.out", "label"):
        lines = (source / name).read_text("utf-8").splitlines(keepends=True)
        Path(run.folder, "tenth").mkdir(exist_ok=True)
        (run.folder / "tenth" / name).write_text("".join(lines[::10]), "utf-8")
    (run.folder / "plain.txt").write_text((source / "seq.in").read_text("utf-8"), "utf-8")
    run("train plain.txt --unit word --budget 2m --quiet --output plain")
    rows = [("a tenth of snips, 2 minutes", "slots, F1", "intent, accuracy")]
    means = []
    for name, options in (("from nothing", ""), ("from a language model of the unlabelled text", "--from plain")):
        found = evaluated(run, f"tenth --task tag --budget 2m {options}", "DATA/snips/test")
        means.append(sum(one["entity_f1"] for one in found) / len(found))
        rows.append((name, spread(one["entity_f1"] for one in found), ""))
    yield seeds()
    yield table(*(row[:2] for row in rows))
    yield "".join(f"Difference: {100 * (after - before):+.1f} (aim +2)." for before, after in pairwise(means))


SECTIONS: Sections = {
    "snips": ("Slots and intents: snips", snips),
    "trec": ("Questions: trec", trec),
    "sst": ("Sentiment: Stanford Sentiment Treebank", sst),
    "ud": ("Parts of speech: ud-ewt", ud),
    "writing": ("Names by language, written by label", writing),
    "transfer": ("Transfer: a tagger from a language model", transfer),
}


if __name__ == "__main__":
    main(SECTIONS, prefix="labels-")
