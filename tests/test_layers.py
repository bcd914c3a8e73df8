"""The structure of the code: imports point down, importing lmgen is cheap, and nothing runs code from a file."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from itertools import chain, pairwise
from pathlib import Path

import pytest

import lmgen
import masked

FOLDER = Path(lmgen.__file__).parent
# From top to bottom: a package imports only from rows below its own, and the modules within one import each other in no circle.
LAYERS = [
    "__main__",
    "cli",
    "serving",
    "api",
    "exporting",
    "evaluation",
    "training",
    "generation",
    "defaults",
    "tasks",
    "loading",
    "applied",
    "models",
    "networks",
    "nn",
    "checks",
    "structured",
    "labelled",
    "constraints",
    "data",
    "pages",
    "system",
    "options",
    "errors",
    "_version",
]
# lmgen/__init__.py is left out: it names its functions, and imports them when they are first used.
MODULES = sorted(path for path in FOLDER.glob("**/*.py") if path.stat().st_size and path != FOLDER / "__init__.py")


def dotted(path: Path) -> str:
    """lmgen/nn/cells.py -> nn.cells, lmgen/nn/__init__.py -> nn"""
    return ".".join(path.relative_to(FOLDER).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path) -> set[str]:
    """The modules of lmgen that a file imports, at its head or inside a function, but for the __init__ of its own package."""
    names = {dotted(module) for module in MODULES}
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "lmgen":
            inside = (node.module or "").partition(".")[2]
            for alias in node.names:
                whole = f"{inside}.{alias.name}".lstrip(".")
                found.add(whole if whole in names else inside or alias.name)
        elif isinstance(node, ast.Import):
            found |= {alias.name.removeprefix("lmgen.") for alias in node.names if alias.name.startswith("lmgen.")}
    return found - {dotted(path.parent / "__init__.py")}


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_imports_point_down(path):
    row = LAYERS.index(dotted(path).partition(".")[0])
    for other in imports(path):
        assert LAYERS.index(other.partition(".")[0]) >= row, f"{dotted(path)} imports {other}, which is above it"


def test_imports_make_no_circle():
    TopologicalSorter({dotted(path): imports(path) for path in MODULES}).prepare()


def test_no_file_and_no_package_grows_too_large():
    others = ("native/*", "tests/**/*.py", "tests/nn/arm/*", "benchmarks/*.py", ".ci/*")
    for path in [*MODULES, *chain.from_iterable(map(FOLDER.parent.glob, others))]:
        assert len(path.read_text("utf-8").splitlines()) <= 400, f"split {path.name}: it has over 400 lines"
    for package in {path.parent for path in MODULES}:
        assert len([*package.glob("[!_]*.py")]) <= 13, f"split {dotted(package)}: it has over 13 modules"


def test_no_two_test_files_share_a_name():
    """They are imported by their names alone, as the programs in benchmarks/ are."""
    names = sorted(path.stem for pattern in ("tests/**/*.py", "benchmarks/*.py") for path in FOLDER.parent.glob(pattern))
    assert [one for one, other in pairwise(names) if one == other != "conftest"] == []


def test_importing_and_help_import_no_jax_and_write_nothing(tmp_path):
    program = (
        "import sys, lmgen, lmgen.cli.main\n"
        "try:\n    lmgen.cli.main.cli.main(['--help'], standalone_mode=True)\nexcept SystemExit:\n    pass\n"
        "assert not {'jax', 'optax', 'numpy', 'rich', 'socket'} & set(sys.modules), set(sys.modules)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], env={"HOME": str(tmp_path)}, cwd=tmp_path, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert not list(tmp_path.iterdir())


def test_only_system_knows_the_operating_system():
    for path in MODULES:
        if "system" in path.parts:
            continue
        text = path.read_text("utf-8")
        nodes = [*ast.walk(ast.parse(text))]
        imported = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        imported |= {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
        names = {(n.value.id, n.attr) for n in nodes if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name)}
        assert not imported & masked.MODULES, dotted(path)
        assert not [name for module, name in names if name in masked.NAMES.get(module, ())], dotted(path)
        assert "/proc/" not in text, dotted(path)


def test_nothing_runs_code_from_a_file():
    forbidden = {"pickle", "marshal", "shelve", "yaml", "dill", "cloudpickle"}
    for path in FOLDER.rglob("*.py"):
        tree = ast.parse(path.read_text("utf-8"))
        names = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom) for a in n.names}
        calls = {n.func.id for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}
        assert not forbidden & names, path
        assert not {"eval", "exec", "compile"} & calls, path
        assert "allow_pickle" not in path.read_text("utf-8"), path
