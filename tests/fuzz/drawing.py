"""What inputs of every kind are drawn from: texts, bytes, JSON, files with a few bytes changed; how many, and in which folder."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

LONG = bool(os.environ.get("LMGEN_LONG"))


def level(quick: int, long: int) -> settings:
    """How many examples are tried: always the same few, or with LMGEN_LONG=1 many others each time."""
    phases = [Phase.explicit, Phase.generate, Phase.shrink]
    return settings(
        max_examples=long if LONG else quick,
        deadline=None,
        database=None,
        derandomize=not LONG,
        phases=phases,
        suppress_health_check=list(HealthCheck),
    )


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """An empty folder to work in."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        os.chdir(name)
        try:
            yield Path(name)
        finally:
            os.chdir(before)


PARTS = [
    *("a", "b", "ab", "the cat", " ", "  ", "\t", "\n", "\n\n", "\r\n", "\r", "\0", "\x1b[31m", "\x85", "\u2028", "\ufeff", "é"),
    *(
        "e\u0301",
        "中文",
        "🦊",
        "\ud800",
        "\u202e",
        "<unk>",
        "<eos>",
        "</s>",
        "Ã©",
        "\U0010ffff",
        "x" * 70,
        "word " * 30,
        "\\",
        '"',
    ),
]
texts = st.lists(st.sampled_from(PARTS) | st.text(max_size=8), max_size=24).map("".join)
contents = st.one_of(
    texts.map(lambda t: t.encode("utf-8", "surrogatepass")),
    texts.flatmap(lambda t: st.sampled_from(["utf-16", "utf-32", "utf-16-le", "latin-1"]).map(lambda e: t.encode(e, "ignore"))),
    st.binary(max_size=200),
    st.lists(st.sampled_from([b"\x1f\x8b", b"PK\x03\x04", b"\xff\xfe", b"\xef\xbb", b"\n", b"a", b"\xf0\x9f"])).map(b"".join),
)
ENCODINGS = ["utf-8"] * 6 + ["utf-8-sig", "utf-16", "utf-32", "utf-7", "latin-1", "cp1252", "shift_jis", "hex", "klingon", ""]


@st.composite
def mutated(draw: st.DrawFn, whole: bytes) -> bytes:
    """Bytes with some replaced, dropped, repeated or put in, or cut short."""
    content = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(content)))
        span = draw(st.sampled_from([0, 1, 1, 2, 8, 40]))
        new = draw(st.binary(max_size=4) | st.sampled_from([b"", b"\0", b"\xff", b"9", b'"', b"-1", b"1e999", b"[" * 40, b"\n"]))
        content[at : at + span] = new
    return bytes(content[: draw(st.integers(0, len(content)))] if draw(st.booleans()) else content)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.just("1" * 50),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=6,
)
