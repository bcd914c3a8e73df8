"""The kernels are safe to install and to run: sanitisers, no compiler, damaged libraries, crowded machines, too little memory."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lmgen.nn import native
from lmgen.system import library

ROOT = Path(__file__).resolve().parents[1]
COMPILER = os.environ.get("CXX") or next(filter(None, map(shutil.which, ("c++", "g++", "clang++"))), None)
FOUND = {name: value for name, value in os.environ.items() if not name.startswith("LMGEN_")}
BUILT = (platform.system(), platform.machine()) in library.SYSTEMS

needs_compiler = pytest.mark.skipif(not COMPILER or not BUILT, reason="the kernels cannot be built here")
needs_kernels = pytest.mark.skipif(not native.kind("f32"), reason="the compiled kernels do not run here")

TRAINS = """
import hashlib, time, jax, numpy as np
from lmgen.nn import model, native
from lmgen.nn.precision import precision_of
from lmgen.tasks import task_of
from lmgen.defaults.config import TrainingConfig
from lmgen.training.step import begin, step
network = model.NetworkConfig(50, "lstm", 128, 1, 128)
c = TrainingConfig(32, 64, 1e-2, steps=1, precision=precision_of("auto"))
w = np.random.default_rng(0).integers(0, 50, (65, 32)).astype(np.int32)
task = task_of(network, c.precision)
batch = task.batch(w, np.zeros(32, bool))
state, *_ = step(task, c.optimiser, begin(task, c), batch, 1e-2, 0)
jax.block_until_ready(state)
start = time.perf_counter()
for k in range(150):
    state, nats, _ = step(task, c.optimiser, state, batch, 1e-2, k)
    float(nats)
