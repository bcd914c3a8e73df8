"""Strictness and shared fixtures: warnings are errors, nothing is written outside of tmp_path.

With LMGEN_TESTS_MASKED=1 the tests run as where the system is not POSIX (masked.py), and those marked posix are skipped.
"""

from __future__ import annotations

import gc
import getpass
import io
import os
import shutil
import sys
import tempfile
from itertools import count
from pathlib import Path

import jax
import pytest

import masked

MASKED = bool(os.environ.get("LMGEN_TESTS_MASKED"))
if MASKED:
    masked.mask()

import support  # noqa: E402

# Nearly all the time of these tests goes into compiling programs that then run for milliseconds. The processes that tests
# start, and `make oracle`, compile as users do.
if "LMGEN_OPTIMISE" not in os.environ:
    jax.config.update("jax_disable_most_optimizations", True)
# What was compiled once serves all tests, and the processes that they start.
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(Path(tempfile.gettempdir(), f"lmgen-tests-{getpass.getuser()}"))
jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)

# A budget is planned for a machine of this speed, so that no test depends on the real one.
os.environ.setdefault("LMGEN_SPEED", "1")

MOST_MAPS = 25_000
CHROMIUM = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_collection_modifyitems(items):
    for item in items:
        few = item.get_closest_marker("few")
        if few and item.callspec.params[few.args[0]] not in few.args[1:]:
            item.add_marker(pytest.mark.slow)
        if "browser" in item.fixturenames:
            item.add_marker(pytest.mark.browser)
            if not item.get_closest_marker("quick"):
                item.add_marker(pytest.mark.slow)
    if MASKED or os.name != "posix":
        for item in items:
            if item.get_closest_marker("posix"):
                item.add_marker(pytest.mark.skip(reason="about a POSIX system"))


@pytest.fixture(autouse=True)
def _at_home(tmp_path, monkeypatch):
    """Each test runs in a folder of its own, with a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / ".cache"))
    monkeypatch.chdir(tmp_path)
    for name in ("NO_COLOR", "TERM", "COLUMNS", "LC_ALL"):
        monkeypatch.delenv(name, raising=False)


def pytest_runtest_teardown(item, _ran=count(1)):
    """Forget compiled programs in time: each takes some of the 65,530 memory maps that a process may have."""
    maps = Path("/proc/self/maps")
    if next(_ran) % 25 == 0 and maps.exists() and len(maps.read_bytes().splitlines()) > MOST_MAPS:
        jax.clear_caches()
        gc.collect()


@pytest.fixture(scope="module")  # while it runs, no other event loop can
def browser():
    """Chromium: that of LMGEN_CHROMIUM, or the one on the path, or that of playwright."""
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        found = os.environ.get("LMGEN_CHROMIUM") or shutil.which("chromium") or started.chromium.executable_path
        if not os.path.exists(found):
            pytest.skip("there is no Chromium here: name one with LMGEN_CHROMIUM")
        browser = started.chromium.launch(executable_path=found, args=CHROMIUM)
        yield browser
        browser.close()


@pytest.fixture
def data():
    """The folder of real corpora for measuring; tests that need it are skipped where it is missing."""
    if not SHARED.is_dir():
        pytest.skip("the corpora for measuring are not here")
    return SHARED


@pytest.fixture
def words_file(tmp_path) -> Path:
    """A corpus of 1,000 invented words, one a line."""
    path = tmp_path / "words.txt"
    path.write_text("".join(f"{word}\n" for word in support.invented_words(1000)), "utf-8")
    return path


@pytest.fixture
def lmgen(monkeypatch, capfd):
    """Call the command line in this process; returns exit code, stdout and stderr."""

    def call(*words: str | Path, stdin: str | None = None) -> tuple[int, str, str]:
        if stdin is not None:
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        capfd.readouterr()
        code = support.call(*words)
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        return code, out, err

    return call


@pytest.fixture(scope="session")
def model_path(tmp_path_factory) -> Path:
    """A small network alone, trained on 1,000 invented words for 60 steps; to be read, not changed."""
    folder = tmp_path_factory.mktemp("session")
    before = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    try:
        import lmgen

        corpus = folder / "words.txt"
        corpus.write_text("".join(f"{word}\n" for word in support.invented_words(1000)), "utf-8")
        how = {"steps": 60, "size": 32, "embedding": 8, "batch": 16, "window": 16, "learning_rate": 1e-2, "mixture": False}
        lmgen.train(corpus, output=folder / "words", **how)
    finally:
        os.environ.pop("XDG_CACHE_HOME") if before is None else os.environ.update(XDG_CACHE_HOME=before)
    return folder / "words"
