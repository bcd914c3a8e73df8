"""Commands that several processes of one machine, or of many, carry out together."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable

from lmgen.errors import InputError
from lmgen.system.cluster import environments


def together(processes: int, files: Iterable[str], way_out: str = "", ray: str | None = None) -> Callable[[], int]:
    """A function that makes this process one of those that carry out the command, and returns its number; it is called before
    JAX computes anything.

    A process that is to be watched runs the command in children instead, and ends with their exit code; `way_out` is the command
    by which lost work can be resumed, and `ray` the address of a cluster whose hosts carry the command out. Raises InputError
    where the processes cannot work together, or cannot read the files.
    """
    team = environments.here(1 if ray else processes, os.environ)
    if not team and not ray:
        return lambda: 0
    if "-" in files:
        raise InputError("several processes cannot read standard input: give a file")
    if not environments.watched():
        from lmgen.system.cluster import on_ray, watching

        raise SystemExit(
            watching.watch(team, sys.argv[1:], way_out).code if team else on_ray.run(processes, sys.argv[1:], str(ray))
        )
    assert team

    def join() -> int:
        from lmgen.models import facts
        from lmgen.system.cluster import group, watching

        watching.heed()
        group.join(team, facts.versions)
        return group.number()

    return join
