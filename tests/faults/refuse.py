"""How the model directories below a folder are refused: python refuse.py FOLDER.

The reader of lmgen.checkpoint is let loose on each in a process of its own; a line of JSON for each says what was raised, after
how many seconds on the clock and of the processor, and with how many bytes of memory at its peak.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

from lmgen.errors import CheckpointError
from lmgen.system import checkpoint

MOST = 4 << 30  # bytes that a process may ask for, so that what is not refused does no harm here either


def refusal(path: Path) -> str:
    """What reading a model raises."""
    try:
        checkpoint.read_model(path)
    except CheckpointError as error:
        return f"CheckpointError: {error}"
    except BaseException as error:
        return f"{type(error).__name__}: {error}"[:200]
    return "nothing"


def alone(path: Path) -> dict[str, Any]:
    """The refusal of one directory by a process of its own."""
    reading, writing = os.pipe()
    if not (child := os.fork()):
        resource.setrlimit(resource.RLIMIT_AS, (MOST, MOST))
        start, busy = time.perf_counter(), time.process_time()
        found = {"found": refusal(path), "seconds": time.perf_counter() - start, "busy": time.process_time() - busy}
        os.write(writing, json.dumps(found).encode())
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as told:
        line = told.read()
    _, _, usage = os.wait4(child, 0)
    return {**json.loads(line or '{"found": "the process died", "seconds": 0, "busy": 0}'), "memory": usage.ru_maxrss * 1024}


def main() -> None:
    for path in sorted(Path(sys.argv[1]).iterdir()):
        print(json.dumps({"name": path.name, **alone(path)}), flush=True)


if __name__ == "__main__":
    main()
