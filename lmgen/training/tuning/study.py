"""A study: the trials of a text, and study.json, from which it goes on.

Each trial is a variation of the plan. It is trained for the shortest of a few lengths, then for longer ones as long as it is
among the best third of the trials of that length (successive halving, Jamieson and Talwalkar 2016; asynchronous, Li et al. 2020).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lmgen.data.vocab import UNITS
from lmgen.defaults.pace import Pace
from lmgen.errors import CheckpointError
from lmgen.models import schema
from lmgen.models.provenance import TextSettings
from lmgen.models.schema import AMOUNT, FLOAT32, NATS, SHA256, WORDS, Field
from lmgen.options import table
from lmgen.options.kinds import LARGEST, Bounded, Choice, Flag, Kind, Text, Whole
from lmgen.system import files
from lmgen.training.tuning.space import CHOICES, Variation

ETA = 3  # times as long as the length before; one of as many trials goes on
LEVELS = 3  # lengths, at most
KEPT = table.names("vocabulary", "network", "training", "end")  # the options of a training that a study keeps
MOST_BYTES = 1 << 26


@dataclass(frozen=True)
class Result:
    """What a training of a trial gave: nats a symbol of the validation text (None if it failed, for the reason in `fault`), the
    seconds that it took, and its options that are not as planned."""

    nats: float | None
    seconds: float
    options: dict[str, Any]
    fault: str = ""


@dataclass
class Trial:
    """A variation of the plan, and the result at each length so far."""

    variation: Variation
    results: list[Result] = field(default_factory=list)


@dataclass
class Study:
    """All that a study is and has found; all of it is in study.json.

    `lengths` are those of its trainings, the shortest first, in seconds of a budget or in steps. Trials end within the first
    `searching` of the `budget` seconds, and `most` is the largest number of them (None: any). `elapsed` are the seconds until the
    newest result; `searched` says that no trial is to follow, `last` what the last training gave, `model` where the model is,
    which `force` lets replace another.
    """

    text: TextSettings
    sha256: str
    options: dict[str, Any]
    pace: Pace
    end: str
    lengths: list[float]
    force: bool = False
    budget: float | None = None
    searching: float | None = None
    most: int | None = None
    elapsed: float = 0.0
    trials: list[Trial] = field(default_factory=list)
    searched: bool = False
    last: Result | None = None
    model: str | None = None

    def pending(self) -> Trial | None:
        """The newest trial, if it is to go on."""
        return self.trials[-1] if self.trials and self.goes_on(self.trials[-1]) else None

    def goes_on(self, trial: Trial) -> bool:
        """Whether a trial is to be trained for the next length: it is new, or among the best third so far."""
        if not trial.results:
            return True
        nats, level = trial.results[-1].nats, len(trial.results) - 1
        if nats is None or len(trial.results) == len(self.lengths):
            return False
        others = self._at(level)
        return sum(other < nats for other in others) < max(1, len(others) // ETA)

    def _at(self, level: int) -> list[float]:
        """The nats of all trials of a length."""
        results = [trial.results[level] for trial in self.trials if len(trial.results) > level]
        return [result.nats for result in results if result.nats is not None]

    def best(self) -> Trial | None:
        """The trial with the lowest nats of those that were trained longest."""
        return next((trial for trial in self.ranked() if trial.results and trial.results[-1].nats is not None), None)

    def ranked(self) -> list[Trial]:
        """The trials, the best first: by how long they were trained, then by their nats, then by their number."""

        def rank(trial: Trial) -> tuple[int, float]:
            done = [result.nats for result in trial.results if result.nats is not None]
            return -len(done), done[-1] if done else 0.0

        return sorted(self.trials, key=rank)

    def fits(self, trial: Trial) -> bool:
        """Whether there is time for the next training of a trial. There always is for the plan."""
        if self.searching is None or not trial.variation:
            return True
        return self.elapsed + self.lengths[len(trial.results)] <= self.searching

    def save(self, folder: Path) -> None:
        """Write study.json, as a whole or not at all."""
        files.write_bytes(folder / "study.json", json.dumps(asdict(self), indent=1).encode())


# ---- reading -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Object(Kind):
    """An object with fields of these types."""

    of: schema.Table

    def check(self, value: Any) -> Any:
        if why := schema.wrong(value, self.of):
            raise ValueError(why)
        return value


@dataclass(frozen=True)
class _List(Kind):
    """A list of values of a type."""

    of: Kind
    least: int = 0
    most: int = LARGEST
    noun = "a list"
    accepts = list

    def check(self, value: Any) -> Any:
        if not self.least <= len(super().check(value)) <= self.most:
            raise ValueError(f"{len(value)} entries cannot be used")
        return [self.of.check(one) for one in value]


_SECONDS = Field(Bounded(0, FLOAT32), optional=True)
_FACTOR = Field(Bounded(0, FLOAT32, open_low=True))
_RESULT = {
    "nats": NATS,
    "seconds": AMOUNT,
    "options": Field(_Object({name: Field(schema.like(name).kind, late=True) for name in CHOICES})),
    "fault": WORDS,
}
_VARIATION = {name: Field(Whole(-choice.down, choice.up), late=True) for name, choice in CHOICES.items()}
_TRIAL = {"variation": Field(_Object(_VARIATION)), "results": Field(_List(_Object(_RESULT), most=LEVELS))}
_OPTIONS = {option.name: Field(option.kind, optional=True, late=True) for option in table.TRAIN if option.name in KEPT}
_OPTIONS["unit"] = Field(Choice(tuple(UNITS)), optional=True)
_PACE = {"small": _FACTOR, "large": _FACTOR, "head": _FACTOR, "source": WORDS, "devices": Field(Whole())}
_STUDY: schema.Table = {
    "text": Field(_Object(schema.text_of(None, None))),
    "sha256": SHA256,
    "options": Field(_Object(_OPTIONS)),
    "pace": Field(_Object(_PACE)),
    "end": Field(Choice(("budget", "steps"))),
    "lengths": Field(_List(Bounded(0, LARGEST, open_low=True), 1, LEVELS)),
    "force": Field(Flag()),
    "budget": _SECONDS,
    "searching": _SECONDS,
    "most": Field(Whole(), optional=True),
    "elapsed": AMOUNT,
    "trials": Field(_List(_Object(_TRIAL))),
    "searched": Field(Flag()),
    "last": Field(_Object(_RESULT), optional=True),
    "model": Field(Text(), optional=True),
}


def read(folder: Path) -> Study:
    """The study of a folder. Raises CheckpointError where study.json is missing or damaged."""
    path = folder / "study.json"
    with files.opened(path) as (file, size):
        content = file.read(MOST_BYTES + 1)
    try:
        if size > MOST_BYTES:
            raise ValueError(f"{size:,} bytes are more than any study has")
        found = json.loads(content)
        if why := schema.wrong(found, _STUDY):
            raise ValueError(why)
        if found["lengths"] != sorted(set(found["lengths"])):
            raise ValueError("its lengths do not ascend")
        if any(len(trial["results"]) > len(found["lengths"]) for trial in found["trials"]):
            raise ValueError("a trial has more results than there are lengths")
        if len({found["end"] == "budget", found["budget"] is not None, found["searching"] is not None}) == 2:
            raise ValueError("it does not say when it ends")
        if found["end"] == "steps" and any(type(length) is not int for length in found["lengths"]):
            raise ValueError("steps are whole numbers")
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged ({error}): tune anew under another --output") from None
    trials = [Trial(one["variation"], [Result(**result) for result in one["results"]]) for one in found["trials"]]
    parts = {"text": TextSettings.of(found["text"]), "pace": Pace(**found["pace"]), "trials": trials}
    return Study(**{**found, **parts, "last": Result(**found["last"]) if found["last"] else None})
