"""The kernels for ARM where there is no ARM: their tests, with a library that has them computed under qemu (arm/caller.cc).

They need Debian's packages g++-aarch64-linux-gnu and qemu-user.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from lmgen.nn import native

ROOT = Path(__file__).resolve().parents[2]
SOURCES = Path(__file__).parent / "arm"
TESTS = [Path(__file__).with_name(f"test_{name}.py") for name in ("native", "products")]
CROSS, EMULATOR, SYSROOT = "aarch64-linux-gnu-g++", "qemu-aarch64", "/usr/aarch64-linux-gnu"
PROCESSORS = ("cortex-a72", "max")  # as qemu calls one without bfloat16 and one with all that there is
SHORT = "129 or 101 or 3003 or optimiser"  # sizes that are no multiples of a vector, in several panels

pytestmark = [
    pytest.mark.posix,
    pytest.mark.skipif(not (shutil.which(CROSS) and shutil.which(EMULATOR)), reason=f"{CROSS} or {EMULATOR} is missing"),
    pytest.mark.skipif(not shutil.which("c++"), reason="there is no compiler for this machine"),
]


def compiled(compiler: str, *words: str | Path) -> None:
    headers = ["-isystem", jax.ffi.include_dir()]
    subprocess.run([compiler, "-std=c++17", "-O1", *headers, *words], check=True, timeout=300)


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A folder with the library for ARM as an install builds it, the program that runs it, and the library that asks that."""
    pytest.importorskip("setuptools")
    folder = tmp_path_factory.mktemp("arm")
    words = [sys.executable, "setup.py", "-q", "build_ext", "--build-lib", folder, "--build-temp", folder / "objects"]
    asked = {"CXX": CROSS, "_PYTHON_HOST_PLATFORM": "linux-aarch64", "LMGEN_NATIVE": "all"}
    subprocess.run(words, cwd=ROOT, env=os.environ | asked, check=True, timeout=600)
    compiled(CROSS, SOURCES / "server.cc", "-o", folder / "server")
    compiled("c++", "-shared", "-fPIC", SOURCES / "caller.cc", "-o", folder / "caller.so")
    return folder


def run(built: Path, processor: str, *words: str | Path, **environment: str) -> str:
    """What a Python prints whose kernels run on an emulated processor."""
    emulated = f"{EMULATOR} -L {SYSROOT} -cpu {processor} {built}/server {built}/lmgen/_native.so"
    return printed(*words, LMGEN_LIBRARY=str(built / "caller.so"), LMGEN_TESTS_EMULATOR=emulated, **environment)


def printed(*words: str | Path, **environment: str) -> str:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("LMGEN_")}
    found = {"PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "tests", ROOT / "tests/nn")))}
    words = sys.executable, *words
    done = subprocess.run(words, env=inherited | found | environment, capture_output=True, text=True, timeout=7200)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize(
    ("processor", "limit", "kernels"),
    [
        ("cortex-a72", "", "f32 with neon; 2 threads"),
        ("max", "", "f32 with neon, bf16 with neonbf16; 2 threads"),
        ("max", "neon", "f32 with neon; 2 threads"),
        ("max", "off", "none, so training is slower: turned off by LMGEN_NATIVE=off"),
    ],
)
def test_the_kernels_are_those_that_the_processor_and_the_user_allow(built, processor, limit, kernels):
    program = "from lmgen.nn import precision; print(precision.kernels())"
    assert run(built, processor, "-c", program, LMGEN_NATIVE=limit, LMGEN_THREADS="2") == f"{kernels}\n"


def test_doctor_names_the_kernels(built):
    shown = run(built, "cortex-a72", "-m", "lmgen", "doctor", COLUMNS="200", LMGEN_THREADS="2")
    assert "f32 with neon; 2 threads" in shown


@pytest.mark.parametrize("processor", PROCESSORS)
def test_the_kernels_pass_some_of_their_tests(built, processor):
    assert " passed" in run(built, processor, "-m", "pytest", "-q", "-n", "0", *TESTS, "-k", SHORT)


@pytest.mark.slow
@pytest.mark.parametrize("processor", PROCESSORS)
def test_the_kernels_pass_all_of_their_tests(built, processor):
    shown = run(built, processor, "-m", "pytest", "-q", "-n", "0", *TESTS)
    assert " passed" in shown
    assert "skipped" not in shown


@pytest.mark.slow
@pytest.mark.parametrize("processor", PROCESSORS)
def test_a_network_writes_and_mixes_as_without_kernels(built, processor):
    tests = [ROOT / "tests/generation/test_compiled_sampling.py", ROOT / "tests/models/test_mixed.py"]
    assert " passed" in run(built, processor, "-m", "pytest", "-q", "-n", "0", *tests, "-m", "not slow")


OUTCOME = """
import sys
import numpy as np, jax
from natively import problem, results
from lmgen.nn import cross_entropy, native, recurrence
assert native.kind("f32") == sys.argv[1]
found = [results(recurrence.compiled, cell, "f32", *problem(cell, 13, 9, 33, 20, 0)) for cell in native.CELLS]
rng = np.random.default_rng(0)
h, W, b = (rng.normal(size=shape).astype(np.float32) for shape in ((101, 12), (12, 3003), 3003))
targets = rng.integers(0, 3003, 101).astype(np.int32)
found.append(jax.value_and_grad(lambda h, W, b: cross_entropy.nats("f32", False, h, W, b, targets).sum(), (0, 1, 2))(h, W, b))
np.savez(sys.argv[2], *jax.tree.leaves(found))
"""


@pytest.mark.skipif(native.kind("f32") not in ("avx2", "avx512"), reason="there are no kernels for x86-64 to compare with")
def test_the_numbers_are_those_of_avx2(built, tmp_path):
    """Both have vectors of eight floats, so they add in the same order."""
    run(built, "cortex-a72", "-c", OUTCOME, "neon", tmp_path / "neon.npz")
    printed("-c", OUTCOME, "avx2", tmp_path / "avx2.npz", LMGEN_NATIVE="avx2")
    ours, theirs = (np.load(tmp_path / f"{kind}.npz") for kind in ("neon", "avx2"))
    assert len(ours.files) > 20
    for name in ours.files:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=0, atol=1e-6 * np.abs(theirs[name]).max(initial=1))
