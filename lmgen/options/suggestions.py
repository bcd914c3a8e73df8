"""Suggestions for unknown commands and options: other tools' names for them, and similar spellings."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import click

COMMANDS = {
    **dict.fromkeys(("generate", "gen", "write", "complete", "draw"), "sample"),
    **dict.fromkeys(("infer", "inference", "classify", "tag", "label"), "predict"),
    **dict.fromkeys(("evaluate", "test", "measure", "perplexity", "ppl", "validate", "benchmark"), "eval"),
    **dict.fromkeys(("ls", "dir", "models"), "list"),
    **dict.fromkeys(("info", "describe", "inspect"), "show"),
    **dict.fromkeys(("rm", "del", "delete"), "remove"),
    **dict.fromkeys(("mv", "move"), "rename"),
    **dict.fromkeys(("fit", "learn", "resume", "finetune", "fine-tune"), "train"),
    **dict.fromkeys(("check", "stats", "data", "dataset"), "corpus"),
    **dict.fromkeys(("infill", "mask"), "fill"),
    **dict.fromkeys(("likelihood", "logprob", "rank"), "score"),
    **dict.fromkeys(("networks", "architectures"), "cells"),
    **dict.fromkeys(("env", "system", "diagnose"), "doctor"),
}
OPTIONS = {
    **dict.fromkeys(("lr", "rate", "learningrate", "alpha"), "learning-rate"),
    **dict.fromkeys(("temp", "t"), "temperature"),
    **dict.fromkeys(("hidden", "hidden-size", "hidden-dim", "hidden-units", "units", "nhid", "rnn-size", "dim"), "size"),
    **dict.fromkeys(("num-layers", "n-layers", "nlayers", "layer", "depth"), "layers"),
    **dict.fromkeys(("epoch", "num-epochs", "n-epochs", "passes", "max-epochs"), "epochs"),
    **dict.fromkeys(("max-steps", "iterations", "iters", "max-iters", "updates"), "steps"),
    **dict.fromkeys(("batch-size", "bs", "batchsize", "bsz"), "batch"),
    **dict.fromkeys(("bptt", "seq-len", "seq-length", "sequence-length", "block-size", "context", "context-length"), "window"),
    **dict.fromkeys(("emb", "emsize", "embed", "embedding-size", "embedding-dim", "embed-dim"), "embedding"),
    **dict.fromkeys(("time", "time-limit", "timeout", "minutes", "seconds", "duration"), "budget"),
    **dict.fromkeys(("grad-clip", "max-norm", "clip-norm", "max-grad-norm", "gradient-clip"), "clip"),
    **dict.fromkeys(("drop", "dropout-rate", "p-dropout"), "dropout"),
    **dict.fromkeys(("dropouti", "dropout-i", "in-dropout"), "input-dropout"),
    **dict.fromkeys(("dropoute", "dropout-e", "token-dropout", "word-dropout"), "embedding-dropout"),
    **dict.fromkeys(("wdrop", "weight-drop", "dropconnect"), "weight-dropout"),
    **dict.fromkeys(("variational-dropout", "recurrent-dropout", "hidden-dropout"), "state-dropout"),
    **dict.fromkeys(("momentum", "adam-beta1", "beta-1"), "beta1"),
    **dict.fromkeys(("adam-beta2", "beta-2"), "beta2"),
    **dict.fromkeys(("wd", "decay", "l2"), "weight-decay"),
    **dict.fromkeys(("model", "arch", "architecture", "type", "rnn-type", "rnn", "model-type"), "cell"),
    **dict.fromkeys(("tied", "tie-weights", "weight-tying"), "tie"),
    **dict.fromkeys(("bidirectional", "bidir"), "direction"),
    **dict.fromkeys(("early-stopping", "early-stop"), "patience"),
    **dict.fromkeys(("val", "validation", "valid-file", "dev"), "valid"),
    **dict.fromkeys(("out", "save", "output-dir", "out-dir", "save-dir"), "output"),
    **dict.fromkeys(("overwrite", "replace"), "force"),
    **dict.fromkeys(("continue", "checkpoint", "load"), "resume"),
    **dict.fromkeys(("tokenizer", "tokens", "level", "token"), "unit"),
    **dict.fromkeys(("min-freq", "min-frequency"), "min-count"),
    **dict.fromkeys(("vocab", "vocabulary", "vocabulary-size", "max-vocab"), "vocab-size"),
    **dict.fromkeys(("dtype", "fp16", "bf16", "amp"), "precision"),
    **dict.fromkeys(("random-seed", "random-state"), "seed"),
    **dict.fromkeys(("num", "n", "number", "num-samples", "samples", "num-return-sequences"), "count"),
    **dict.fromkeys(("start", "prefix", "prime", "seed-text", "start-text", "begin"), "prompt"),
    **dict.fromkeys(("length", "max-len", "max-tokens", "max-new-tokens", "num-tokens"), "max-length"),
    **dict.fromkeys(("unique", "no-repeats"), "distinct"),
    **dict.fromkeys(("new", "only-new"), "novel"),
    "silent": "quiet",
}
LEAST_SIMILAR = 0.7  # ratio from which one word may be the other misspelt


def message(error: click.ClickException) -> str:
    """The sentence of an error, with "did you mean" for an unknown option or command."""
    import click

    context = getattr(error, "ctx", None)
    if not context or not isinstance(error, click.exceptions.NoSuchOption | click.exceptions.NoSuchCommand):
        return error.format_message().rstrip(".")
    flags = [name for p in context.command.get_params(context) for name in p.opts + p.secondary_opts if name[:2] == "--"]
    if isinstance(error, click.exceptions.NoSuchOption):
        word = error.option_name.lstrip("-").replace("_", "-").lower()
        meant = [flag for flag in (f"--{word}", f"--{OPTIONS.get(word)}") if flag in flags]
        return _asking(f"there is no option {error.option_name}", meant or closest(error.option_name, flags))
    word, known = error.command_name.lower(), [*context.command.commands]
    meant = [one for one in (word, f"--{word}", COMMANDS.get(word, "")) if one in (*known, *flags)]
    found = [f"{context.command_path} {one}" for one in meant or closest(word, known)]
    return _asking(f"there is no command {error.command_name!r}", found)


def _asking(sentence: str, meant: list[str]) -> str:
    return f"{sentence}: did you mean {' or '.join(meant)}?" if meant else sentence


def closest(word: str, known: Iterable[str], most: int = 2) -> list[str]:
    """The known words of the most similar spelling, best first; one alone if it is clearly the best."""
    ratios = {one: SequenceMatcher(None, one.lower().lstrip("-"), word.lower().lstrip("-")).ratio() for one in known}
    found = sorted((one for one in ratios if ratios[one] >= LEAST_SIMILAR), key=lambda one: (-ratios[one], one))
    return [one for one in found if ratios[one] > ratios[found[0]] - 0.1][:most]
