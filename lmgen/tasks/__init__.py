"""The tasks, one file each. To add one: write its class and name it in TASKS."""

from __future__ import annotations

from lmgen.nn.model import NetworkConfig
from lmgen.tasks.cloze import Cloze
from lmgen.tasks.generate import Generate
from lmgen.tasks.graph import OfGraphs
from lmgen.tasks.label import Label
from lmgen.tasks.language import Language
from lmgen.tasks.task import Task
from lmgen.tasks.translate import Translate
from lmgen.tasks.tree import OverTrees

TASKS: dict[str, type[Task]] = {
    "language": Language,
    "cloze": Cloze,
    "tag": Label,
    "classify": Label,
    "tag-classify": Label,
    "generate": Generate,
    "graph": OfGraphs,
    "translate": Translate,
    "tree": OverTrees,
}


def task_of(network: NetworkConfig, precision: str) -> Task:
    """The task of a network."""
    return TASKS[network.task](network, precision)
