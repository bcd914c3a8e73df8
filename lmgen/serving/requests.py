"""The body of a request, checked against a table of its fields."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lmgen.api import Model
from lmgen.data.vocab import EOS
from lmgen.errors import InputError
from lmgen.generation.sampling import BETWEEN, Settings, defaults
from lmgen.generation.transforms import TRANSFORMS
from lmgen.models.capabilities import Conditions, Generates, can, require
from lmgen.models.spelling import encode
from lmgen.options import kinds, table
from lmgen.options.commands import SAMPLING
from lmgen.serving.house import House
from lmgen.serving.http import Refused
from lmgen.serving.settings import Settings as Bounds

MOST_STOPS = 16
DRAWING = {option.name: option.kind for option in SAMPLING if option.name in (*TRANSFORMS, "lines", "unknown")}
# Fields of OpenAI's that this server has no use for, with the values that ask for nothing.
WITHOUT = {
    "best_of": (1,),
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "presence_penalty": (0,),
    "suffix": ("",),
    "stream_options": ({}, {"include_usage": True}, {"include_usage": False}),
}


def fields(asked: Mapping[str, Any], known: Mapping[str, kinds.Kind]) -> dict[str, Any]:
    """The fields of a body that are there and not null, checked. Raises Refused for one that is unknown or cannot be used."""
    found = {}
    for name, value in asked.items():
        if name not in known:
            meant = kinds.did_you_mean(name, known)
            raise Refused(400, f"there is no field {name[:60]!r} here{meant or ': leave it out'}", name[:60])
        if value is not None:
            try:
                found[name] = known[name].check(value)
            except ValueError as error:
                raise Refused(400, f"{name}: {error}", name) from None
    return found


class Stops(kinds.Texts):
    """Texts to stop at, one or a list."""

    def check(self, value: Any) -> tuple[str, ...]:
        if isinstance(value, str) or (isinstance(value, list) and len(value) <= MOST_STOPS):
            return super().check(value)
        raise ValueError(f"{kinds.quoted(value)} cannot be used: give a text, or a list of {MOST_STOPS} at most")


@dataclass(frozen=True)
class Neutral(kinds.Kind):
    """A value that asks for nothing."""

    values: tuple[Any, ...]

    def check(self, value: Any) -> Any:
        if value in self.values:
            return value
        raise ValueError(f"{kinds.quoted(value)} cannot be used, as this server has no such setting: leave it out")


@dataclass(frozen=True)
class Asked:
    """What a request for completions asks for: for each of the prompts, ids without a first EOS, `n` texts by the settings.

    `heads` are the EOS, 0 or 1, that each prompt began with, and `most` the symbols that may follow it.
    """

    name: str
    model: Model
    prompts: tuple[np.ndarray, ...]
    heads: tuple[int, ...]
    settings: Settings
    lines: int
    most: int
    seed: int
    n: int
    echo: bool
    logprobs: int | None
    stop: tuple[str, ...]
    stream: bool
    usage: bool

    @property
    def between(self) -> str:
        """The text between two sequences."""
        return BETWEEN[self.model.lm.sequence]


def completion(asked: Mapping[str, Any], house: House) -> Asked:
    """The request of a body. Raises Refused or InputError for one that is not served."""
    bounds = house.settings
    known = {
        **DRAWING,
        "model": kinds.Text(),
        "prompt": kinds.Kind(),
        "label": kinds.Text(),
        "max_tokens": kinds.Whole(0, bounds.max_length),
        "n": kinds.Whole(1, bounds.max_sequences),
        "echo": kinds.Flag(),
        "logprobs": kinds.Whole(0, bounds.max_logprobs),
        "stop": Stops(),
        "seed": table.SEED,
        "stream": kinds.Flag(),
        "user": kinds.Text(),
        **{field: Neutral(values) for field, values in WITHOUT.items()},
    }
    given = fields(asked, known)
    name, model = house.model(given.get("model"))
    if "label" in given:
        model = house.by(name, given["label"])
    lm: Any = require(model.lm, Generates, "ask POST /predict for labels or translations, or serve a model that writes")
    if can(lm, Conditions):
        lm.start(1)  # which says what it lacks, if that is a label
    lines = given.get("lines") or defaults(lm)["lines"]
    if lines > 1 and not lm.carry:
        raise InputError("this model carries no state from line to line, so it has no use for lines: ask for n texts instead")
    prompts = _prompts(given.get("prompt", ""), model, bounds)
    n, logprobs = given.get("n", 1), given.get("logprobs")
    if len(prompts) * n > bounds.max_sequences:
        raise Refused(
            400, f"{len(prompts):,} prompts × n {n:,} are too many texts: ask for {bounds.max_sequences:,} at most", "n"
        )
    most = given.get("max_tokens", min(Settings.max_length, bounds.max_length))
    numbers = n * sum(len(prompt) + most for prompt in prompts) * (1 + (logprobs or 0))
    if numbers > bounds.max_numbers:
        raise Refused(
            400, f"this asks for up to {numbers:,} numbers, and {bounds.max_numbers:,} is the most: ask for less at a time"
        )
    heads = tuple(int(len(prompt) > 0 and prompt[0] == EOS) for prompt in prompts)
    return Asked(
        name,
        model,
        tuple(prompt[head:] for prompt, head in zip(prompts, heads, strict=True)),
        heads,
        Settings(
            **{field: value for field, value in given.items() if field in DRAWING and field != "lines"}, max_length=max(1, most)
        ),
        lines,
        most,
        given["seed"] if "seed" in given else secrets.randbelow(1 << 31),
        n,
        given.get("echo", False),
        logprobs,
        given.get("stop", ()),
        given.get("stream", False),
        bool((given.get("stream_options") or {}).get("include_usage")),
    )


def _prompts(given: Any, model: Model, bounds: Bounds) -> list[np.ndarray]:
    """The ids of a prompt, which is a text or ids, or of several."""
    several = given if isinstance(given, list) and given and not isinstance(given[0], int) else [given]
    if len(several) > bounds.max_prompts:
        raise Refused(400, f"{len(several):,} prompts are too many: send {bounds.max_prompts:,} at most", "prompt")
    return [ids_of(one, model, "prompt") for one in several]


def ids_of(given: Any, model: Model, field: str) -> np.ndarray:
    """The ids of a text, or the ids given. Raises Refused for another value."""
    vocab = model.lm.vocab
    if isinstance(given, str):
        return encode(vocab, given, BETWEEN[model.lm.sequence])
    if isinstance(given, list) and all(type(id) is int and 0 <= id < len(vocab) for id in given):
        return np.array(given, np.int32)
    least = f"give a text, or ids from 0 to {len(vocab) - 1:,}"
    raise Refused(400, f"{field}: {kinds.quoted(given)} cannot be used: {least}", field)
