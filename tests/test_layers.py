"""The shape of the code: imports point down only, importing is cheap, nothing can run code from a file."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import lmgen

FOLDER = Path(lmgen.__file__).parent
# From the top to the ground: a module imports only what stands in a later row.
LAYERS = [
    ["__main__"],
    ["cli"],
    ["cli_train", "cli_model", "cli_eval", "cli_corpus", "cli_about", "cli_ngram", "cli_compress"],
    ["cli_text", "cli_directories"],
    ["api", "look", "options"],
    ["progress"],
    ["console"],
    ["start", "scorecard"],
    ["fit"],
    ["run", "costs"],
    ["recipe"],
    ["training"],
    ["compress", "comparison"],
    ["evaluate", "sample", "novelty", "fill", "update", "check"],
    ["census"],
    ["writer"],
    ["arpa", "provenance"],
    ["lm"],
    ["schema"],
    ["model", "ngram", "corpus", "advice"],
    ["signs", "ids"],
    ["recurrence", "softmax", "split"],
    ["text"],
    ["cells", "shelf", "lookup", "damage", "curves", "formats"],
    ["vocab", "directories", "devices"],
    ["checkpoint", "trees", "lock", "speeds"],
    ["arrayfile"],
    ["cache", "memory", "native", "signals", "arguments", "files"],
    ["suggestions"],
    ["errors"],
    ["__init__"],
]
RANK = {name: rank for rank, row in enumerate(LAYERS) for name in row}
LAZY = {("__init__", "api")}  # the package names its functions, which are imported at first use


def imports(path: Path) -> set[str]:
    """The modules of lmgen that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "lmgen":
            found |= {alias.name if alias.name in RANK else "__init__" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lmgen."):
            found.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("lmgen.")}
    return found


def test_every_module_has_its_layer():
    assert {path.stem for path in FOLDER.glob("*.py")} == set(RANK)


@pytest.mark.parametrize("name", sorted(RANK))
def test_imports_point_down(name):
    up = {other for other in imports(FOLDER / f"{name}.py") if RANK[other] <= RANK[name] and (name, other) not in LAZY}
    if name == "progress":
        up -= {"training"}  # for the types alone
    assert not up, f"{name} imports {up} from above or beside it"


def test_importing_and_help_import_no_jax_and_write_nothing(tmp_path):
    program = (
        "import sys, lmgen, lmgen.cli\n"
        "try:\n    lmgen.cli.cli.main(['--help'], standalone_mode=True)\nexcept SystemExit:\n    pass\n"
        "assert not {'jax', 'optax', 'numpy', 'rich', 'socket'} & set(sys.modules), set(sys.modules)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], env={"HOME": str(tmp_path)}, cwd=tmp_path, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert not list(tmp_path.iterdir())


def test_nothing_runs_code_from_a_file():
    forbidden = {"pickle", "marshal", "shelve", "yaml", "dill", "cloudpickle"}
    for path in FOLDER.glob("*.py"):
        tree = ast.parse(path.read_text("utf-8"))
        names = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom) for a in n.names}
        calls = {n.func.id for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}
        assert not forbidden & names, path
        assert not {"eval", "exec", "compile"} & calls, path
        assert "allow_pickle" not in path.read_text("utf-8"), path
