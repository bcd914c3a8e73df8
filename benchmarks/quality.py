"""The quality of models with lmgen's defaults: trains, measures, and writes benchmarks/RESULTS.md.

    python benchmarks/quality.py [SECTION ...]

Needs the corpora for measuring beside the project (../shared/data, or the folder named by LMGEN_DATA). Replaces the named
sections of RESULTS.md, or all.
"""

from __future__ import annotations

import json
import random
import statistics
from collections.abc import Iterator

from report import DATA, Commands, Sections, main, quietly, quoted, table

from lmgen.nn.precision import kernels

NAMES = "train DATA/names/train.txt --valid DATA/names/valid.txt"
SHAKESPEARE = "train DATA/tinyshakespeare/train.txt --valid DATA/tinyshakespeare/valid.txt --carry"
SEEDS = (0, 1, 2)


def trained(run: Commands, command: str, name: str) -> str:
    """Train a model; a sentence on it and on the time that it took."""
    run(f"{command} --output {name} --quiet")
    took = run.seconds
    return f"{run.shape(name)}; the whole training command took {took:.0f} s."


def names(run: Commands) -> Iterator[str]:
    yield trained(run, f"{NAMES} --budget 60s", "names")
    test, valid = (run.measures("names", f"DATA/names/{side}.txt") for side in ("test", "valid"))
    yield table(
        ("text", "nats per symbol", "target", "bits per byte"),
        ("test", f"**{test['nats_per_symbol']:.4f}**", "2.03", f"{test['bits_per_byte']:.4f}"),
        ("valid", f"{valid['nats_per_symbol']:.4f}", "", f"{valid['bits_per_byte']:.4f}"),
    )


def tinyshakespeare(run: Commands) -> Iterator[str]:
    yield trained(run, f"{SHAKESPEARE} --budget 120s", "shakespeare")
    valid = run.measures("shakespeare", "DATA/tinyshakespeare/valid.txt")
    nats, bits = f"**{valid['nats_per_symbol']:.4f}**", f"{valid['bits_per_byte']:.4f}"
    yield table(
        ("text", "nats per symbol", "target", "bits per byte", "symbols"),
        ("valid, whole, state carried", nats, "1.65", bits, f"{valid['symbols']:,}"),
    )
    yield quoted(run("sample shakespeare --lines 8 --temperature 0.8 --seed 0"))


def minute(run: Commands) -> Iterator[str]:
    yield trained(run, f"{SHAKESPEARE} --budget 60s", "minute")
    whole = run.measures("minute", "DATA/tinyshakespeare/valid.txt")["nats_per_symbol"]
    windows = "--protocol windows --window 256 --no-baselines --json"
    cold = json.loads(run(f"eval minute DATA/tinyshakespeare/valid.txt {windows}"))["nats_per_symbol"]
    yield table(
        ("valid, nats per character", "", "target", "aim"),
        ("whole text, state carried", f"**{whole:.4f}**", "1.48", "1.42"),
        ("windows of 256, each from an empty state", f"**{cold:.4f}**", "1.50", "1.469"),
    )


WAYS = {  # how a run is computed: the precision and the environment
    "kernels, f32": ("f32", {}),
    "kernels, bf16": ("bf16", {}),
    "pure JAX, f32": ("f32", {"LMGEN_NATIVE": "off"}),
    "pure JAX, bf16": ("bf16", {"LMGEN_NATIVE": "off"}),
}


def precision(run: Commands) -> Iterator[str]:
    texts = {"names": f"{NAMES} --steps 1200", "tinyshakespeare": f"{SHAKESPEARE} --size 192 --steps 1500"}
    rows = [("text", *(f"{way}: valid nats (against the first)" for way in WAYS))]
    for text, command in texts.items():
        means = []
        for number, (kind, environment) in enumerate(WAYS.values()):
            found = []
            for seed in SEEDS:
                name = f"{text}{number}{seed}"
                run(f"{command} --precision {kind} --seed {seed} --output {name} --quiet", **environment)
                found.append(json.loads(quietly(run, f"show {name} --json"))["valid_nats"])
            means.append(statistics.mean(found))
        rows.append((text, *(f"{nats:.4f} ({nats / means[0] - 1:+.2%})" for nats in means)))
    yield f"Means of {len(SEEDS)} seeds; kernels here: {kernels()}. Target: within half a per cent of each other."
    yield table(*rows)


def tang(run: Commands) -> Iterator[str]:
    run("train DATA/tang-poems/all.txt --carry --budget 180s --output tang --quiet")
    held_out = json.loads(run("eval tang --json"))
    yield f"{run.shape('tang')}; perplexity of the held-out tenth {held_out['perplexity']:.1f} per character."
    yield quoted(run("sample tang --lines 4 --count 3 --temperature 0.8 --seed 0"))


def deep(run: Commands) -> Iterator[str]:
    rows = [("cell", "additions", "steps", "nats per symbol on test", "steps without a finite gradient")]
    for cell in ("lstm", "gru"):
        for around, options in (("residual, layer norm", ""), ("none", " --no-residual --no-layer-norm")):
            name = f"{cell}{len(rows)}"
            run(f"{NAMES} --cell {cell} --layers 6 --size 96{options} --budget 90s --output {name} --quiet")
            last = json.loads((run.folder / name / "metrics.jsonl").read_text().splitlines()[-1])
            test = run.measures(name, "DATA/names/test.txt")
            rows.append((cell, around, f"{last['step']:,}", f"{test['nats_per_symbol']:.4f}", f"{last['skipped']}"))
    yield "Stacks of three or more layers have residual connections and layer normalisation by default."
    yield table(*rows)


def blanks(run: Commands) -> Iterator[str]:
    run(f"{NAMES} --direction both --budget 60s --output names --quiet")
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
        "of the test part one random letter was blanked (holes.txt)."
    )
    yield table(
        ("the blanked letter is", "share", "target"),
        ("the most probable filling", f"{shares[0]:.1%}", ""),
        ("among the first two", f"{shares[1]:.1%}", ""),
        ("among the first three", f"**{shares[2]:.1%}**", "50%"),
    )


SECTIONS: Sections = {
    "names": ("Names in a minute, no options", names),
    "tinyshakespeare": ("tinyshakespeare in two minutes", tinyshakespeare),
    "minute": ("tinyshakespeare in a minute", minute),
    "precision": ("Whole trainings at both precisions, with kernels and without", precision),
    "deep": ("Six layers on names", deep),
    "blanks": ("Letters of names, blanked and filled", blanks),
    "tang-poems": ("Tang poems, four lines each", tang),
}


if __name__ == "__main__":
    main(SECTIONS)
