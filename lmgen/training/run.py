"""A training in a model directory: started, reported, saved, stopped, resumed.

What is written: config.json, vocab.json and known.safetensors at the start; metrics.jsonl as it goes; model.safetensors and
README.md whenever a validation is the best so far; a snapshot under train/ from which resume continues, to the bit. Of several
processes the first one writes; the others follow it.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import struct
from collections.abc import Generator, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lmgen import loading
from lmgen._version import __version__
from lmgen.data.vocab import UNITS
from lmgen.defaults import labelling, language
from lmgen.defaults.choices import CHOICES
from lmgen.defaults.config import Progress, StepReport, TrainingConfig
from lmgen.defaults.pace import Pace
from lmgen.errors import CheckpointError, InputError, LmgenError
from lmgen.models import kinds, mixed, recurrent, schema
from lmgen.models.provenance import Provenance, TextSettings, same_text
from lmgen.nn import model
from lmgen.nn.precision import precision_of
from lmgen.nn.regularisation.dropout import described
from lmgen.options import table
from lmgen.system import arrayfile, checkpoint, devices, directories, files, trees
from lmgen.system.cluster import group
from lmgen.tasks import task_of
from lmgen.training import counting, metrics, parallel
from lmgen.training.card import card, of_text, reading
from lmgen.training.finishing import finish, mixture
from lmgen.training.loop import Training
from lmgen.training.plans import measured
from lmgen.training.step import State, begin, given_of

SAVE_SECONDS = 30  # a snapshot is written at least so often
Weights = tuple[arrayfile.Arrays, dict[str, Any], bytes, int]  # of a network, their metadata, README.md, which network it is


class Run:
    """A training and its directory. Iterating trains; `save` can be called between reports and is called at the end."""

    def __init__(
        self,
        place: directories.Place,
        data: Any,
        network: model.NetworkConfig,
        config: TrainingConfig,
        text: TextSettings,
        state: State | None = None,
        progress: Progress | None = None,
        given: model.Params | None = None,
    ):
        self.place, self.data, self.network, self.config, self.text = place, data, network, config, text
        self.writes = group.number() == 0
        self.trouble = ""  # why the last save failed
        self._better: Weights | None = None  # the best weights, until they are written
        self._validated: tuple[int, float | None] = (0, None)  # step of the last validation, and its nats where they are finite
        self._facts: dict[str, Any] = {}  # that it found
        self.kind = loading.type_of(vars(network)).kind
        task = task_of(network, config.precision)
        batches = parallel.batches(task, data.train, config)
        validate, valid_symbols = (self._validate, data.valid.symbols) if data.valid else (None, 0)
        self.training = Training(config, task, batches, validate, state, progress, valid_symbols, given)
        self.saved = self.progress.step  # the step of the newest snapshot
        self.finished: finish.Finished | None = None  # what was made of the network at the end
        if self._finishes:
            self.training.finishing = finish.validations(data) if self._mixes else config.members

    @property
    def path(self) -> Path:
        """What the directory is called, once there is something to use in it."""
        return self.place.path

    @property
    def progress(self) -> Progress:
        return self.training.progress

    @property
    def _mixes(self) -> bool:
        """Whether the network is to be mixed with an n-gram model of its text."""
        return self.kind is kinds.RECURRENT and self.config.mixture and self.data.valid is not None

    @property
    def _finishes(self) -> bool:
        """Whether the network is to be joined with others, or with n-grams."""
        return self._mixes or ("members" in self.kind.parts and self.config.members > 1)

    def language_model(self, params: model.Params | None = None) -> Any:
        """The model as it is now (or with other parameters), for a sample or a look."""
        kind, origin = loading.type_of(vars(self.network)), Provenance(self.text, self.data.known, self.path)
        params = parallel.local(self.training.state.kept) if params is None else params
        network, params = self.training.task.folded(params, self.data.vocab)
        return kind(network, params, self.data.vocab, self.config.precision, origin)  # type: ignore[call-arg]

    def __iter__(self) -> Generator[StepReport, None, None]:
        lines = metrics.Writer(self._metrics)
        with memory_of(self.network, self.config):
            saved, ngrams = self.training.seconds, self._counted()
            for report in self.training:
                lines.add(report)
                if report.valid_nats is not None:
                    self._validated = report.step, report.valid_nats if math.isfinite(report.valid_nats) else None
                if report.best and self.config.keep == "best" and self.writes:
                    self._better = self._weights(report.valid_nats)
                if report.valid_nats is not None or self.progress.finished or self.training.seconds - saved > SAVE_SECONDS:
                    with contextlib.suppress(LmgenError):
                        self.save()
                    lines.path = self._metrics
                    saved = self.training.seconds
                    self.trouble = self.trouble or lines.trouble
                    report = replace(report, trouble=self.trouble)
                yield report
            if self.progress.finished and self._finishes:
                self._finish(ngrams)

    def _counted(self) -> counting.Fitted | None:
        """The n-gram model of the text."""
        return mixture.counted(self.data, self.network.carry, self.config.budget) if self._mixes else None

    def _finish(self, ngrams: counting.Fitted | None) -> None:
        """Make the best of the networks that were kept and the n-grams, and write it."""
        parts: list[arrayfile.Arrays] = []
        about: dict[str, Any] = {}
        if self.writes and self.place.published and not self.trouble:
            arrays, about, _ = checkpoint.read_model(self.place.folder)
            parts = [arrays, *(checkpoint.read_member(self.place.folder, k) for k in range(1, self.progress.member + 1))]
        if group.count() > 1:
            sent = [group.sent(arrayfile.content(one)) for one in parts or [{}] * (self.progress.member + 1)]
            parts = [arrayfile.arrays_of(one) for one in sent]
        if not any(parts):
            return
        origin = Provenance(self.text, self.data.known, self.path, about)
        kind: Any = loading.type_of(vars(self.network))
        networks = [kind.from_arrays(self.network, one, self.data.vocab, self.config.precision, origin) for one in parts]
        valid = self.data.valid
        self.finished = found = finish.finished(networks, ngrams, valid.stream) if ngrams else finish.averaged(networks, valid)
        if not self.writes:
            return
        try:
            mixed.forget(self.place.folder)
            if found.temperature != 1:
                checkpoint.write_model(self.place.folder, found.network.arrays(), found.network.provenance.about)
            if found.mixed:
                mixed.write(self.place.folder, found.mixed, found.times)
            page = self._page(about["parameters"], found.best.provenance.about["valid_nats"], found.rows)
            files.write_bytes(self.place.folder / "README.md", page)
        except LmgenError as error:
            self.trouble = str(error)

    @property
    def _metrics(self) -> Path:
        return self.place.folder / "metrics.jsonl" if self.writes else Path(os.devnull)

    def save(self) -> None:
        """Write the weights to keep, unless they are written already, and a snapshot.

        The last weights are kept if the user asks for them, or if no validation gave a finite loss. Raises LmgenError if writing
        fails, and keeps its sentence in `trouble`: training can continue, and the next save tries again.
        """
        self.training.settle()
        state = parallel.whole(self.training.state)
        if not self.writes:
            return
        if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params)):
            return  # such weights are useless, and the training is about to report it
        keeps_last = self.config.keep == "last" or self.progress.best_nats is None
        step, nats = self._validated
        weights = self._weights(nats if step == self.progress.step else None) if keeps_last else self._better
        try:
            if weights:
                self._write(*weights)
                self._better = None
            arrays = trees.flatten(state._asdict())
            about = {"progress": asdict(self.progress), "text_sha256": self.data.sha256, "train": asdict(self.config)}
            checkpoint.write_snapshot(self.place.folder, self.progress.step, arrays, about)
            self.place.publish()
            self.trouble, self.saved = "", self.progress.step
        except LmgenError as error:
            self.trouble = str(error)
            if self._better:  # the next step takes its arrays
                self._better = {name: a.copy() for name, a in self._better[0].items()}, *self._better[1:]
            raise

    def _write(self, arrays: arrayfile.Arrays, about: dict[str, Any], page: bytes, member: int) -> None:
        """Write the weights to keep of a network; those of the first one are the model until all are trained."""
        if member:
            checkpoint.write_member(self.place.folder, member, arrays, about)
            return
        mixed.forget(self.place.folder)
        checkpoint.write_model(self.place.folder, arrays, about)
        files.write_bytes(self.place.folder / "README.md", page)

    def _validate(self, params: model.Params) -> float:
        nats, self._facts = self.language_model(params).validate(self.data.valid)
        return nats

    def _weights(self, valid_nats: float | None) -> Weights:
        params = self.language_model().params
        parameters, step = model.parameters(params), self.progress.step
        about = {"step": step, "valid_nats": valid_nats, "parameters": parameters, "text_sha256": self.data.sha256}
        about |= self._facts
        return trees.flatten(params), about, self._page(parameters, valid_nats), self.progress.member

    def _page(self, parameters: int, valid_nats: float | None, further: Mapping[str, str] = MappingProxyType({})) -> bytes:
        """README.md, with further rows."""
        network, config, kind = self.network, self.config, self.kind
        tied, letters = ", tied" * network.tie, ", words with their letters" * network.hashed
        rows = {
            "network": f"{network.describe()}, embedding {network.embedding}{tied}{letters}, {described(network)}",
            "parameters": f"{parameters:,}",
            **further,
            "read as": f"{kind.nouns[1]}s" if kind.nouns[1] else reading(self.data.vocab, self.text.sequence, network.carry),
            "steps": f"{self.progress.step:,} of {config.batch} × {config.window} {kind.nouns[0]}s",
            "seed": str(config.seed),
            **of_text(self.data, self.text, valid_nats, f"{kind.nats} a {kind.per}", kind.nouns),
        }
        return card(self.path.name, kind.title, rows, kind.command).encode("utf-8", "replace")


@dataclass(frozen=True)
class Chosen:
    """All that a training is to be: its text, encoded and as it is read, the network, the training, the model to start from, and
    the plan by which they were chosen, where the text is plain."""

    data: Any
    text: TextSettings
    network: model.NetworkConfig
    config: TrainingConfig
    start: Any = None
    plan: language.Plan | None = None


def chosen(text: TextSettings, data: Any = None, pace: Pace | None = None, **options: Any) -> Chosen:
    """Read the text and choose the options that are missing or None; nothing is written.

    `options` are those of the vocabulary, the network, the training and its end. Plain text that is read already is `data`, and a
    pace that is known is not measured. Raises InputError for a text or an option that cannot be used.
    """
    table.refuse_unknown(options, table.names(*table.MODELS))
    vocabulary, wanted = table.belonging(options, "vocabulary"), table.belonging(options, *table.MODELS[1:])
    language.check(wanted)
    carry = vocabulary.get("carry", False)
    network: model.NetworkConfig
    start, plan = None, None
    if text.form:
        start = labelling.start_of(wanted)
        unit = vocabulary.pop("unit", None) or (start.vocab.unit if start else None)
        if start and unit == start.vocab.unit:  # other subwords would be unknown to it; words that only it has seen are known
            vocabulary |= {"vocab": start.vocab} if UNITS[unit].learns else {"learnt": start.vocab.symbols}
        vectors = {} if wanted.get("vectors") is None else {"vectors_of": wanted["vectors"]}
        data = text.load(unit, **vocabulary, **vectors)
        network, train = CHOICES[text.task or ""](data, text.task or "", carry, wanted, start)
    else:
        data = data or text.load(**vocabulary)
        plan = language.plan(data, carry, wanted, pace or measured.pace(wanted.get("budget")))
        hashed = wanted.get("input") == "hash"
        if hashed and not (unit := data.vocab.unit).startswith("word"):
            raise InputError(f"--input hash reads the letters of words, and the unit is {unit}: add --unit word, or leave it out")
        network = model.NetworkConfig(vocab=len(data.vocab), carry=carry, hashed=hashed, **plan.shape)
        train = plan.train
    if (wanted.get("members") or 1) > 1 and data.valid is None:
        raise InputError("--members are kept where validation gains, and this text is too short to hold some back: give --valid")
    config = TrainingConfig(**{**train, "precision": precision_of(train.get("precision", "auto"), network.cell)})
    if wanted.get("batch") is None and not text.form:
        config = replace(config, batch=parallel.rounded(config.batch))
    return Chosen(data, replace(text, split=data.split), network, config, start, plan)


def new(place: directories.Place | Path, text: TextSettings, **options: Any) -> Run:
    """Choose what is open (see `chosen`) and begin the directory; nothing is trained yet. Raises InputError for a directory that
    cannot be used, too."""
    place = directories.Place(place) if isinstance(place, Path) else place
    found = chosen(text, **options)
    data, text, network, config = found.data, found.text, found.network, found.config
    settings = {"lmgen": __version__, "model": asdict(network), "train": asdict(config), "text": asdict(text)}
    with memory_of(network, config):
        language.check_memory(network, config)
        checkpoint.create(place.folder, {"config.json": checkpoint.config_text(settings), "vocab.json": data.vocab.to_json()})
        checkpoint.write_known(place.folder, data.known)
        given = labelling.given(network, data, found.start) if text.form else {}
        if text.form and config.members > 1:  # what they came from may be gone when the next network begins
            checkpoint.write_given(place.folder, trees.flatten(given))
        return Run(place, data, network, config, text, given=given)


def invitation(run: Run) -> bytes:
    """All that another process needs in order to follow a training that is about to start; the text it reads itself."""
    settings = {"lmgen": __version__, "model": asdict(run.network), "train": asdict(run.config), "text": asdict(run.text)}
    texts = {"config.json": checkpoint.config_text(settings), "vocab.json": run.data.vocab.to_json()}
    about = {"path": str(run.path), "texts": texts, "progress": asdict(run.progress), "text_sha256": run.data.sha256}
    header = json.dumps(about).encode()
    arrays = trees.flatten({**run.training.state._asdict(), "given": run.training.given})
    return struct.pack("<Q", len(header)) + header + arrayfile.content(arrays)


def follow(invited: bytes) -> Run:
    """The training that process 0 leads, in another process, which writes nothing. Raises InputError where the text differs."""
    length = 8 + struct.unpack_from("<Q", invited)[0]
    about = json.loads(invited[8:length])
    path, progress = Path(about["path"]), Progress(**about["progress"])
    vocab, network, settings = loading.described(path, about["texts"])
    config, text = TrainingConfig(**settings["train"]), TextSettings.of(settings["text"])
    data = same_text(path, text, vocab, network.carry, about["text_sha256"], network.names)
    arrays = arrayfile.arrays_of(invited[length:])
    given = {name.removeprefix("given/"): arrays.pop(name) for name in [*arrays] if name.startswith("given/")}
    state = _state(network, config, arrays, str(path))
    return Run(directories.Place(path), data, network, config, text, state, progress, given_of(state, given, str(path)))


def _state(network: model.NetworkConfig, config: TrainingConfig, arrays: arrayfile.Arrays, where: str) -> State:
    """The state of a training, of its arrays. Raises CheckpointError where they do not fit."""
    template = jax.eval_shape(partial(begin, task_of(network, config.precision), config))._asdict()
    return State(**jax.tree.map(jnp.asarray, trees.unflatten(template, arrays, where)))


@contextlib.contextmanager
def memory_of(network: model.NetworkConfig, config: TrainingConfig) -> Iterator[None]:
    """Raise LmgenError, with the memory needed and smaller settings, if there is not enough."""
    try:
        yield
    except (MemoryError, RuntimeError, ValueError) as error:  # JAX raises any of them
        if not devices.out_of_memory(error):
            raise
        raise LmgenError(language.too_large(network, config, devices.asked_for(error))) from None


def resume(path: Path, files: TextSettings | None = None, changed_text: bool = False, **wanted: Any) -> tuple[Run, list[str]]:
    """The training of the newest intact snapshot, and a sentence for each damaged one.

    `wanted` may hold a new end (steps, epochs or budget), `files` a new place of the same text. Raises CheckpointError if there
    is nothing to resume, InputError if the text has changed and `changed_text` does not allow it.
    """
    language.check(wanted)
    arrays, about, texts, complaints = checkpoint.read_snapshot(path)
    vocab, network, settings = loading.described(path, texts)
    if not settings["train"]:
        raise CheckpointError(f"{path} was fitted in one go, so there is nothing to resume: train it anew")
    recurrent.check(network, {name: a for name, a in arrays.items() if name.startswith("params/")}, str(path))
    config, progress = _left_off(path, about)
    parallel.check(config.batch, path)
    ends = {name: wanted[name] for name in table.names("end") if wanted.get(name) is not None}
    if ends:
        config = config.until(ends, progress.member)
        progress = replace(progress, finished="", since_best=0, scale=1.0) if progress.finished else progress
    text = TextSettings.of(settings["text"])
    if files:
        target = files.target or text.target
        text = replace(text, files=files.files, valid_files=files.valid_files or text.valid_files, target=target)
    data = same_text(path, text, vocab, network.carry, None if changed_text else about["text_sha256"], network.names)
    state = _state(network, config, arrays, str(path))
    if data.sha256 != about["text_sha256"]:  # what was best on another text is not best on this one
        progress = replace(progress, best_nats=None, best_step=0, since_best=0, scale=1.0)
    given = given_of(state, checkpoint.read_given(path), str(path)) if text.form and config.members > 1 else None
    if progress.best_nats is not None:
        try:
            checkpoint.read_model(path)
            if progress.member:
                checkpoint.read_member(path, progress.member)
        except CheckpointError as error:
            complaints.append(f"{str(error).rpartition(': ')[0] or error}; the next validation writes the model anew")
            progress = replace(progress, best_nats=None, since_best=0)
    resumed = Run(directories.Place(path), data, network, config, text, state, progress, given)
    if ends and resumed.training.over:
        behind = f"{progress.step:,} steps in {round(progress.seconds):,} s"
        enough = f", such as --budget {1 + int(1.05 * resumed.training.enough)}s" if "budget" in ends else ""
        raise InputError(f"{path} has been trained for {behind}, so it is past that end: give a later one{enough}")
    checkpoint.write_known(path, data.known)
    checkpoint.change_config(path, {**settings, "train": asdict(config), "text": asdict(text)})
    metrics.forget_later(path / "metrics.jsonl", progress.step)
    return resumed, complaints


def _left_off(path: Path, about: dict[str, Any]) -> tuple[TrainingConfig, Progress]:
    """Settings and progress of the training in a snapshot. Raises CheckpointError if they are missing or unusable."""
    train: Any = about.get("train")
    progress: Any = about.get("progress")
    why = schema.wrong(train, schema.TRAINING) or schema.wrong(progress, schema.PROGRESS)
    if not why and (not about.get("text_sha256") or schema.SHA256.fault(about["text_sha256"])):
        why = "there is no text_sha256"
    if not why:
        config = TrainingConfig(**train)
        if config.symbols <= language.MOST_A_STEP and (config.steps, config.epochs, config.budget) != (None, None, None):
            return config, Progress(**progress)
        why = "a step or the end is out of reach"
    raise CheckpointError(f"the snapshot of {path} does not say how to go on ({why}): train it anew")
