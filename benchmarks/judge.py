"""Models beside baselines, copies in their samples, and compression as a proof of their bits: writes benchmarks/RESULTS.md.

    python benchmarks/judge.py [SECTION ...]

Needs the corpora for measuring beside the project (../shared/data, or the folder named by LMGEN_DATA), and the extras novelty
and compress. Each model is trained once, for the first section that needs it.
"""

from __future__ import annotations

import gzip
import json
import lzma
import tempfile
import time
from collections.abc import Iterator

from report import DATA, Commands, Sections, main, quoted, table

WORDS = "--unit word --carry --unk-token <unk>"
TRAINED = {  # the training text and options of each model
    "names": "names/train.txt --valid DATA/names/valid.txt --budget 60s",
    "shakespeare": "tinyshakespeare/train.txt --valid DATA/tinyshakespeare/valid.txt --carry --budget 60s",
    "wikitext": f"wikitext-2/train.txt --valid DATA/wikitext-2/valid.txt {WORDS} --budget 300s",
    "wikitext5": f"wikitext-2/train.txt --valid DATA/wikitext-2/valid.txt {WORDS} --cell ngram --order 5",
}


def model(run: Commands, name: str) -> str:
    """Train a model unless it exists, and return its name."""
    command = f"train DATA/{TRAINED[name]} --output {name} --quiet"
    if not (run.folder / name).exists():
        run(command)
    elif (line := f"lmgen {command}") not in run.done:
        run.done.append(line)
    return name


def scorecards(run: Commands) -> Iterator[str]:
    yield (
        "Brackets hold 95 % intervals by a bootstrap. The baselines have the same training text and are scored on the same "
        "bytes; the order of the n-grams was chosen on the validation text. Bits per byte in the lower tables include the "
        "spelling of unknown symbols."
    )
    yield quoted(run(f"eval {model(run, 'names')} DATA/names/test.txt"))
    yield quoted(run(f"eval {model(run, 'shakespeare')} DATA/tinyshakespeare/valid.txt"))
    name = model(run, "wikitext")
    took, memory = run.seconds, run.memory
    yield quoted(run(f"eval {name} DATA/wikitext-2/test.txt"))
    yield (
        f"{run.shape(name)}; the whole training command took {took:.0f} s, and **{memory:.2f} GiB** of memory at its peak "
        "(target: 4 GB)."
    )
    yield "The same, mixed with an n-gram model; the weight was fitted on the validation text:"
    yield quoted(run(f"eval {model(run, 'wikitext')} DATA/wikitext-2/test.txt --with {model(run, 'wikitext5')} --no-baselines"))


def ngrams(run: Commands) -> Iterator[str]:
    run(f"train DATA/{TRAINED['wikitext5']} --output timed --force --quiet")
    took, memory = run.seconds, run.memory
    found = json.loads(run("eval timed DATA/wikitext-2/test.txt --no-baselines --json"))
    import lmgen
    from lmgen.models import scoring

    lm = lmgen.load(run.folder / "timed")
    ids = lm.source(DATA / "wikitext-2" / "test.txt").ids
    begun = time.perf_counter()
    scoring.stream_nats(lm.lm, ids.stream)
    rate = ids.symbols / (time.perf_counter() - begun)
    yield "Modified Kneser-Ney of order 5 on WikiText-2, words; contexts cross line ends."
    yield table(
        ("", "measured", "target"),
        ("training, whole command", f"{took:.1f} s", "60 s"),
        ("memory at its peak", f"{memory:.2f} GiB", "2 GB"),
        ("scoring", f"{rate:,.0f} words a second", "100,000"),
        ("perplexity on test", f"{found['perplexity']:.1f}", ""),
    )


def novelty(run: Commands) -> Iterator[str]:
    from lmgen.data.reading import Text, whole
    from lmgen.evaluation import novelty

    drawn = run(f"sample {model(run, 'names')} --count 1000 --seed 0")
    (run.folder / "drawn.txt").write_text(drawn)
    run.done[-1] += " > drawn.txt"
    report = run("novelty drawn.txt --corpus DATA/names/train.txt --control DATA/names/valid.txt")
    yield (
        "A thousand names from the model, and as many of the same lengths from its validation text, compared with the training "
        "text."
    )
    shown = report.rstrip().splitlines()
    yield quoted("\n".join(shown[max(k for k, line in enumerate(shown) if line.endswith("held out")) :]))
    lines = [line for part in ("train", "valid", "test") for line in whole(Text([DATA / "wikitext-2" / f"{part}.txt"]))]
    begun = time.perf_counter()
    index = novelty.Index(lines)
    built = time.perf_counter() - begun
    samples = [line[:60] for line in lines[:: len(lines) // 300] if len(line) >= 60]
    begun = time.perf_counter()
    for sample in samples:
        novelty.check(index, sample)
    each = (time.perf_counter() - begun) / len(samples)
    size = sum(len(line.encode()) + 1 for line in lines) / 1e6
    yield table(
        ("", "measured", "target"),
        (f"index of {size:.1f} MB", f"{built:.2f} s", "10 s for 10 MB"),
        ("a sample of 60 characters", f"{1e3 * each:.2f} ms", "1 ms"),
    )


def compression(run: Commands) -> Iterator[str]:
    text = DATA / "tinyshakespeare" / "valid.txt"
    name = model(run, "shakespeare")
    claimed = json.loads(run(f"eval {name} DATA/tinyshakespeare/valid.txt --no-baselines --json --precision f32"))
    run(f"compress {name} DATA/tinyshakespeare/valid.txt --output valid.lmz")
    took = run.seconds
    run(f"decompress {name} valid.lmz --output back.txt")
    content = text.read_bytes()
    if (run.folder / "back.txt").read_bytes() != content:
        raise SystemExit("the decompressed text differs from the compressed one")
    size = (run.folder / "valid.lmz").stat().st_size
    bits = claimed["spelt_bits_per_byte"] * claimed["bytes"] / 8
    rows = [("claimed by eval", bits), ("lmgen compress", size), ("gzip -9", len(gzip.compress(content, 9)))]
    rows.append(("xz -9", len(lzma.compress(content, preset=9))))
    yield (
        f"{len(content):,} bytes of validation text, restored exactly; compression took {took:.0f} s. The difference from the "
        f"claim is {size - bits:+.0f} bytes (target: within 0.1 % and 64 bytes, {bits / 1000 + 64:.0f}). gzip and xz have no "
        "training text here; in the scorecard they are primed with it."
    )
    yield table(("", "bytes", "bits per byte"), *((name, f"{n:,.0f}", f"{8 * n / len(content):.4f}") for name, n in rows))


SECTIONS: Sections = {
    "scorecards": ("Scorecards, beside baselines", scorecards),
    "ngrams": ("n-grams of WikiText-2", ngrams),
    "novelty": ("Learnt or copied: a thousand names", novelty),
    "compression": ("The claimed bits, proved by compression", compression),
}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(SECTIONS, folder)
