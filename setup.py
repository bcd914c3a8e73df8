"""Builds the compiled kernels of native/ where that can be done; all else about the package stands in setup.cfg."""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
COMMON = ["-std=c++17", "-O3", "-fPIC", "-fvisibility=hidden", "-pthread"]
AVX2 = ["-mavx2", "-mfma"]
AVX512 = [*AVX2, "-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq"]
# kernels.cc is compiled once for each kind of kernel: its name, its instructions, whether products are of bfloat16.
KINDS = {"avx2": (AVX2, 0), "avx512": (AVX512, 0), "avx512bf16": ([*AVX512, "-mavx512bf16"], 1)}


class Build(build_ext):
    """Compiles native/ with the C++ compiler at hand; a build that fails is told and leaves the package without kernels."""

    def build_extension(self, ext: Extension) -> None:
        try:
            target = Path(self.get_ext_fullpath(ext.name)).absolute()
            build(target, Path(self.build_temp).absolute())
        except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
            print(f"warning: lmgen is installed without its compiled kernels, and is slower: {error}", file=sys.stderr)


def build(target: Path, folder: Path) -> None:
    """Compile and link the library `target`. Raises RuntimeError or CalledProcessError where that fails."""
    if platform.machine() not in ("x86_64", "AMD64") or platform.system() != "Linux":
        raise RuntimeError(f"there are none for {platform.system()} on {platform.machine()}")
    compiler = (
        shlex.split(os.environ.get("CXX", "")) or [found for found in map(shutil.which, ("c++", "g++", "clang++")) if found][:1]
    )
    if not compiler:
        raise RuntimeError("no C++ compiler was found; install one (g++) and install lmgen again")
    jaxlib = find_spec("jaxlib")
    if jaxlib is None or jaxlib.origin is None:
        raise RuntimeError("the headers of jaxlib were not found")
    folder.mkdir(parents=True, exist_ok=True)
    extra = shlex.split(os.environ.get("CXXFLAGS", ""))
    compile_one = [*compiler, *COMMON, *extra, "-isystem", str(Path(jaxlib.origin).parent / "include")]
    objects = {
        folder / f"{name}.o": [*compile_one, "-c", str(ROOT / "native" / f"{name}.cc")] for name in ("bind", "cpu", "team")
    }
    for name, (flags, bf16) in KINDS.items():
        source = ["-c", str(ROOT / "native" / "kernels.cc")]
        objects[folder / f"kernels_{name}.o"] = [*compile_one, *flags, f"-DLMGEN_KIND={name}", f"-DLMGEN_BF16={bf16}", *source]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda job: subprocess.run([*job[1], "-o", str(job[0])], check=True), objects.items()))
    target.parent.mkdir(parents=True, exist_ok=True)
    linked = folder / "linked.so"
    subprocess.run([*compiler, "-shared", "-pthread", *extra, "-o", str(linked), *map(str, objects)], check=True)
    os.replace(linked, target)  # a process that uses the one before keeps it


setup(ext_modules=[Extension("lmgen._native", sources=[], optional=True)], cmdclass={"build_ext": Build})