seconds = time.perf_counter() - start
bits = b"".join(np.asarray(a).tobytes() for a in jax.tree.leaves(state))
print(native.kind("f32") or "none", hashlib.sha256(bits).hexdigest(), seconds)
"""


def build(folder: Path, **environment: str) -> subprocess.CompletedProcess:
    """Build the extension into a folder, as an install does."""
    pytest.importorskip("setuptools")
    words = [sys.executable, "setup.py", "build_ext", "--build-lib", str(folder / "built"), "--build-temp", str(folder / "temp")]
    return subprocess.run(words, cwd=ROOT, env=FOUND | environment, capture_output=True, text=True, timeout=600)


def python(program: str, *, preexec: str = "", **environment: str) -> list[str]:
    """The words that a program prints."""
    words = [sys.executable, "-c", preexec + program]
    run = subprocess.run(words, cwd=ROOT, env=FOUND | environment, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr[-3000:]
    return run.stdout.split()


@needs_compiler
@pytest.mark.slow
def test_address_and_undefined_behaviour_sanitisers_find_nothing(tmp_path):
    """The tests of the kernels, with every request for memory an allocation of its own."""
    names = ("libasan.so", "libubsan.so")
    runtimes = [subprocess.run([COMPILER, f"-print-file-name={n}"], capture_output=True, text=True).stdout.strip() for n in names]
    if not all(map(os.path.isabs, runtimes)):
        pytest.skip("the compiler has no sanitisers")
    flags = "-fsanitize=address,undefined -fno-sanitize-recover=undefined -O1 -g1"
    built = build(tmp_path, CXXFLAGS=flags)
    libraries = list(tmp_path.glob("built/lmgen/_native*.so"))
    assert libraries, built.stderr
    watched = {"LMGEN_LIBRARY": str(libraries[0]), "LD_PRELOAD": " ".join(runtimes), "ASAN_OPTIONS": "detect_leaks=0"}
    files = [f"tests/nn/test_{name}.py" for name in ("native", "products")]
    words = [sys.executable, "-m", "pytest", "-q", "-n", "2", *files, "-m", "not slow", "-k", "not training_step"]
    run = subprocess.run(words, cwd=ROOT, env=FOUND | watched, capture_output=True, text=True, timeout=900)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    assert " passed" in run.stdout


@pytest.mark.parametrize("compiler", ["/nonexistent/c++", "false"])
def test_a_build_without_a_compiler_warns_and_goes_on(tmp_path, compiler):
    built = build(tmp_path, CXX=compiler)
    assert built.returncode == 0, built.stderr
    assert "without its compiled kernels" in built.stderr
    assert not list(tmp_path.glob("built/lmgen/_native*.so"))


@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "foreign"])
def test_a_library_that_cannot_be_used_is_told_and_done_without(tmp_path, damage):
    library = tmp_path / "_native.so"
    ours = next(iter(Path(native.__file__).parents[1].glob("_native*.so")), None)
    if damage in ("empty", "foreign"):
        library.write_bytes(b"" if damage == "empty" else Path(shutil.which("true") or "/bin/true").read_bytes())
    elif damage == "cut":
        if ours is None:
            pytest.skip("there is no library to cut")
        library.write_bytes(ours.read_bytes()[:-1000])
    program = (
        "from lmgen.nn import native, precision; import jax.numpy as jnp; "
        "print(repr(native.kind('f32')), precision.kernels(), float(jnp.ones(3).sum()))"
    )
    kind, *why, total = python(program, LMGEN_LIBRARY=str(library))
    assert (kind, total) == ("''", "3.0")
    assert "_native.so" in " ".join(why)


@pytest.mark.parametrize("turned_off", [False, True])
def test_a_training_that_could_have_kernels_says_once_why_it_has_none(tmp_path, turned_off):
    """Not one that was told to do without."""
    words = [sys.executable, "-m", "lmgen", "train", "cities", "--steps", "3", "--size", "8", "--embedding", "4"]
    chosen = {"LMGEN_NATIVE": "off"} if turned_off else {"LMGEN_LIBRARY": str(tmp_path / "_native.so")}
    environment = FOUND | {"PYTHONPATH": str(ROOT), **chosen}
    run = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    assert run.stderr.count("no compiled kernels") == (BUILT and not turned_off), run.stderr


@needs_kernels
@pytest.mark.slow
def test_processes_that_train_at_once_get_their_share_and_the_same_bits():
    kind, bits, alone = python(TRAINS)
    start = time.monotonic()
    words = [sys.executable, "-c", TRAINS]
    several = [subprocess.Popen(words, cwd=ROOT, env=FOUND, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    outputs = [process.communicate(timeout=300)[0].split() for process in several]
    assert [output[:2] for output in outputs] == [[kind, bits]] * 3
    slowest = max(float(output[2]) for output in outputs)
    assert slowest < 12 * float(alone) + 5, (slowest, alone, time.monotonic() - start)


@needs_kernels
def test_memory_that_does_not_suffice_is_an_error_of_the_call():
    """Not the end of the process, nor threads that wait for ever; what fits works afterwards."""
    program = """
import resource, jax, jax.numpy as jnp, numpy as np
from lmgen.nn import native
small = np.ones((4, 4), np.float32)
native.product(small, small, "f32").block_until_ready()
wide = jax.block_until_ready(jnp.ones((1, 40_000_000)))
one = jnp.ones((1, 1))
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (250 << 20), used + (250 << 20)))
try:
    native.product(one, wide, "f32").block_until_ready()
    print("enough")
except (jax.errors.JaxRuntimeError, MemoryError) as error:
    print("RESOURCE_EXHAUSTED" in str(error) or "emory" in str(error))
print(float(native.product(small, small, "f32")[0, 0]))
"""
    assert python(program, LMGEN_THREADS="2") == ["True", "4.0"]


@needs_kernels
@pytest.mark.filterwarnings("ignore")
def test_a_forked_child_has_threads_of_its_own():
    program = """
import os, signal, warnings, ctypes, numpy as np
warnings.simplefilter("ignore")
from lmgen.nn import native
import jax, jax.numpy as jnp
a = np.ones((300, 300), np.float32)
print(float(native.product(a, a, "f32")[0, 0]), flush=True)
child = os.fork()
if child == 0:
    signal.alarm(20)
    together = native.library().functions.lmgen_selftest
    os._exit(0 if together(4) == 4 else 1)
print(os.waitpid(child, 0)[1])
"""
    assert python(program, LMGEN_THREADS="4") == ["300.0", "0"]
