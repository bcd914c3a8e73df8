"""What is released: wheels for every Python with all that the package needs and nothing else, and a source that builds them."""

from __future__ import annotations

import email
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from lmgen import __version__
from test_build import COMPILER, FOUND, needs_compiler

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("lmgen", "native", "corpora", "setup.py", "setup.cfg", "pyproject.toml", "README.md", "LICENSE", "MANIFEST.in")
MOST_BYTES = 3_000_000
KINDS = {"x86_64": ("avx2", "avx512", "avx512bf16", "amx")} | dict.fromkeys(("aarch64", "arm64"), ("neon", "neonbf16"))
USES = """
import sys, lmgen
from lmgen.nn import native
assert lmgen.__file__.startswith(sys.argv[1]), lmgen.__file__
model = lmgen.train("cities", output="m", steps=2, size=8, embedding=4, batch=4, window=8)
assert len(model.sample(3, seed=1)) == 3
print(native.kind("f32") or native.library().lack)
"""

pytestmark = pytest.mark.slow


def run(*words: str | Path, cwd: Path, fails: bool = False, **environment: str) -> subprocess.CompletedProcess:
    done = subprocess.run(words, cwd=cwd, env=FOUND | environment, capture_output=True, text=True, timeout=900)
    assert bool(done.returncode) == fails, done.stdout[-3000:] + done.stderr[-3000:]
    return done


@pytest.fixture
def source(tmp_path) -> Path:
    """A copy of the tracked files from which the package is built."""
    listed = subprocess.run(["git", "ls-files", *SOURCES], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode or not listed.stdout:
        pytest.skip("this is no checkout")
    pytest.importorskip("setuptools", minversion="77")
    for name in listed.stdout.splitlines():
        (tmp_path / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / "source" / name)
    return tmp_path / "source"


def wheel(source: Path, folder: Path, **environment: str) -> Path:
    """Build a wheel from a folder or an archive."""
    words = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-cache-dir"]
    run(*words, "--wheel-dir", folder, source, cwd=folder, **environment)
    (built,) = folder.glob("*.whl")
    return built


def used(wheel: Path, folder: Path, **environment: str) -> str:
    """Install a wheel into a folder and train and sample with it; what kernels it has, or why none."""
    words = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder / "installed", wheel]
    run(*words, cwd=folder)
    installed = str(folder / "installed")
    return run(sys.executable, "-c", USES, installed, cwd=folder, PYTHONPATH=installed, **environment).stdout.strip()


def contents(wheel: Path) -> dict[str, bytes]:
    """The files of the package in a wheel, without those that describe it."""
    with zipfile.ZipFile(wheel) as opened:
        return {name: opened.read(name) for name in opened.namelist() if ".dist-info/" not in name}


def expected(source: Path) -> dict[str, bytes]:
    """All files of the package: those of lmgen/, and corpora/ as a folder in it."""
    found = {path.relative_to(source): path.read_bytes() for top in ("lmgen", "corpora") for path in (source / top).rglob("*.*")}
    files = {Path("lmgen", path) if path.parts[0] == "corpora" else path: content for path, content in found.items()}
    return {path.as_posix(): content for path, content in files.items()}


def test_the_wheel_for_any_system_has_the_package_and_nothing_else(source, tmp_path):
    built = wheel(source, tmp_path, LMGEN_NATIVE="off")
    assert built.name == f"lmgen-{__version__}-py3-none-any.whl"
    assert contents(built) == expected(source)
    with zipfile.ZipFile(built) as opened:
        others = {*opened.namelist()} - {*contents(built)}
        described = {name.partition(".dist-info/")[2]: opened.read(name).decode() for name in others}
    assert "Root-Is-Purelib: true" in described["WHEEL"]
    assert described["entry_points.txt"].split() == ["[console_scripts]", "lmgen", "=", "lmgen.__main__:main"]
    assert described["licenses/LICENSE"] == (ROOT / "LICENSE").read_text("utf-8")
    about = email.message_from_string(described["METADATA"])
    assert (about["Name"], about["Version"], about["License-Expression"] or about["License"]) == ("lmgen", __version__, "MIT")
    assert about["Requires-Python"] == "<3.14,>=3.11"
    needed = {re.split(r"[<>=!~\[]", line)[0] for line in about.get_all("Requires-Dist") if "extra ==" not in line}
    assert needed == {"jax", "optax", "numpy", "click", "safetensors", "rich"}
    assert {"plot", "serve", "onnx", "novelty"} <= set(about.get_all("Provides-Extra"))
    assert "_native.so is missing" in used(built, tmp_path) or platform.system() != "Linux"


@needs_compiler
def test_the_wheel_with_kernels_is_small_and_for_every_python(source, tmp_path):
    built = wheel(source, tmp_path, LMGEN_NATIVE="all", CXXFLAGS="-O1")
    assert re.fullmatch(rf"lmgen-{re.escape(__version__)}-py3-none-linux_\w+\.whl", built.name)
    assert built.stat().st_size < MOST_BYTES
    inside = contents(built)
    library = inside.pop("lmgen/_native.so")
    assert inside == expected(source)
    assert not re.search(rb"\0_?Py[A-Z_]\w+\0", library)  # no function of Python
    kinds = KINDS[platform.machine()]
    for kind in kinds:
        assert f"\0{kind}\0".encode() in library
    (tmp_path / "empty").mkdir()
    assert used(built, tmp_path, PATH=str(tmp_path / "empty")) in kinds


def test_the_source_builds_the_package_without_a_compiler(source, tmp_path):
    run(sys.executable, "setup.py", "--quiet", "sdist", "--dist-dir", tmp_path, cwd=source)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    assert {path.relative_to(ROOT).as_posix() for path in (ROOT / "native").iterdir()} <= names
    (tmp_path / "empty").mkdir()
    built = wheel(archive, tmp_path, PATH=str(tmp_path / "empty"), CXX="")
    assert contents(built) == expected(source)


@needs_compiler
def test_a_release_without_a_kind_of_kernels_is_not_built(source, tmp_path):
    old = tmp_path / "c++"
    last = KINDS[platform.machine()][-1]
    old.write_text(f'#!/bin/sh\ncase "$*" in *LMGEN_KIND={last}*) exit 1;; esac\nexec {COMPILER} "$@"\n')
    old.chmod(0o755)
    words = [sys.executable, "setup.py", "build_ext", "--build-lib", tmp_path / "built", "--build-temp", tmp_path / "temp"]
    release = run(*words, cwd=source, fails=True, LMGEN_NATIVE="all", CXX=str(old), CXXFLAGS="-O1")
    assert f"cannot compile those for {last}" in release.stderr
    run(*words, cwd=source, CXX=str(old), CXXFLAGS="-O1")
    assert (tmp_path / "built/lmgen/_native.so").exists()
