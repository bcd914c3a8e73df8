"""Measures lmgen serve with many clients at once, beside one batch of lmgen sample, and writes the results into RESULTS.md.

    python benchmarks/serve.py [page]

With `page`, it runs the commands of docs/serve.md instead, and writes their output below them.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from urllib.request import urlopen

import readme
import report

import lmgen
from lmgen.generation.sampling import Settings, samples

PAGE = report.ROOT / "docs" / "serve.md"
ADDRESS = "127.0.0.1:8000"  # on the page
CLIENTS = 64
SECONDS = float(os.environ.get("LMGEN_SERVE_SECONDS", "60"))
LONG, MANY = 4000, 1_000_000  # symbols of a text, and lines, so that none ends before
MODEL = "shakespeare"
TRAIN = f"train DATA/tinyshakespeare/train.txt --carry --steps 200 --size 256 --output {MODEL} --quiet"


@dataclass
class Seen:
    """What the clients saw."""

    answers: int = 0
    symbols: int = 0
    errors: list[str] = field(default_factory=list)
    first: list[float] = field(default_factory=list)  # seconds to the first symbols of each answer


@contextmanager
def server(folder: Path, *words: str) -> Iterator[str]:
    """The address of a server, which is ended by a signal."""
    command = [sys.executable, "-m", "lmgen", "serve", *words, "--port", "0"]
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        found = re.search(r"http://([\d.]+:\d+)", process.stderr.readline())
        if not found:
            raise report.Failed(process.stderr.read())
        try:
            yield found[1]
        finally:
            process.send_signal(signal.SIGTERM)
            if process.wait():
                raise report.Failed(f"the server ended with exit code {process.returncode}")


def written(address: str) -> float:
    """The symbols that a server has drawn."""
    with urlopen(f"http://{address}/metrics") as answer:
        return float(re.findall(r"^lmgen_symbols_written_total (\S+)", answer.read().decode(), re.M)[0])


async def client(address: str, number: int, until: float, seen: Seen) -> None:
    """One text after the other, streamed, over one connection."""
    host, port = address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    while time.monotonic() < until:
        asked = {"max_tokens": LONG, "lines": MANY, "seed": number, "stream": True, "stream_options": {"include_usage": True}}
        body = json.dumps(asked).encode()
        lines = f"Host: {address}", "Content-Type: application/json", f"Content-Length: {len(body)}"
        head = "\r\n".join(["POST /v1/completions HTTP/1.1", *lines, "", ""])
        begun = time.monotonic()
        writer.write(head.encode() + body)
        status = await reader.readuntil(b"\r\n\r\n")
        first, usage = None, b""
        while (line := await reader.readline()) != b"data: [DONE]\n":
            if not line or b'"error"' in line:
                break
            if line.startswith(b"data: "):
                first, usage = first or time.monotonic(), line
        await reader.readuntil(b"0\r\n\r\n")  # the last chunk of the answer
        if b" 200 " not in status or not first or b"completion_tokens" not in usage:
            seen.errors.append(f"{status[:60]!r} {line[:200]!r}")
            return
        seen.answers += 1
        seen.symbols += json.loads(usage[6:])["usage"]["completion_tokens"]
        seen.first.append(first - begun)
    writer.close()


async def crowd(address: str, seconds: float) -> Seen:
    """All clients at once."""
    seen, until = Seen(), time.monotonic() + seconds
    await asyncio.gather(*(client(address, number, until, seen) for number in range(CLIENTS)))
    return seen


def batch(model: lmgen.Model) -> float:
    """The symbols a second of one batch of lmgen sample."""
    start = time.monotonic()
    drawn = list(islice(samples(model.lm, Settings(max_length=LONG, lines=MANY), wanted=CLIENTS), CLIENTS))
    return sum(one.symbols for one in drawn) / (time.monotonic() - start)


def measured(run: report.Commands) -> Iterator[str]:
    run(TRAIN)
    model = lmgen.load(run.folder / MODEL)
    batch(model)
    with server(run.folder, MODEL) as address:
        asyncio.run(crowd(address, 2))  # compiles
        before = [batch(model) for _ in range(3)]
        start, drawn = time.monotonic(), written(address)
        seen = asyncio.run(crowd(address, SECONDS))
        speed = (written(address) - drawn) / (time.monotonic() - start)
        after = [batch(model) for _ in range(3)]
    run.done.append(f"lmgen serve {MODEL}")
    alone = statistics.median(before + after)
    centiles = statistics.quantiles(seen.first, n=100)
    yield (
        f"{run.shape(MODEL)}. {CLIENTS} clients ask for streamed texts of {LONG:,} symbols over loopback, one after the other, "
        f"for {SECONDS:g} seconds; clients and server share the cores. Beside it, one batch of {CLIENTS} texts by lmgen sample, "
        "the median of six, before and after."
    )
    yield report.table(
        ("", "measured"),
        ("answers", f"{seen.answers:,}"),
        ("errors", f"{len(seen.errors):,}"),
        ("symbols a second", f"{speed:,.0f}"),
        ("symbols a second of lmgen sample", f"{alone:,.0f} ({min(before + after):,.0f} to {max(before + after):,.0f})"),
        ("share", f"{speed / alone:.2f}"),
        ("first symbols, median", f"{centiles[49] * 1000:.0f} ms"),
        ("first symbols, 95 %", f"{centiles[94] * 1000:.0f} ms"),
    )
    for error in seen.errors[:3]:
        yield report.quoted(error)


@contextmanager
def towns(text: str, folder: Path) -> Iterator[str]:
    """The address of a server of the model whose training a page names."""
    (train,) = re.findall(r"`lmgen (train .*?)`", text)
    report.Commands(folder)(train)
    with server(folder, "towns") as address:
        yield address


def page() -> None:
    """Write the output of the commands of the page, which ask a server."""
    text = PAGE.read_text("utf-8")
    with tempfile.TemporaryDirectory() as folder, towns(text, Path(folder)) as address:
        PAGE.write_text(readme.filled(text, folder, lambda command: command.replace(ADDRESS, address)), "utf-8")


if __name__ == "__main__":
    if sys.argv[1:] == ["page"]:
        page()
    else:
        report.main({"serve": ("Serving many users", measured)})
