"""What models can do: a class for each capability, and the one error for a model that lacks it.

A kind of model inherits from the capabilities that it has, and the rest of the program asks for these. Shapes: T time, B batch, V
vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, TypeGuard, TypeVar

import numpy as np
from jax import Array
from jax.typing import ArrayLike

from lmgen.data.split import WHOLE, Split, fingerprint
from lmgen.data.vocab import Vocab
from lmgen.errors import CheckpointError, InputError
from lmgen.labelled.corpus import sides
from lmgen.models.columns import Columns
from lmgen.models.kinds import Kind
from lmgen.models.provenance import Origin, Provenance, same_text
from lmgen.options.kinds import quoted
from lmgen.system.arrayfile import Arrays

State = Any  # what a model remembers of the symbols that it has read


class Model:
    """What every model has. A kind of model is a subclass, described in `kinds.py` and named in the table of `loading.py`."""

    kind: ClassVar[Kind]
    configuration: ClassVar[Callable[..., Any]]

    config: Any
    vocab: Vocab
    provenance: Provenance

    @classmethod
    def from_arrays(cls, config: Any, arrays: Arrays, vocab: Vocab, precision: str, provenance: Provenance) -> Model:
        """A model from its saved arrays. Raises CheckpointError for arrays that do not fit the configuration."""
        raise NotImplementedError

    def arrays(self) -> Arrays:
        """The weights by name, as they are saved."""
        raise NotImplementedError

    @property
    def carry(self) -> bool:
        """Whether the state is carried over EOS."""
        return self.config.carry

    @property
    def sequence(self) -> str:
        """What a sequence of the corpus is: a line, a paragraph or a file."""
        return self.provenance.text.sequence

    @property
    def known(self) -> np.ndarray | None:
        """The sorted fingerprints of the corpus's sequences."""
        return self.provenance.known

    @property
    def path(self) -> Path | None:
        """The model directory."""
        return self.provenance.path

    @property
    def origin(self) -> Origin:
        """The training text. Raises InputError where it is missing or has changed."""
        return self.provenance.origin(self.vocab, self.carry)

    def fingerprints(self, text: str) -> list[int]:
        """Those of which one is among the known ones where a text is in the corpus."""
        return [fingerprint(text)]


class Taught(Model):
    """A model of text with a structure: labels, pairs."""

    @cached_property
    def labels(self) -> Any:
        """The names of the labels and tags."""
        return self.config.names

    @cached_property
    def _split(self) -> Split:
        """The split of the training text. Raises InputError where that is missing or has changed."""
        path, about = self.path, self.provenance.about
        if path is None or not about.get("text_sha256"):
            raise InputError(f"the text that {path or 'this model'} was trained on is not known: name a file to measure")
        return same_text(path, self.provenance.text, self.vocab, False, about["text_sha256"], self.labels).split

    def training_examples(self) -> Iterator[Any]:
        """The examples that it was trained on. Raises InputError where they are missing or have changed."""
        split = self._split
        return (one for held_out, one in sides(self.provenance.text.examples()[0], split) if not held_out)

    @cached_property
    def training_fingerprints(self) -> np.ndarray:
        """The sorted fingerprints of what was read of them. Raises as `training_examples` does."""
        return np.sort(np.fromiter((fingerprint(one.joined) for one in self.training_examples()), np.uint64))

    def held_out_examples(self) -> Iterator[Any]:
        """The examples on which it was validated. Raises InputError where there are none."""
        split, (text, valid) = self._split, self.provenance.text.examples()
        if valid:
            return iter(valid)
        if split == WHOLE:
            raise InputError("no text was held out in training: name a file to measure")
        return (one for held_out, one in sides(text, split) if held_out)

    def examples_of(self, paths: Sequence[Path], encoding: str = "utf-8", errors: str = "strict") -> Any:
        """The examples of files, in the form that these show or else in that of the training text."""
        return replace(self.provenance.text, encoding=encoding, errors=errors).examples_like(paths)


class Scores(Model):
    """Gives the nats of each symbol of a text."""

    pseudo: ClassVar[bool] = False  # whether a symbol's nats depend on the symbols after it, so that they give no probability

    def start(self, batch: int) -> State:
        """The state before anything is read."""
        raise NotImplementedError

    def read_columns(self, columns: Columns, state: State) -> Iterator[tuple[State, ArrayLike]]:
        """The state after each window of the columns, and −ln p [T, B] of its symbols."""
        raise NotImplementedError

    def logits_of_columns(self, columns: Columns, state: State) -> Iterator[tuple[State, ArrayLike]]:
        """The state after each window of the columns, and the logits [T, B, V] of its symbols."""
        raise NotImplementedError

    def counted(self, targets: np.ndarray) -> np.ndarray:
        """Which symbols are predicted; all, unless a kind of model says otherwise."""
        return np.ones(targets.shape, bool)


