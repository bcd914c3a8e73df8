"""The network and the pace that suit a text, where a user leaves them open: a module for each structure, named in CHOICES."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lmgen.defaults import graphs, labelling, translating, trees
from lmgen.structured.table import GRAPHS, LABELS, PAIRS, TREES

CHOICES: dict[str, Callable[..., Any]] = {  # by the task
    **dict.fromkeys(LABELS.tasks, labelling.choose),
    **dict.fromkeys(PAIRS.tasks, translating.choose),
    **dict.fromkeys(TREES.tasks, trees.choose),
    **dict.fromkeys(GRAPHS.tasks, graphs.choose),
}
