"""What tests of corpora in shards share: a few texts, and each of them in shards and as one."""

from __future__ import annotations

from pathlib import Path

import support
from lmgen.data import corpus
from lmgen.data.reading import Text
from lmgen.data.sharded import building, reading
from lmgen.data.split import WHOLE

WORDS = support.invented_words(1500)
VERSE = "".join(" ".join(WORDS[k : k + 7]) + ("\n\n" if k % 3 else "\n") for k in range(0, 1500, 7)) * 4
VERSE = VERSE.replace(WORDS[3], "cafÃ©").replace(WORDS[9], "\N{REPLACEMENT CHARACTER}")
CASES = {
    "names": ("char", False, {}),
    "verse": ("word", True, {"min_count": 2}),
    "marks": ("word-punct", False, {"unk_token": "<unk>"}),
    "whole": ("char", True, {"split": WHOLE}),
}


def text(name: str, carry: bool = False, **options) -> Text:
    """One of the texts of these tests, of two files."""
    content = VERSE if name in ("verse", "whole") else "".join(f"{word}!\n" for word in WORDS)
    half = content.index("\n", len(content) // 2) + 1
    paths = [Path(f"{name}-{k}.txt") for k in (1, 2)]
    for path, part in zip(paths, (content[:half], content[half:]), strict=True):
        path.write_text(part)
    return Text(paths, keep_blank=carry, **options)


def built(case: str = "names", symbols: int = 300, path: str = "corpus") -> corpus.Corpus:
    """A corpus in shards of about so many symbols, as it is read again."""
    unit, carry, options = CASES[case]
    building.build(Path(path), text(case, carry), None, unit, carry, symbols, **options)
    return reading.load(path)


def as_one(case: str = "names") -> corpus.Corpus:
    """The same corpus, from its text."""
    unit, carry, options = CASES[case]
    return corpus.load(text(case, carry), None, unit, carry, **options)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}
