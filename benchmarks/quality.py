"""How good the models are that lmgen makes with its defaults: trains, measures, and writes benchmarks/RESULTS.md.

    python benchmarks/quality.py [SECTION ...]

Needs the corpora for measuring beside the project (../shared/data, or the folder that LMGEN_DATA names). Each section of
RESULTS.md is replaced by what its commands gave; a section that is not named stays as it was.
"""

from __future__ import annotations

import json
import random
import statistics
from collections.abc import Iterator

from report import DATA, Commands, Sections, main, quietly, quoted, table

from lmgen.nn.precision import kernels


def names(run: Commands) -> Iterator[str]:
    run("train DATA/names/train.txt --valid DATA/names/valid.txt --budget 60s --output names --quiet")
    took = run.seconds
    test, valid = (run.measures("names", f"DATA/names/{side}.txt") for side in ("test", "valid"))
    yield f"{run.shape('names')}; the training command took {took:.0f} s in all."
    yield table(
        ("text", "nats per symbol", "target", "bits per byte"),
        ("test", f"**{test['nats_per_symbol']:.4f}**", "2.03", f"{test['bits_per_byte']:.4f}"),
        ("valid", f"{valid['nats_per_symbol']:.4f}", "", f"{valid['bits_per_byte']:.4f}"),
    )


def tinyshakespeare(run: Commands) -> Iterator[str]:
    run(
        "train DATA/tinyshakespeare/train.txt --valid DATA/tinyshakespeare/valid.txt --carry --budget 120s "
        "--output shakespeare --quiet"
    )
    took = run.seconds
    valid = run.measures("shakespeare", "DATA/tinyshakespeare/valid.txt")
    yield f"{run.shape('shakespeare')}; the training command took {took:.0f} s in all."
    yield table(
        ("text", "nats per symbol", "target", "bits per byte", "symbols"),
        (
            "valid, whole, state carried",
            f"**{valid['nats_per_symbol']:.4f}**",
            "1.65",
            f"{valid['bits_per_byte']:.4f}",
            f"{valid['symbols']:,}",
        ),
    )
    yield quoted(run("sample shakespeare --lines 8 --temperature 0.8 --seed 0"))


def minute(run: Commands) -> Iterator[str]:
    run(
        "train DATA/tinyshakespeare/train.txt --valid DATA/tinyshakespeare/valid.txt --carry --budget 60s --output minute --quiet"
    )
    took = run.seconds
    whole = run.measures("minute", "DATA/tinyshakespeare/valid.txt")["nats_per_symbol"]
    windows = "--protocol windows --window 256 --no-baselines --json"
    cold = json.loads(run(f"eval minute DATA/tinyshakespeare/valid.txt {windows}"))["nats_per_symbol"]
    yield f"{run.shape('minute')}; the training command took {took:.0f} s in all."
    yield table(
        ("valid, nats per character", "", "target", "aim"),
        ("whole text, state carried", f"**{whole:.4f}**", "1.48", "1.42"),
        ("windows of 256, each from an empty state", f"**{cold:.4f}**", "1.50", "1.469"),
    )


WAYS = {  # how a training is computed: the options and the environment
    "kernels, f32": ("f32", {}),
    "kernels, bf16": ("bf16", {}),
    "pure JAX, f32": ("f32", {"LMGEN_NATIVE": "off"}),
    "pure JAX, bf16": ("bf16", {"LMGEN_NATIVE": "off"}),
}


SEEDS = (0, 1, 2)


