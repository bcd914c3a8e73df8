"""The speed of lmgen on a GPU compared with PyTorch, which uses cuDNN: writes a section of benchmarks/RESULTS.md.

    python benchmarks/gpu.py [SECONDS] [--print]

All contestants are processes that build their models and warm up side by side; then they work one after the other, round by round,
and the median of the rounds counts. With --print the section is printed. Needs PyTorch and JAX with CUDA.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing
from importlib import metadata
from pathlib import Path

from report import Commands, section_of, table, write
from speed import SHAPES, Worker, a_step
from speed_workers import Job

ROUNDS = 5
TIMED = SHAPES[:4]
EXACT = (("JAX_DEFAULT_MATMUL_PRECISION", "highest"),)
Contestants = dict[str, Job]
