"""Programs cut from the modules of lmgen: the definitions that a model needs, and no more."""

from __future__ import annotations

import ast
import pprint
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from importlib import resources
from typing import Any

from lmgen._version import __version__

ROW = 120  # characters of a line
OURS = ("lmgen", "__future__", "typing")  # packages that a program does not import


def cut(
    modules: Iterable[str], roots: Iterable[str], wanted: Mapping[str, Iterable[str]], given: Collection[str]
) -> Iterator[str]:
    """The imports, and then a section for each of the modules below lmgen.exporting, with what the `roots` need of it.

    Of the tables in `wanted` they need these entries alone. What is `given` is defined elsewhere; of what two modules define,
    the later holds.
    """
    texts = {name: _module(name) for name in modules}
    trees = {name: ast.parse(text) for name, text in texts.items()}
    defined: dict[str, tuple[str, str, ast.AST]] = {}  # the module of each definition, its text, and what it needs
    for module, tree in trees.items():
        for node in tree.body:
            for name in _names(node):
                own = _entries(node, wanted[name], texts[module]) if name in wanted else (_text(node, texts[module]), node)
                defined[name] = module, *own
    needed: set[str] = {*given}
    waiting = [*roots]
    while waiting:
        needed.add(name := waiting.pop())
        waiting += [other for other in _used(defined[name][-1]) & defined.keys() if other not in needed]
    used = set().union(*(_used(defined[name][-1]) for name in needed & defined.keys()))
    yield "\n\n".join(("from __future__ import annotations", *_imports(trees.values(), used)))
    for module, tree in trees.items():
        title = (ast.get_docstring(tree) or "").splitlines()[0]
        here = (name for node in tree.body for name in _names(node) if defined[name][0] == module)
        found = dict.fromkeys(defined[name][1] for name in here if name in needed and name not in given)
        if found:
            yield f"# ---- {title}\n\n\n" + "\n\n\n".join(found)


def _imports(trees: Iterable[ast.Module], used: set[str]) -> Iterator[str]:
    """The imports of the names that are used: those of the standard library, then others."""
    lines: tuple[set[str], set[str]] = set(), set()
    for node in (node for tree in trees for node in tree.body):
        ours = isinstance(node, ast.ImportFrom) and (node.module or "").startswith(OURS)
        if isinstance(node, ast.Import | ast.ImportFrom) and not ours and used & {one.asname or one.name for one in node.names}:
            line = ast.unparse(node)
            lines[line.split()[1].partition(".")[0] not in sys.stdlib_module_names].add(line)
    yield from ("\n".join(sorted(some, key=lambda line: (line.startswith("from"), line))) for some in lines if some)


def literal(value: Any) -> str:
    """A value as Python writes it, in lines."""
    return pprint.pformat(value, width=ROW, compact=True, sort_dicts=False)


def docstring(name: str, what: str, command: str, file: str = "") -> str:
    """The docstring of the program of a model, in a file of its name unless that has another."""
    safe = "".join(c if c.isprintable() and c not in '\\"' else "?" for c in name)
    return (
        f'"""{safe}, a model made by lmgen {__version__}, as {what}.\n\n    python {file or safe + ".py"} {command} --help\n"""'
    )


def _module(name: str) -> str:
    package, _, module = name.rpartition(".")
    return resources.files(f"lmgen.exporting.{package}").joinpath(f"{module}.py").read_text("utf-8")


def _used(node: ast.AST) -> set[str]:
    """The names that a definition takes from outside."""
    if isinstance(node, ast.ClassDef):
        return set().union(*map(_used, ast.iter_child_nodes(node)))
    names = [one for one in ast.walk(node) if isinstance(one, ast.Name)]
    bound = {one.arg for one in ast.walk(node) if isinstance(one, ast.arg)}
    bound |= {one.id for one in names if isinstance(one.ctx, ast.Store)} if isinstance(node, ast.FunctionDef) else set()
    return {one.id for one in names} - bound


def _names(node: ast.stmt) -> list[str]:
    """The names that a statement defines."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
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
