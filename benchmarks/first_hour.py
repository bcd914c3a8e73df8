"""The first texts of a newcomer: trains on small texts without options, and writes benchmarks/RESULTS.md.

    python benchmarks/first_hour.py

The texts are generated: a poem of 40 lines, a Chinese poem of 200 characters, 300 invented names, the poem as one line.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator

from report import Commands, Sections, main, quoted, table

SAMPLES = 200  # are counted
SHOWN = 8  # of them are printed


def poem() -> str:
    """Forty English lines, about two thousand characters, from a small grammar; the same at each call."""
    draw = random.Random(1)
    who = ["the grey sea", "an old lantern", "my father's boat", "the winter moon", "a quiet river", "the last swallow"]
    does = ["remembers", "carries", "forgets", "follows", "is waiting for", "sings to"]
    what = ["the names of the drowned", "a letter never sent", "the smell of the rain", "our house on the hill", "the morning"]
    how = ["without a word", "until the stars go out", "and will not come home", "as if it were the first", "below the bridge"]
    lines: dict[str, None] = {}
    while len(lines) < 40:
        parts = [draw.choice(some) for some in (who, does, what, how)]
        line = " ".join(parts if draw.random() < 0.4 else parts[:3])
        lines[line[0].upper() + line[1:] + draw.choice([",", ".", ";", ""])] = None
    return "".join(f"{line}\n" for line in lines)


def chinese() -> str:
    """Forty lines of five characters: a subject, a verb, a place."""
    draw = random.Random(2)
    what = "春风 明月 青山 流水 白云 孤舟 落花 归鸟 寒江 远钟".split()  # noqa: SIM905
    where = "柴门 空林 高楼 小桥 东篱 故园 石径 江亭".split()  # noqa: SIM905
    lines: dict[str, None] = {}
    while len(lines) < 40:
        lines[draw.choice(what) + draw.choice("过入照绕渡") + draw.choice(where)] = None
    return "".join(f"{line}\n" for line in lines)


def names() -> str:
    """Three hundred distinct names of two to four syllables."""
    draw = random.Random(3)
    found: dict[str, None] = {}
    while len(found) < 300:
        syllables = (draw.choice("bdfgklmnrstv") + draw.choice("aeiou") for _ in range(draw.randint(2, 4)))
        found["".join(syllables).capitalize() + draw.choice(["", "", "n", "l", "s"])] = None
    return "".join(f"{name}\n" for name in found)


TEXTS: dict[str, Callable[[], str]] = {
    "poem": poem,
    "chinese": chinese,
    "names": names,
    "one-line": lambda: poem().replace("\n", " ").strip() + "\n",
}


def units(name: str, text: str) -> list[str]:
    """The recognisable parts of a text: words, or, for Chinese and for names, pairs of neighbouring characters."""
    if name in ("poem", "one-line"):
        return re.findall(r"[a-z']+", text.lower())
    return [line[k : k + 2] for line in text.lower().splitlines() for k in range(len(line) - 1)]


def first_hour(run: Commands) -> Iterator[str]:
    rows = [("text", "characters", "steps", "command", "words (or pairs) from the text", "lines copied")]
    shown = []
    for name, make in TEXTS.items():
        text = make()
        (run.folder / f"{name}.txt").write_text(text, "utf-8")
        run(f"train {name}.txt --quiet")
        took = run.seconds
        drawn = [json.loads(line) for line in run(f"sample {name} --count {SAMPLES} --seed 0 --json").splitlines()]
        found = units(name, "\n".join(one["text"] for one in drawn))
        known = set(units(name, text))
        steps = json.loads((run.folder / "checkpoints" / name / "metrics.jsonl").read_text().splitlines()[-1])["step"]
        rows.append(
            (
                name,
                f"{len(text):,}",
                f"{steps:,}",
                f"{took:.0f} s",
                f"{sum(one in known for one in found) / len(found):.0%}",
                f"{sum(one['known'] for one in drawn) / SAMPLES:.0%}",
            )
        )
        shown.append(f"{name}:\n" + "\n".join(f"    {one['text']}" for one in drawn[:SHOWN]))
        new = run(f"sample {name} --count {SHOWN} --seed 0 --novel --max-length 200").splitlines()
        shown.append(f"{name}, --novel:\n" + "\n".join(f"    {line}" for line in new[:SHOWN]))
    yield (
        f"Texts made by `benchmarks/first_hour.py`, each learnt without options; then {SAMPLES} samples were drawn. Such a small "
        "text is used whole for training, and most of its lines are learnt by heart; `--novel` leaves these out."
    )
    yield table(*rows)
    yield quoted("\n\n".join(shown))


SECTIONS: Sections = {"first-hour": ("The first hour: small texts, no options", first_hour)}


if __name__ == "__main__":
    main(SECTIONS, data=False)
