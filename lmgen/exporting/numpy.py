"""The format numpy: one Python file that needs NumPy alone, with the weights inside and no more code than the model needs."""

from __future__ import annotations

import ast
import base64
import pprint
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from importlib import resources
from typing import Any

from lmgen._version import __version__
from lmgen.exporting.target import Contents, Target, described, rules
from lmgen.models import kinds

PARTS = ("given", "norms", "cells", "network", "ngrams", "symbols", "writing", "between", "labels", "pairs", "program")
PACKAGE = "lmgen.exporting.portable"
# The commands of a program, by the task of its model.
COMMANDS = {
    "language": ("sample", "score"),
    "generate": ("sample", "score"),
    "cloze": ("pseudo-score",),
    **dict.fromkeys(("tag", "classify", "tag-classify"), ("predict",)),
    "translate": ("translate", "score-pairs"),
}
ROW = 120  # characters of a line of weights


def contents(lm: Any) -> Contents:
    """The program of a model."""
    about = {**described(lm), "reads": "ngrams" if lm.kind.counts else "network"}
    arrays = {**lm.arrays(), **rules(lm)}
    wanted = {
        "CELLS": (about["cell"],),
        "UNITS": (about["unit"],),
        "READERS": (about["reads"],),
        "COMMANDS": COMMANDS[about["task"]],
    }
    stored = [array.astype(array.dtype.newbyteorder("<"), copy=False) for array in arrays.values()]
    shapes = [(name, array.dtype.str, array.shape) for name, array in zip(arrays, stored, strict=True)]
    text = base64.b64encode(b"".join(array.tobytes() for array in stored)).decode()
    parts = [
        _docstring(about["name"], COMMANDS[about["task"]][0]),
        *_program(wanted),
        f"# {'-' * 118}\n\nMODEL = {_literal(about)}",
        f"ARRAYS = {_literal(shapes)}  # name, type and shape of each",
        'W = unpacked(ARRAYS, """\n' + "\n".join(textwrap.wrap(text, ROW)) + '\n""")',
        'if __name__ == "__main__":\n    main()',
    ]
    return {"": ("\n\n\n".join(parts) + "\n").encode()}


TARGET = Target(
    "one Python file that needs NumPy alone",
    ".py",
    (kinds.RECURRENT, kinds.CLOZE, kinds.NGRAM, kinds.LABELLER, kinds.WRITER, kinds.TRANSLATOR),
    contents,
)


def _docstring(name: str, command: str) -> str:
    safe = "".join(c if c.isprintable() and c not in '\\"' else "?" for c in name)
    return (
        f'"""{safe}, a model made by lmgen {__version__}, as a program that needs NumPy alone: {command}, also from Python.\n\n'
        f'    python {safe}.py {command} --help\n"""'
    )


def _literal(value: Any) -> str:
    return pprint.pformat(value, width=ROW, compact=True, sort_dicts=False)


def _program(wanted: Mapping[str, Iterable[str]]) -> Iterator[str]:
    """The source of `main` and of all that it needs; of the tables in `wanted` it needs these entries alone."""
    sources = {part: resources.files(PACKAGE).joinpath(f"{part}.py").read_text("utf-8") for part in PARTS}
    trees = {part: ast.parse(source) for part, source in sources.items()}
    defined: dict[str, tuple[str, ast.AST]] = {}  # the text of each definition, and what it needs
    for part, tree in trees.items():
        for node in tree.body:
            for name in _names(node):
                defined[name] = (
                    _entries(node, wanted[name], sources[part]) if name in wanted else (_text(node, sources[part]), node)
                )
    needed, waiting = {"MODEL", "W", "unpacked"}, ["main", "unpacked"]
    while waiting:
        needed.add(name := waiting.pop())
        used = {node.id for node in ast.walk(defined[name][1]) if isinstance(node, ast.Name)}
        waiting += [other for other in used & defined.keys() if other not in needed]
    used = {node.id for name in needed for node in ast.walk(defined[name][1]) if isinstance(node, ast.Name)}
    yield "\n\n".join(("from __future__ import annotations", *_imports(trees.values(), used)))
    for tree in trees.values():
        title, given = (ast.get_docstring(tree) or "").splitlines()[0], ("MODEL", "W")
        found = dict.fromkeys(
            defined[name][0] for node in tree.body for name in _names(node) if name in needed and name not in given
        )
        if found:
            yield f"# ---- {title}\n\n\n" + "\n\n\n".join(found)


def _imports(trees: Iterable[ast.Module], used: set[str]) -> Iterator[str]:
    """The imports of the names that are used: those of the standard library, then NumPy."""
    lines: set[str] = set()
    for node in (node for tree in trees for node in tree.body):
        own = isinstance(node, ast.ImportFrom) and (node.module or "").startswith(("lmgen", "__future__", "typing"))
        if isinstance(node, ast.Import | ast.ImportFrom) and not own:
            lines |= {ast.unparse(node)} if used & {alias.asname or alias.name for alias in node.names} else set()
    numpy = {line for line in lines if line.startswith("import numpy")}
    yield from ("\n".join(sorted(some, key=lambda line: (line.startswith("from"), line))) for some in (lines - numpy, numpy))


def _names(node: ast.stmt) -> list[str]:
    """The names that a statement defines."""
    if isinstance(node, ast.FunctionDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [one.id for target in targets for one in ast.walk(target) if isinstance(one, ast.Name)]


def _text(node: ast.stmt, source: str) -> str:
    """The lines of a statement, with the comment behind it."""
    first = min([node.lineno, *(one.lineno for one in getattr(node, "decorator_list", ()))])
    return "\n".join(source.splitlines()[first - 1 : node.end_lineno])


def _entries(node: Any, wanted: Iterable[str], source: str) -> tuple[str, ast.AST]:
    """A table with some of its entries alone."""
    kept = {key.value: value for key, value in zip(node.value.keys, node.value.values, strict=True) if key.value in wanted}
    lines = [f'    "{name}": {ast.get_source_segment(source, value)},\n' for name, value in kept.items()]
    return f"{_names(node)[0]} = {{\n{''.join(lines)}}}", ast.Tuple([*kept.values()], ast.Load())
