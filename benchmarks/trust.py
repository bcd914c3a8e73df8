"""The faults that lmgen survives: kills, resumes, damaged and hostile files, disk errors. Writes benchmarks/RESULTS.md.

    python benchmarks/trust.py [SECTION ...]

The faults are those of tests/faults, in larger numbers.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from report import ROOT, Commands, Sections, main, table

sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "faults")]

import hostile  # noqa: E402
import save  # noqa: E402

import faults  # noqa: E402

CHAINS, KILLS, STEPS = 21, 10, 4000
AT_ONCE = 2  # runs
FLIPS = 2000
SHAPE = ["--size", "12", "--embedding", "6"]


def kills(run: Commands) -> Iterator[str]:
    rows = [("a kill -9", "tried", "survived", "share")]
    if faults.STRACE:
        tried, survived = kills_of_a_save(run.folder)
        rows.append(("on entering each system call of a save", f"{tried}", f"**{survived}**", f"{survived / tried:.0%}"))
    corpus = run.folder / "words.txt"
    draw = random.Random(0)
    corpus.write_text("".join("".join(draw.choices("abdegiklmnorstu", k=draw.randint(2, 9))) + "\n" for _ in range(300)), "utf-8")
    with ThreadPoolExecutor(AT_ONCE) as workers:
        chains = workers.map(lambda seed: faults.chain_of_kills(run.folder, corpus, KILLS, STEPS, seed, SHAPE), range(CHAINS))
        found = [*chains]
    tried, survived = sum(one.tried for one in found), sum(one.survived for one in found)
    rows.append(("at a random moment of a run that has saved", f"{tried}", f"**{survived}**", f"{survived / tried:.0%}"))
    equal, leftovers = sum(one.equal for one in found), sum(one.leftovers for one in found)
    yield (
        "Survived: the snapshot and the model are whole, by their hashes, and are those before the save or those after it. Each "
        f"killed run was resumed, killed again, and finally run to its end: **{equal} of {len(found)}** such runs, with about "
        f"{KILLS} kills each, ended with the same bits (every array, every line of metrics.jsonl) as a run without a kill. "
        f"{leftovers} kills interrupted a write and left a part of a file; all parts were removed."
    )
    yield table(*rows)
    shape = " ".join(SHAPE)
    run.done += [f"lmgen train words.txt --steps {STEPS} {shape} --seed 0 … 20", "kill -9 …", "lmgen train --resume …"]


def kills_of_a_save(folder: Path) -> tuple[int, int]:
    """The number of system calls in a save, and of those at which a kill leaves a whole checkpoint."""
    saved, survived = folder / "saved", 0
    save.make(saved)
    save.save(saved, 1)
    save.save(saved, 2)
    stops = faults.calls(shutil.copytree(saved, folder / "fresh"), 3)
    for call in stops:
        path = folder / "killed"
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(saved, path)
        done = faults.traced(path, 3, f"{call.name}:signal=SIGKILL:when={call.number}")
        assert done.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL)
        survived += set(faults.states(path)) <= {2, 3}
    return len(stops), survived


def disk(run: Commands) -> Iterator[str]:
    if not faults.STRACE:
        raise SystemExit("this section needs strace: apt install strace")
    saved, counts = run.folder / "saved", {error: [0, 0] for error in faults.ERRORS}
    save.make(saved)
    save.save(saved, 1)
    save.save(saved, 2)
    for call in faults.writing(faults.calls(shutil.copytree(saved, run.folder / "fresh"), 3)):
        for error, words in faults.ERRORS.items():
            path = run.folder / "m"
            shutil.rmtree(path, ignore_errors=True)
            shutil.copytree(saved, path)
            done = faults.traced(path, 3, f"{call.name}:error={error}:when={call.number}")
            reported = done.returncode == 1 and done.stderr.count("\n") == 1 and words in done.stderr
            whole = set(faults.states(path)) <= {2, 3}
            save.save(path, 4)
            counts[error][0] += reported and whole and faults.states(path) == (4, 4) and not [*path.rglob(".*.part")]
            counts[error][1] += 1
    survived, tried = (sum(count[k] for count in counts.values()) for k in (0, 1))
    yield (
        f"Each system call of a save that writes was made to fail. In **{survived} of {tried}** cases the command ended with one "
        "sentence and exit code 1, the snapshot and the model were whole, and the next save succeeded and left no part of a file."
    )
    rows = [(faults.ERRORS[error], f"{good} of {count}") for error, (good, count) in counts.items()]
    yield table(("error", "survived"), *rows)
    run.done.append("python benchmarks/trust.py disk")


def resumed(run: Commands) -> Iterator[str]:
    import resumes

    equal, kinds = 0, {}
    for case in resumes.CASES:
        folder = run.folder / resumes.name_of(case)
        folder.mkdir()
        whole, parts = resumes.stopped_and_resumed(folder, case)
        equal += whole == parts
        kind = (case["unit"], "carried" if case["carry"] else "independent")
        kinds[kind] = kinds.get(kind, 0) + (whole == parts)
        shutil.rmtree(folder)
    yield (
        f"**{equal} of {len(resumes.CASES)}** runs that were stopped after {resumes.STOP} of {resumes.STEPS} steps and resumed "
        "ended with the same bits as uninterrupted runs: every array of the snapshot (weights, moments, carried state, random "
        "key) and of the model by its sha256, the progress, and the lines of metrics.jsonl without their times. All have dropout "
        f"and cross the end of an epoch; {len({case['cell'] for case in resumes.CASES})} cells, 1 to 3 layers, both precisions, "
        "both directions."
    )
    yield table(("symbols", "state", "equal"), *((unit, state, f"{n}") for (unit, state), n in sorted(kinds.items())))
    run.done.append("python benchmarks/trust.py resumes")


def damage(run: Commands) -> Iterator[str]:
    tiny = run.folder / "tiny"
    save.make(tiny)
    save.save(tiny, 1)
    words = run.folder / "words.txt"
    words.write_text("bade\nkimo\nsuno\nre\n" * 40)
    run("train words.txt --steps 60 --output model --quiet " + " ".join(SHAPE))
    rows = [("file", "bytes", "lengths caught", "flipped bits caught")]
    cut, flipped, draw = [0, 0], [0, 0], random.Random(0)
    for kind, path in (("tiny", tiny), ("model", run.folder / "model")):
        for file, read in faults.every_file(path).items():
            if not file.exists():
                continue
            whole = file.read_bytes()
            short = faults.caught(file, faults.cuts(whole), read)
            bits = faults.caught(file, faults.flips(whole, FLIPS, draw), read)
            cut, flipped = [a + b for a, b in zip(cut, short, strict=True)], [a + b for a, b in zip(flipped, bits, strict=True)]
            counted = [f"{noticed:,} of {tried:,}" for noticed, tried in (short, bits)]
            rows.append((f"{kind}: {file.name}", f"{len(whole):,}", *counted))
    yield (
        f"Cut at every length (and one byte too long): **{cut[0]:,} of {cut[1]:,}** caught. One bit flipped at a random place: "
        f"**{flipped[0]:,} of {flipped[1]:,}** caught."
    )
    yield table(*rows)


def hostiles(run: Commands) -> Iterator[str]:
    hostile.make_all(run.folder / "models")
    before = faults.listing(run.folder)
    found = faults.refusals(run.folder / "models")
    untouched = faults.listing(run.folder) == before
    refused = [line for line in found if line["found"].startswith("CheckpointError") and line["seconds"] < 1]
    slowest = sorted(found, key=lambda line: -line["seconds"])[:5]
    memory = max(line["memory"] for line in found) / 1e6
    yield (
        f"**{len(refused)} of {len(found)}** hostile model directories were refused with one sentence within a second; the "
        f"slowest took {slowest[0]['seconds']:.2f} s, and the highest memory was {memory:.0f} MB, including the interpreter and "
        f"NumPy. {'Nothing' if untouched else 'SOMETHING'} in the folder or beside it changed."
    )
    names = "; ".join(line["name"] for line in found)
    yield table(("slowest", "seconds", "MB"), *((s["name"], f"{s['seconds']:.3f}", f"{s['memory'] / 1e6:.0f}") for s in slowest))
    yield f"All of them: {names}."
    run.done.append("python benchmarks/trust.py hostile")


SECTIONS: Sections = {
    "kills": ("Kills", kills),
    "disk": ("Errors of the disk", disk),
    "resumes": ("Resumes, to the bit", resumed),
    "damage": ("Truncated files and flipped bits", damage),
    "hostile": ("Hostile files", hostiles),
}


if __name__ == "__main__":
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    main(SECTIONS, prefix="trust-", data=False, own_cache=True)