def precision(run: Commands) -> Iterator[str]:

    texts = {
        "names": "DATA/names/train.txt --valid DATA/names/valid.txt --steps 1200",
        "tinyshakespeare": "DATA/tinyshakespeare/train.txt --valid DATA/tinyshakespeare/valid.txt --carry --size 192 "
        "--steps 1500",
    }
    rows = [("text", *(f"{way}: valid nats (against the first)" for way in WAYS))]
    for text, words in texts.items():
        means = []
        for number, (kind, environment) in enumerate(WAYS.values()):
            found = []
            for seed in SEEDS:
                name = f"{text}{number}{seed}"
                run(f"train {words} --precision {kind} --seed {seed} --output {name} --quiet", **environment)
                found.append(json.loads(quietly(run, f"show {name} --json"))["valid_nats"])
            means.append(statistics.mean(found))
        rows.append((text, *(f"{nats:.4f} ({nats / means[0] - 1:+.2%})" for nats in means)))
    yield (f"Means of {len(SEEDS)} seeds; kernels here: {kernels()}. They should end within half a per cent of each other.")
    yield table(*rows)


def tang(run: Commands) -> Iterator[str]:
    run("train DATA/tang-poems/all.txt --carry --budget 180s --output tang --quiet")
    held_out = json.loads(run("eval tang --json"))
    yield f"{run.shape('tang')}; perplexity of the held-out tenth {held_out['perplexity']:.1f} per character."
    yield quoted(run("sample tang --lines 4 --count 3 --temperature 0.8 --seed 0"))


def deep(run: Commands) -> Iterator[str]:
    rows = [("cell", "around it", "steps", "nats per symbol on test", "steps without a finite gradient")]
    for cell in ("lstm", "gru"):
        for around, options in (("residual, layer norm", ""), ("nothing", " --no-residual --no-layer-norm")):
            name = f"{cell}{len(rows)}"
            run(
                f"train DATA/names/train.txt --valid DATA/names/valid.txt --cell {cell} --layers 6 --size 96{options} "
                f"--budget 90s --output {name} --quiet"
            )
            last = json.loads((run.folder / name / "metrics.jsonl").read_text().splitlines()[-1])
            test = run.measures(name, "DATA/names/test.txt")
            rows.append((cell, around, f"{last['step']:,}", f"{test['nats_per_symbol']:.4f}", f"{last['skipped']}"))
    yield "Residual connections and layer normalisation are what a stack gets from three layers on without being asked for."
    yield table(*rows)


def blanks(run: Commands) -> Iterator[str]:
    run("train DATA/names/train.txt --valid DATA/names/valid.txt --direction both --budget 60s --output names --quiet")
    test = run.measures("names", "DATA/names/test.txt")
    draw = random.Random(0)
    lines = (DATA / "names" / "test.txt").read_text().split()
    places = [draw.randrange(len(line)) for line in lines]
    holes = run.folder / "holes.txt"
    holes.write_text("".join(f"{line[:k]}_{line[k + 1 :]}\n" for line, k in zip(lines, places, strict=True)))
    found = [json.loads(line) for line in run("fill names --count 3 --json", stdin=holes).splitlines()]
    right = [0, 0, 0]
    for line, group in zip(lines, zip(*[iter(found)] * 3, strict=True), strict=True):
        for rank, filling in enumerate(group):
            right[rank] += filling["text"] == line
    shares = [sum(right[: rank + 1]) / len(lines) for rank in range(3)]
    yield (
        f"{run.shape('names')}. Pseudo-perplexity on test {test['pseudo_perplexity']:.3f}. In each of the {len(lines):,} names "
        "of the test part one letter, drawn at random, was blanked; holes.txt holds them."
    )
    yield table(
        ("the blanked letter is", "share", "target"),
        ("the likeliest filling", f"{shares[0]:.1%}", ""),
        ("among the first two", f"{shares[1]:.1%}", ""),
        ("among the first three", f"**{shares[2]:.1%}**", "50%"),
    )


SECTIONS: Sections = {
    "names": ("Names in a minute, no option given", names),
    "tinyshakespeare": ("tinyshakespeare in two minutes", tinyshakespeare),
    "minute": ("tinyshakespeare in a minute", minute),
    "precision": ("Whole trainings at both precisions, with kernels and without", precision),
    "deep": ("Six layers on names", deep),
    "blanks": ("Letters of names, blanked and filled", blanks),
    "tang-poems": ("Tang poems, four lines each", tang),
}


if __name__ == "__main__":
    main(SECTIONS)
