"""The Python side: what the commands do, as functions on values. Nothing here prints or exits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

from lmgen import checkpoint, corpus, evaluate, fit, lm, run, text
from lmgen.errors import DivergedError, InputError
from lmgen.evaluate import BATCH, WINDOW, Measures, PseudoMeasures, Score, measure
from lmgen.fill import Filling, fillings
from lmgen.sample import Sample, Settings, distinct_samples, samples
from lmgen.scorecard import Judge, Source


class Model:
    """A trained model: `sample` writes, `score` and `evaluate` measure; one of both directions fills blanks instead of writing.

    `lm` is what they work on.
    """

    def __init__(self, lm: lm.Recurrent | lm.Cloze | lm.Counted):
        self.lm = lm

    def __repr__(self) -> str:
        config = self.lm.config
        return f"<lmgen.Model {config.describe()}, {config.vocab} symbols, {self.lm.path}>"

    @property
    def fills(self) -> bool:
        """Whether it is a cloze model."""
        return isinstance(self.lm, lm.Cloze)

    def sample(
        self,
        n: int = 10,
        *,
        prompt: str = "",
        seed: int = 0,
        novel: bool = False,
        distinct: bool = False,
        **settings: Any,
    ) -> list[Sample]:
        """`n` sequences; `settings` are the fields of `lmgen.sample.Settings` (temperature, top_k, …).

        With `distinct` without repeats, with `novel` moreover only new ones: fewer than `n` where the model draws no more.
        """
        return list(self.samples(n, prompt=prompt, seed=seed, novel=novel, distinct=distinct, **settings))

    def samples(
        self,
        n: int = 10,
        *,
        prompt: str = "",
        seed: int = 0,
        novel: bool = False,
        distinct: bool = False,
        **settings: Any,
    ) -> Iterator[Sample]:
        """As `sample`, one by one as they are drawn."""
        drawn = samples(self.lm, Settings(**settings), seed, prompt, wanted=n)
        return distinct_samples(drawn, n, novel) if novel or distinct else islice(drawn, n)

    @property
    def trained_on(self) -> run.TextSettings:
        """Where the text is that it was trained on, and how it was read."""
        return run.text_of(self.lm)

    def fill(self, text: str, n: int = 5, blank: str = "_") -> list[Filling]:
        """The `n` likeliest fillings of the blanks of a text: each mark is one character, a run of marks one word.

        Raises InputError for a text without a blank and for a model that reads from left to right only.
        """
        if not isinstance(self.lm, lm.Cloze):
            raise InputError(
                "this model reads from left to right only and sees nothing behind a blank: train one with --direction both"
            )
        return fillings(self.lm, text, n, blank)

    def score(self, sequences: Iterable[str | None]) -> Iterator[Score]:
        """The nats of each sequence, in all and symbol by symbol; with a carried state each goes on from the one before.

        They are scored many at a time; None among them asks for the scores of those before it.
        """
        return evaluate.scores(self.lm, sequences)

    def evaluate(
        self, *files: str | Path, encoding: str = "utf-8", errors: str = "strict", batch: int = BATCH, window: int = WINDOW
    ) -> Measures | PseudoMeasures:
        """The measures of files, read as the model's corpus was read; without files, of the text that it was validated on.

        Raises InputError for what cannot be read.
        """
        ids = self.source(*files, encoding=encoding, errors=errors).ids if files else run.origin(self.lm).validation()
        return measure(self.lm, ids, batch, window)

    def judge(
        self,
        other: Model | str | Path | None = None,
        precision: str = "auto",
        *,
        batch: int = BATCH,
        window: int = WINDOW,
        cold: bool = False,
    ) -> Judge:
        """What makes scorecards: measures beside baselines; with another model, of the mixture of both; with `cold`, of windows
        that start from an empty state."""
        second = load(other, precision) if isinstance(other, str | Path) else other
        return Judge(self.lm, second.lm if second else None, batch, window, cold)

    def source(self, *files: str | Path, encoding: str = "utf-8", errors: str = "strict") -> Source:
        """Files as one text to be measured. Raises InputError for what cannot be read, or where there is nothing in it."""
        return self._source(text.find([str(f) for f in files]), encoding, errors, None)

    def sources(
        self, *files: str | Path, encoding: str = "utf-8", errors: str = "strict", note: Callable[[str], None] | None = None
    ) -> Iterator[Source]:
        """Each of the files as a text to be measured; `note` is told in sentences what was met in it."""
        for path in [path for name in files for path in text.find([str(name)])]:
            yield self._source([path], encoding, errors, note)

    def _source(self, paths: list[Path], encoding: str, errors: str, note: Callable[[str], None] | None) -> Source:
        of = text.Text(paths, self.lm.sequence, self.lm.carry, encoding, errors)
        ids = corpus.encode(iter(of), self.lm.vocab)
        for line in of.notes:
            if note:
                note(line)
        if not ids.symbols:
            raise InputError(f"there is no text in {text.names_of(of.paths)}: give a file with at least one line of it")
        return Source(text.names_of(paths), ids, lambda: iter(of))


def load(name: str | Path | None = None, precision: str = "auto") -> Model:
    """The model of a directory, of a name under checkpoints/, or the newest there; CheckpointError for what is no model."""
    return Model(lm.load(name, precision))


def train(
    *files: str | Path,
    valid: str | Path | None = None,
    output: str | Path | None = None,
    sequence: str = "line",
    encoding: str = "utf-8",
    errors: str = "strict",
    **wanted: Any,
) -> Model:
    """Train on files to the end and return the best model; options are those of `lmgen train`, with underscores.

    Raises InputError for texts and options that cannot be used, DivergedError where no step succeeds, LmgenError where the last
    save fails.
    """
    if not files:
        raise InputError("what shall it learn? Give a text file, or cities, a corpus that ships")
    paths = text.find([str(f) for f in files])
    valid_paths = text.find([str(valid)]) if valid else []
    settings = run.TextSettings(absolute(paths), absolute(valid_paths), sequence, encoding, errors)
    path = Path(output) if output else checkpoint.free(checkpoint.HOME / default_name([str(f) for f in files]))
    if wanted.get("cell") == "ngram":
        fit.new(path, settings, **wanted)
        return load(path)
    started = run.new(path, settings, **wanted)
    with checkpoint.locked(path), closing(iter(started)) as reports:
        for _ in reports:
            pass
        if started.trouble:
            started.save()
    if not (path / "model.safetensors").exists():
        raise DivergedError("no validation gave a finite loss: train again with a smaller --learning-rate")
    return load(path, started.config.precision)


def absolute(paths: Iterable[Path]) -> tuple[str, ...]:
    """Paths that still hold when a training is resumed from another folder."""
    return tuple(str(p.absolute()) for p in paths)


def default_name(files: list[str]) -> str:
    """What a model is called: after its first file, or after that file's folder where the file's name says nothing."""
    first = Path(files[0]).absolute()
    says_nothing = first.stem in ("train", "all", "input", "text", "data", "corpus")
    name = "stdin" if files[0] == "-" else first.parent.name if says_nothing else first.stem
    return checkpoint.safe_name(name or first.stem)
