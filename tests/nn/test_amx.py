"""The AMX kernels where there is no AMX: the tests of the kernels, with a library whose tile instructions are plain C++.

What the instructions compute and refuse is in native/tile_emulated.h: a register of the wrong shape, or a thread's configuration
that is not put back, ends the process.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lmgen.system import devices

ROOT = Path(__file__).resolve().parents[2]
COMPILER = (
    shlex.split(os.environ.get("CXX", "")) or [found for found in map(shutil.which, ("c++", "g++", "clang++")) if found][:1]
)


def knows_amx() -> bool:
    """Whether the compiler has the option; what it makes of the code is no reason to skip."""
    words = [*COMPILER, "-mamx-tile", "-mamx-bf16", "-fsyntax-only", "-x", "c++", os.devnull]
    return bool(COMPILER) and subprocess.run(words, capture_output=True).returncode == 0


@pytest.fixture(scope="module")
def emulated(tmp_path_factory):
    """The environment of a process that takes its kernels from the library with emulated tiles."""
    pytest.importorskip("setuptools")
    if "avx512_bf16" not in devices.cpu_flags():
        pytest.skip("all but the tiles is AVX-512 with bfloat16, which this processor lacks")
    if not knows_amx():
        pytest.skip("there is no compiler that knows AMX")
    folder = tmp_path_factory.mktemp("emulated")
    flags = f"{os.environ.get('CXXFLAGS', '')} -DLMGEN_AMX_EMULATED=1"
    words = [sys.executable, "setup.py", "-q", "build_ext", "--build-lib", str(folder / "built"), "--build-temp", str(folder)]
    subprocess.run(words, cwd=ROOT, env=os.environ | {"CXXFLAGS": flags}, check=True, timeout=300)
    (library,) = folder.glob("built/lmgen/_native*.so")
    return {name: value for name, value in os.environ.items() if name != "LMGEN_NATIVE"} | {"LMGEN_LIBRARY": str(library)}


@pytest.mark.slow
def test_the_kernels_pass_their_tests_with_emulated_tiles(emulated):
    words = [sys.executable, "-c", "from lmgen.nn import native; print(native.kind('bf16'), native.kind('f32'))"]
    kinds = subprocess.run(words, cwd=ROOT, env=emulated, capture_output=True, text=True, check=True).stdout
    assert kinds.split() == ["amx", "avx512"]
    files = [f"tests/nn/test_{name}.py" for name in ("native", "products")]
    words = [sys.executable, "-m", "pytest", "-q", *files, "-k", "bf16 or (same_bits and lstm-50)"]
    run = subprocess.run(words, cwd=ROOT, env=emulated, capture_output=True, text=True, timeout=600)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "skipped" not in run.stdout