class Generates(Scores):
    """Predicts each symbol from those before it: it writes, and its nats are those of the text."""

    def read(self, state: State, ids: ArrayLike) -> tuple[State, Any]:
        """Read ids [T, B]; the state after them and the logits [T, B, V] of what follows each."""
        raise NotImplementedError

    def nats(self, state: State, window: ArrayLike) -> tuple[State, Any]:
        """Read window[:-1] of [T + 1, B]; the state after it and −ln p [T, B] of each following id."""
        raise NotImplementedError

    def read_columns(self, columns: Columns, state: State) -> Iterator[tuple[State, ArrayLike]]:
        for row, length in columns.windows:
            state, nats = self.nats(state, columns.ids(row, length + 1)[0])
            yield state, nats

    def logits_of_columns(self, columns: Columns, state: State) -> Iterator[tuple[State, ArrayLike]]:
        for row, length in columns.windows:
            state, logits = self.read(state, columns.ids(row, length)[0])
            yield state, logits


class RunsCompiled(Generates):
    """Can be read within a loop that JAX or the kernels compile."""

    params: Any
    precision: str

    def stepper(self) -> tuple[Any, Callable[[Any, State, Array], tuple[State, Array]]]:
        """Weights, and a function (weights, state, ids [B]) -> (state, logits [B, V])."""
        raise NotImplementedError


class Adapts(Generates):
    """Is a network that can learn from a text while it reads it, as `evaluation.adaptive` does."""

    params: Any
    precision: str


class ShowsUnits(Model):
    """Is a network whose units can be watched, as `evaluation.inspection` does, from left to right and, with params["back"], from
    right to left."""

    params: Any
    precision: str


class Fills(Model):
    """Predicts a symbol from those on both sides of it."""

    def logits(self, window: ArrayLike, beyond: ArrayLike, place: ArrayLike) -> Array:
        """The logits [B, V] of the symbol at one place of each whole text [T + 2, B], given the rest of the text."""
        raise NotImplementedError


class Predicts(Model):
    """Predicts what belongs to a text: labels, tags, a translation."""

    def predict(self, texts: Iterable[Any]) -> Iterator[Any]:
        """The predictions for texts, in order; None among them asks for those of the texts before it."""
        raise NotImplementedError


class ScoresPairs(Predicts):
    """Gives the nats of targets, given their sources."""

    def score(self, pairs: Iterable[Any]) -> Iterator[Any]:
        """−ln p of the target of each pair, in order; None among them asks for the scores of those before it."""
        raise NotImplementedError


class Conditions(Generates):
    """Writes by a label."""

    def by(self, weights: Mapping[str, float]) -> Model:
        """The model that writes by a label or, of several with their weights, by the mean of their vectors."""
        raise NotImplementedError


class HoldsNGrams(Model):
    """Holds n-grams with their probabilities, as an ARPA file does."""

    levels: list[Any]


VERBS: dict[type[Model], str] = {
    Scores: "score a text",
    Generates: "write plain text",
    RunsCompiled: "run in a compiled loop",
    Adapts: "adapt while it reads",
    ShowsUnits: "show its units",
    Fills: "fill blanks",
    Predicts: "predict labels or translations",
    ScoresPairs: "score pairs",
    Conditions: "write by label",
    HoldsNGrams: "be written as n-grams",
}

Capability = TypeVar("Capability", bound=Model)


def can(model: Model, capability: type[Capability]) -> TypeGuard[Capability]:
    """Whether a model has a capability."""
    return isinstance(model, capability)


def require(model: Model, capability: type[Capability], way_out: str) -> Capability:
    """The model, which has the capability. Raises InputError with a way out, in which {command} is the model's own, if it has
    not."""
    if not can(model, capability):
        way_out = way_out.format(command=model.kind.command)
        raise InputError(f"this model is {model.kind.noun} and cannot {VERBS[capability]}: {way_out}")
    return model


def each(texts: Iterable[Any], wanted: type | tuple[type, ...], noun: str) -> Iterator[Any]:
    """What is to be predicted of, and None among it. Raises InputError for anything else than is wanted, which is a `noun`."""
    for one in texts if isinstance(texts, Iterable) else [texts]:
        if one is not None and not isinstance(one, wanted):
            raise InputError(f"{quoted(one)} is not {noun}, so nothing can be predicted of it: give one, or several in a list")
        yield one


def finite(numbers: np.ndarray) -> np.ndarray:
    """What a model computed. Raises CheckpointError if it is not finite, because the weights are too large."""
    if not np.isfinite(numbers).all():
        raise CheckpointError("the weights of this model lead to numbers that are not finite: train it anew")
    return numbers
