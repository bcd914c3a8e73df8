"""Inputs of many kinds that nobody would make on purpose, and what is done with each: lmgen works, or says in a sentence why not.

Each kind is a strategy and a function that takes what it draws; whatever the function raises is a fault of lmgen. The tests
beside this file run some hundred of each, `make fuzz` and benchmarks/fuzz.py many thousand.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from directories import checkpoints, configs, read_checkpoint, read_config
from hypothesis import strategies as st
from invocations import invocations, run_command
from records import graph_files, labelled, pair_files, read_graphs, read_labelled, read_pairs, read_trees, tree_files
from texts import read_corpus, read_vectors, read_vocabulary, readings, vector_files, vocabularies

# Each kind: what is drawn, what is done with it, and how many are tried quickly, at length, and for benchmarks/RESULTS.md.
KINDS: dict[str, tuple[st.SearchStrategy[Any], Callable[[Any], Any], int, int, int]] = {
    "corpora": (readings, read_corpus, 300, 20_000, 5_000),
    "labelled": (labelled, read_labelled, 300, 20_000, 5_000),
    "graphs": (graph_files, read_graphs, 300, 20_000, 5_000),
    "pairs": (pair_files, read_pairs, 300, 20_000, 5_000),
    "trees": (tree_files, read_trees, 300, 20_000, 5_000),
    "vocabularies": (vocabularies, read_vocabulary, 300, 20_000, 10_000),
    "vectors": (vector_files, read_vectors, 300, 20_000, 5_000),
    "configurations": (configs, read_config, 80, 5_000, 2_500),
    "checkpoints": (checkpoints, read_checkpoint, 150, 5_000, 2_500),
    "options": (invocations, run_command, 80, 5_000, 1_200),
}
