"""The structures of data that are more than a stream of sequences, each described by an entry of STRUCTURES.

To add one: a module that recognises, reads and encodes it, and its entry.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmgen.data.finding import names_of
from lmgen.errors import InputError
from lmgen.labelled import corpus, examples
from lmgen.labelled.examples import Found
from lmgen.structured import bitext, forest, graphs, pairs, trees, views


@dataclass(frozen=True)
class Structure:
    """A structure of data: the `tasks` that can be learnt of it, its `forms` with the words of a message for each, and functions
    that recognise it in files, open the files as a stream of examples (with `sha256` and `notes` after a pass), read as the
    fields of TextSettings say, and load such a stream in numbers; and the `view` that a report has of it.

    `named` is asked where a task of the structure was named and nothing is recognised.
    """

    tasks: tuple[str, ...]
    forms: Mapping[str, str]
    recognise: Callable[[Sequence[Path]], Found | None]
    named: Callable[[Sequence[Path]], Found | None]
    open: Callable[[Sequence[Path], Any], Any]
    load: Callable[..., Any]
    view: views.View


def _examples(paths: Sequence[Path], how: Any) -> examples.Examples:
    return examples.Examples(paths, how.form, how.column, how.separator, how.encoding, how.errors, how.normal)


LABELS = Structure(
    ("tag", "classify", "tag-classify", "generate"),
    {form: form for form in examples.FORMS},
    examples.recognise,
    examples.named,
    _examples,
    corpus.load,
    views.LABELS,
)
GRAPHS = Structure(
    (graphs.TASK,),
    {graphs.FORM: "JSON objects with nodes and edges, one a line"},
    graphs.recognise,
    graphs.named,
    lambda paths, how: graphs.Graphs(paths, how.encoding, how.errors),
    graphs.load,
    views.GRAPHS,
)
PAIRS = Structure(
    ("translate",),
    pairs.FORMS,
    pairs.recognise,
    pairs.named,
    pairs.open_,
    bitext.load,
    views.PAIRS,
)
TREES = Structure(
    (trees.TASK,),
    {trees.FORM: "trees in brackets"},
    trees.recognise,
    lambda paths: Found(trees.FORM, trees.TASK, f"--task {trees.TASK} was given"),
    lambda paths, how: trees.Trees(paths, how.encoding, how.errors),
    forest.load,
    views.TREES,
)
STRUCTURES = (TREES, GRAPHS, LABELS, PAIRS)  # in the order in which they are recognised


def structure_of(task: str) -> Structure:
    """The structure that a task is learnt of. Raises KeyError for a task of plain text."""
    return {task: one for one in STRUCTURES for task in one.tasks}[task]


def recognise(paths: Sequence[Path], task: str | None = None) -> Found | None:
    """What can be learnt of files, of the structure of a task if one is given; None for plain text."""
    if task:
        one = structure_of(task)
        return one.recognise(paths) or one.named(paths)
    return next(filter(None, (one.recognise(paths) for one in STRUCTURES)), None)


def learnt(task: str) -> str:
    """A task as a verb."""
    return {"tree": "label trees", "graph": "label graphs"}.get(task, task.replace("-", " and "))


def nothing(paths: Sequence[Path], task: str) -> InputError:
    """The error for files of which a task cannot be learnt."""
    way = f"give text in one of the forms {', '.join(structure_of(task).forms.values())}, or leave out --task"
    return InputError(f"{names_of(paths)} has nothing to {learnt(task)}: {way}")


def plain_column(column: str | int, task: str) -> InputError:
    """The error for a column of plain text where a task needs that of the labels."""
    return InputError(f"column {column} would be read as plain text: to {learnt(task)}, give --column the number of the labels")
