"""Write the invented corpora of corpora/: poems, Chinese verses, tunes, genes and the log of a server, drawn from small grammars.

    python benchmarks/corpora.py [NAME ...]

The same program writes the same bytes; tests/data/test_corpora.py compares. The guides in docs/guides train on them.
"""

# ruff: noqa: SIM905 (lists of words are read more easily so)

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

CORPORA = Path(__file__).resolve().parent.parent / "corpora"

# ---- poems -----------------------------------------------------------------------------------------------------------

RHYMES = [
    "light night bright sight flight white".split(),
    "sea free tree me key bee".split(),
    "rain again lane grain plain train".split(),
    "day way grey stay bay hay".split(),
    "snow glow slow below crow flow".split(),
    "stone alone bone unknown thrown grown".split(),
    "hill still mill chill until fill".split(),
    "door shore floor roar before more".split(),
]
ADJECTIVES = "old small quiet golden bitter silver wild gentle hollow early broken patient".split()
NOUNS = "river garden sparrow lantern harbour winter shepherd window morning orchard candle meadow wagon kettle".split()
VERBS = "waits sings sleeps turns wanders listens burns trembles whispers returns".split()
PLACES = "by the wall|under the moon|in the valley|behind the gate|along the road|over the roof|at the well".split("|")
LINES = [
    "The {a} {n} {v} {p}, {r}",
    "And all the {n}s are {a} and {r}",
    "{P} the {n} {v}, {r}",
    "I heard the {a} {n} and the {r}",
    "O {n}, the {a} {n} {v} till {r}",
    "No {n} {v} where the {n} {v}, {r}",
]


def poem(random: Random) -> str:
    """Four lines, of which the first rhymes with the third and the second with the fourth."""
    first, second = (random.sample(some, 2) for some in random.sample(RHYMES, 2))
    lines = []
    for rhyme in (first[0], second[0], first[1], second[1]):
        line = random.choice(LINES)
        for mark, some in (("{a}", ADJECTIVES), ("{n}", NOUNS), ("{v}", VERBS), ("{p}", PLACES), ("{P}", PLACES)):
            while mark in line:
                word = random.choice(some)
                line = line.replace(mark, word.capitalize() if mark == "{P}" else word, 1)
        lines.append(line.replace("{r}", rhyme))
    return "\n".join(lines) + "\n"


# ---- Chinese verses --------------------------------------------------------------------------------------------------

SCENES = "明月 春风 秋雨 白云 青山 流水 孤舟 远客 落花 飞鸟 寒霜 晚钟 细柳 残雪 清泉 归雁 老树 渔火 炊烟 新竹".split()
ACTS = "照 入 过 满 随 归 临 对 隔 绕 落 望 渡 映".split()
ENDS = [
    "高楼 小舟 清秋 江流 沙洲 客愁".split(),
    "斜阳 他乡 池塘 大江 画堂 柳塘".split(),
    "空山 人间 边关 江南 石栏 云端".split(),
    "故城 三更 江声 前程 浮生 月明".split(),
    "柴门 黄昏 前村 江云 山根 诗魂".split(),
]
OPEN = "小桥 石径 深院 野渡 古寺 北岸 竹林 东海 天涯 草堂 旧路 暮雪".split()


def verse(random: Random) -> str:
    """Four lines of five characters; the second and the fourth rhyme."""
    scenes, ends, acts = random.sample(SCENES, 4), random.sample(random.choice(ENDS), 2), random.sample(ACTS, 4)
    places = (random.choice(OPEN), ends[0], random.choice(OPEN), ends[1])
    one, two, three, four = (f"{scene}{act}{place}" for scene, act, place in zip(scenes, acts, places, strict=True))
    return f"{one}，{two}。\n{three}，{four}。\n"


# ---- tunes -----------------------------------------------------------------------------------------------------------

KEYS = {"G": "DEFGABcdefg", "D": "DEFGABcdefg", "Am": "EFGABcdefga", "Em": "DEFGABcdefg"}
METRES = {"4/4": 8, "6/8": 6, "3/4": 6}  # eighths in a bar
FIGURES = {
    8: ((2, 2, 2, 2), (2, 1, 1, 2, 2), (3, 1, 2, 2), (4, 2, 2)),
    6: ((3, 3), (2, 1, 2, 1), (1, 1, 1, 3), (2, 2, 2), (2, 4)),
}


