"""Builds the compiled kernels of native/ if possible; the rest of the package is described in setup.cfg.

LMGEN_NATIVE=all makes a build fail that lacks a kind of kernels; LMGEN_NATIVE=off builds none, for a wheel for any system.
_PYTHON_HOST_PLATFORM=linux-aarch64, with a cross compiler as CXX, builds for another machine.
"""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
COMMON = ["-std=c++17", "-O3", "-fPIC", "-fvisibility=hidden", "-pthread"]
AVX2 = ["-mavx2", "-mfma"]
AVX512 = [*AVX2, "-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq"]
AVX512_BF16 = [*AVX512, "-mavx512bf16", "-DLMGEN_BF16=1"]
AMX = [*AVX512_BF16, "-mamx-tile", "-mamx-bf16", "-DLMGEN_AMX=1"]
NEON = ["-fno-schedule-insns", "-Wno-ignored-optimization-argument"]  # GCC would have to spill sums; clang does not know it
NEON_BF16 = [*NEON, "-march=armv8.2-a+bf16", "-DLMGEN_BF16=1"]
X86 = {"avx2": AVX2, "avx512": AVX512, "avx512bf16": AVX512_BF16, "amx": AMX}
ARM = {"neon": NEON, "neonbf16": NEON_BF16}
# By system and machine; kernels.cc is compiled once for each kind of kernels.
KINDS = {("linux", "x86_64"): X86, ("linux", "aarch64"): ARM, ("macosx", "arm64"): ARM}
ASKED = os.environ.get("LMGEN_NATIVE")


class Build(build_ext):
    """Compiles native/. If that fails, it prints a warning, and the package works without kernels."""

    def get_ext_filename(self, fullname: str) -> str:
        return os.path.join(*fullname.split(".")) + ".so"  # loaded by ctypes, so the same for every Python

    def build_extension(self, ext: Extension) -> None:
        target = Path(self.get_ext_fullpath(ext.name)).absolute()
        target.unlink(missing_ok=True)  # it must not survive a failed build
        try:
            build(target, Path(self.build_temp).absolute(), kinds())
        except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
            if ASKED == "all":
                raise
            print(f"warning: lmgen is installed without its compiled kernels, and is slower: {error}", file=sys.stderr)

    def copy_extensions_to_source(self) -> None:  # of an editable install, where get_ext_fullpath now leads
        Path(self.get_ext_fullpath("lmgen._native")).unlink(missing_ok=True)
        super().copy_extensions_to_source()


class Wheel(bdist_wheel):
    """A wheel for every version of Python."""

    def get_tag(self) -> tuple[str, str, str]:
        return "py3", "none", super().get_tag()[2]


def kinds() -> dict[str, list[str]]:
    """The compiler's flags of each kind of kernels to build for the machine that Python is told to build for: mostly this one."""
    system, *_, machine = sysconfig.get_platform().split("-")
    if machine.startswith("universal"):  # a Python for both kinds of Mac
        machine = platform.machine()
    return {} if ASKED == "off" else KINDS.get((system, machine), {})


def build(target: Path, folder: Path, kinds: dict[str, list[str]]) -> None:
    """Compile and link the library `target`. Raises OSError, RuntimeError or CalledProcessError."""
    compiler = (
        shlex.split(os.environ.get("CXX", "")) or [found for found in map(shutil.which, ("c++", "g++", "clang++")) if found][:1]
    )
    if not compiler:
        raise RuntimeError("there is no C++ compiler; install one (g++) and install lmgen again")
    jaxlib = find_spec("jaxlib")
    if jaxlib is None or jaxlib.origin is None:
        raise RuntimeError("there are no headers of jaxlib")
    folder.mkdir(parents=True, exist_ok=True)
    extra = shlex.split(os.environ.get("CXXFLAGS", ""))
    compile_one = [*compiler, *COMMON, *extra, "-isystem", str(Path(jaxlib.origin).parent / "include")]
    sources = {name: [name] for name in ("bind", "bind_sampling", "cpu", "text", "thread_pool")}
    sources |= {"counts": ["counts", "-ffp-contract=off"]}  # the numbers are the same on every processor
    sources |= {f"kernels_{kind}": ["kernels", f"-DLMGEN_KIND={kind}", *flags] for kind, flags in kinds.items()}

    def compiled(job: tuple[str, list[str]]) -> str:
        name, (source, *flags) = job
        words = [*compile_one, *flags, "-c", str(ROOT / "native" / f"{source}.cc"), "-o", str(folder / f"{name}.o")]
        failed = subprocess.run(words, check=source != "kernels").returncode
        return "" if failed else str(folder / f"{name}.o")

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = dict(zip(sources, pool.map(compiled, sources.items()), strict=True))
    lacking = [kind for kind in kinds if not objects[f"kernels_{kind}"]]
    if len(lacking) == len(kinds):
        raise RuntimeError(f"{compiler[0]} cannot compile any of them")
    if lacking and ASKED == "all":
        raise RuntimeError(f"{compiler[0]} cannot compile those for {', '.join(lacking)}")
    if lacking:
        print(f"warning: {compiler[0]} cannot compile the kernels for {', '.join(lacking)}, which are left out", file=sys.stderr)
    target.parent.mkdir(parents=True, exist_ok=True)
    linked = folder / "linked.so"
    subprocess.run([*compiler, "-shared", "-pthread", *extra, "-o", str(linked), *filter(None, objects.values())], check=True)
    os.replace(linked, target)  # a process that uses the old file keeps it


if __name__ == "__main__":
    library = Extension("lmgen._native", sources=[], optional=True)
    setup(ext_modules=[library] if kinds() else [], cmdclass={"build_ext": Build, "bdist_wheel": Wheel})