def tune(random: Random) -> str:
    """A tune in ABC: two parts of four bars, whose notes fill each bar and move by small steps."""
    key, metre = random.choice([*KEYS]), random.choice([*METRES])
    scale, place = KEYS[key], 3

    def bar(last: bool) -> str:
        nonlocal place
        notes = []
        for length in random.choice(FIGURES[METRES[metre]]):
            place = min(max(place + random.choice((-2, -1, -1, 0, 1, 1, 2)), 0), len(scale) - 1)
            notes.append(scale[place] + (str(length) if length > 1 else ""))
        if last:
            notes[-1] = key[0] + notes[-1][1:]
        return "".join(notes)

    parts = ["|:" + "|".join(bar(last=number == 3) for number in range(4)) + ":|" for _ in range(2)]
    return f"M:{metre}\nK:{key}\n" + "\n".join(parts) + "\n"


# ---- genes -----------------------------------------------------------------------------------------------------------

STOPS = ("TAA", "TAG", "TGA")
CODONS = [a + b + c for a in "TCAG" for b in "TCAG" for c in "TCAG" if a + b + c not in STOPS]


def gene(random: Random) -> str:
    """A promoter, a gap, a place to bind, the start, 12 to 30 codons of which some are frequent, and a stop."""
    frequent = random.choices(CODONS, weights=[1 + 9 * (codon[2] in "CG") for codon in CODONS], k=random.randint(12, 30))
    gap = "".join(random.choices("ATTA", k=random.randint(5, 9)))
    return f"TATAAT{gap}AGGAGG{random.choice('ACGT')}ATG{''.join(frequent)}{random.choice(STOPS)}\n"


# ---- the log of a server ---------------------------------------------------------------------------------------------

PATHS = ("/", "/index.html", "/items/{n}", "/items/{n}/edit", "/search?q=item{n}", "/static/site.css", "/login", "/api/v1/items")


class Log:
    """Requests in the order of time: what was asked for, by what method, and how it ended."""

    def __init__(self) -> None:
        self.seconds = 8 * 3600

    def __call__(self, random: Random) -> str:
        self.seconds = (self.seconds + random.randint(0, 9)) % 86400
        path = random.choice(PATHS).replace("{n}", str(random.randint(1, 400)))
        method = "POST" if path == "/login" or path.endswith("/edit") else "GET"
        status = (
            random.choices((200, 304, 404, 302), (80, 10, 5, 5))[0] if method == "GET" else random.choice((302, 302, 302, 403))
        )
        size = random.randint(200, 9000) if status == 200 else 0
        clock = f"{self.seconds // 3600:02}:{self.seconds // 60 % 60:02}:{self.seconds % 60:02}"
        return f'10.0.{random.randint(0, 3)}.{random.randint(1, 40)} [{clock}] "{method} {path}" {status} {size}\n'


# A name: the file, what makes one piece of it, how many of them, and what stands between two.
MADE: dict[str, tuple[str, Callable[[Random], str], int, str]] = {
    "poems": ("poems.txt", poem, 500, "\n"),
    "verses": ("verses.txt", verse, 800, "\n"),
    "tunes": ("tunes.txt", tune, 400, "\n"),
    "genes": ("genes.txt", gene, 600, ""),
    "server-log": ("server-log.txt", Log(), 1500, ""),
}


def pieces(name: str) -> Iterator[str]:
    """The pieces of a corpus, each once."""
    _, make, count, _ = MADE[name]
    random, seen = Random(name), set()
    while len(seen) < count:
        if (piece := make(random)) not in seen:
            seen.add(piece)
            yield piece


def text(name: str) -> str:
    """A corpus."""
    return MADE[name][3].join(pieces(name))


if __name__ == "__main__":
    for name in sys.argv[1:] or MADE:
        (CORPORA / MADE[name][0]).write_text(text(name), "utf-8")
