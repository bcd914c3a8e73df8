"""The options of all commands but `train`; those that several commands share are declared once."""

from __future__ import annotations

from dataclasses import replace

from lmgen.options import kinds, table
from lmgen.options.kinds import (
    LONGEST_SAMPLE,
    Bounded,
    Choice,
    Column,
    Duration,
    Extent,
    File,
    Files,
    Flag,
    Place,
    Stored,
    Text,
    Texts,
    TwoTexts,
    Weighted,
    Whole,
)
from lmgen.options.table import ENCODING, ERRORS, GLOB, LOWERCASE, NORMALIZE, PRECISION, SEED, SEGMENT, SEQUENCE, UNITS, Option

JSON = Option("json", Flag(), False, "Print one JSON object a line.")
OUTPUT = Option("output", Place(), None, "Output file.", chosen="stdout", short="-o")
FIELD = Option(
    "field", Column(), None, "Column of the text in a table: its name, or its number from 1.", chosen="none", short="--column"
)
OWN_FIELD = replace(FIELD, of="plain", chosen="that of the training text, where the table has it")
CARRY = Option("carry", Flag(), False, "Hold out the end of the corpus, as lmgen train --carry does.")
PROCESSES = Option("processes", Whole(1, kinds.MOST_PROCESSES), 1, "Processes on this machine that share the work.")
MIXTURE = Option("mixture", Flag(), True, "Use all parts of the model, or its network alone.", "members")
QUIET = Option("quiet", Flag(), False, "Print no progress.", short="-q")
MEASURED = (OWN_FIELD, ENCODING, ERRORS, MIXTURE, PRECISION, JSON)  # of commands in which a model measures a text
BATCH, WINDOW = Option("batch", Whole(), None, "", chosen="64"), Option("window", Whole(), None, "", chosen="256")

TRAIN = (
    *table.TRAIN,
    PROCESSES,
    Option("ray", Text(), None, "Run the processes on a Ray cluster: its address, auto, or local.", chosen="no"),
    QUIET,
    Option("dry_run", Flag(), False, "Print the plan, as lmgen plan does, and train nothing."),
)
PLAN = (*(option for option in table.TRAIN if option.of != "directory"), JSON)
_UNTUNED = ("no_valid", "log", "changed_text", "keep", "resume")  # and what other data than plain text has
TUNE = (
    *(
        option
        for option in table.TRAIN
        if option.name not in _UNTUNED
        and {*option.of.split()} & {"text", "directory", "vocabulary", "network", "training", "end"}
    ),
    Option("trials", Whole(), None, "Number of trials, at most.", chosen="20, or with a budget any"),
    Option("resume", Stored(), None, "Go on with the study of this model."),
    QUIET,
    JSON,
)
# What a sample must be like: exact, docs/control.md says how.
CONSTRAINTS = (
    Option("starts_with", Text(), "", "Only samples that start with this text."),
    Option("ends_with", Text(), "", "Only samples that end with this text."),
    Option("contains", Texts(), None, "Only samples that contain this text; repeatable."),
    Option("matches", Text(), "", "Only samples that this regular expression matches as a whole."),
    Option("ban", Texts(), None, "Only samples without this text; repeatable."),
    Option("length", Extent(), None, "Only samples of A to B symbols, prompt included: A:B, A:, :B or A.", chosen="any"),
    Option("min_length", Whole(0, LONGEST_SAMPLE), 0, "Shortest sample, in symbols before EOS."),
)
# The fields of `generation.sampling.Settings`.
SAMPLING = (
    Option("temperature", Bounded(0), 1.0, "Sampling temperature; 0 takes the likeliest symbol.", short="-t"),
    Option("top_k", Whole(0), 0, "Draw from the k likeliest symbols; 0: from all."),
    Option("top_p", Bounded(0, 1, open_low=True), 1.0, "Draw from the fewest symbols whose probabilities sum to p."),
    Option("min_p", Bounded(0, 1), 0.0, "Draw from symbols at least p times as likely as the likeliest."),
    Option("typical", Bounded(0, 1, open_low=True), 1.0, "Draw from the most typical symbols whose probabilities sum to this."),
    Option("repetition_penalty", Bounded(1, 1000), 1.0, "Power of the probabilities of symbols that the sample has already."),
    *CONSTRAINTS,
    Option("stop", Texts(), None, "End a sample before this text; repeatable."),
    Option("max_length", Whole(1, LONGEST_SAMPLE), 1000, "Longest sample, in symbols."),
    Option("lines", Whole(1, LONGEST_SAMPLE), None, "Lines per sample of a model with carried state.", chosen="10"),
    Option("unknown", Flag(), False, "Allow UNK in samples."),
)
LABEL = Option("label", Text(), None, "Label to write by, or several with weights: Irish:0.7,Welsh:0.3.")
DRAWING = (
    Option("count", Whole(), None, "Number of samples.", chosen="10, or 1 with carried state", short="-n"),
    Option("prompt", Text(), "", "Start of each sample.", short="-p"),
    *SAMPLING,
    Option("novel", Flag(), False, "Only samples that are not in the corpus, without repeats."),
    Option("distinct", Flag(), False, "No repeats."),
    Option("seed", SEED, None, "Seed: the same seed gives the same samples.", chosen="random"),
)
NOVELTY_OF = (
    Option("control", File(), None, "Held-out text to compare with.", chosen="the validation text"),
    Option("ngram", Whole(), 5, "Length of the n-grams counted as new or old, in characters."),
    Option("exact", Flag(), False, "Search all of a corpus over 1 MB for the nearest sequence."),
)
SAMPLE = (
    LABEL,
    *DRAWING,
    Option("with", Weighted(), None, "Write with a second model, and the weight of it: MODEL:0.3.", chosen="none; 0.5"),
    Option("match_surprise", Flag(), False, "Fit the temperature, so that samples are as surprising as held-out text."),
    Option("receipt", Place(), None, "Write a receipt, from which lmgen verify draws the same samples."),
    Option("novelty", Files(), None, "Compare the samples with this corpus, as lmgen novelty does; repeatable."),
    *NOVELTY_OF,
    Option("strict", Flag(), False, "Refuse a prompt with symbols unknown to the model."),
    MIXTURE,
    PRECISION,
    JSON,
)
TOP = (
    LABEL,
    DRAWING[1],  # the prompt
    *CONSTRAINTS,
    *(option for option in SAMPLING if option.name in ("max_length", "unknown")),
    MIXTURE,
    PRECISION,
    JSON,
)
VERIFY = (JSON,)
FILL = (
    Option("count", Whole(), 5, "Number of fillings of each text.", short="-n"),
    Option("blank", Text(), "_", "Mark of a missing character; a run of marks is a missing word."),
    PRECISION,
    JSON,
)
DECODING = (  # settings of `Model.predict`
    Option(
        "beam", Whole(1, kinds.MOST_BEAM), 1, "Translations that the search follows; 1: the likeliest symbol each time.", "pairs"
    ),
    Option("length_penalty", Bounded(0, 10), 1.0, "Score by log p ÷ length to this power.", "pairs"),
    Option("temperature", Bounded(0, 100), 0.0, "Draw translations at random at this temperature; 0: search.", "pairs"),
    Option("best", Whole(1, kinds.MOST_BEAM), 1, "Number of translations of each source.", "pairs", short="-n"),
    Option("seed", SEED, 0, "Seed of translations drawn at random.", "pairs"),
)
PREDICT = (
    *DECODING,
    Option("weights", Flag(), False, "With --json, print where each symbol of a translation looked.", "pairs"),
    Option("plot", File(), None, "Draw where the first translation looked to a .png, .svg or .pdf file.", "pairs"),
    Option("top", Whole(), 1, "Number of labels to print for a text.", "labels"),
    Option("above", Bounded(0, 1), 0.0, "Print ? instead of a label less probable than this.", "labels"),
    FIELD,
    ENCODING,
    ERRORS,
    MIXTURE,
    PRECISION,
    JSON,
)
EVAL = (
    Option("with", Stored(), None, "Mix in this model, with the weight that is best on the held-out text.", "plain"),
    Option(
        "adapt",
        Choice(("cache", "dynamic", "both")),
        None,
        "Measure it also while it adapts to what it reads: by a neural cache, by dynamic evaluation, or by both.",
        "plain",
    ),
    Option("valid", File(), None, "Text to fit --with or --adapt on.", "plain", "the held-out text"),
    Option(
        "protocol",
        Choice(("whole", "windows")),
        "whole",
        "windows: reset the state at each window, as some publications do.",
        "plain",
    ),
    Option("baselines", Flag(), True, "Compare with n-gram models and file compressors."),
    replace(BATCH, help="Batch size: changes the speed, not the result.", of="plain"),
    *DECODING[:2],
    replace(WINDOW, help="Symbols per window: changes the result of --protocol windows alone.", of="plain"),
    Option("against", Stored(), None, "Another model of the same task: print the interval of the difference.", "labels pairs"),
    Option("plot", File(), None, "Draw the confusion of the labels to a .png, .svg or .pdf file.", "labels"),
    PROCESSES,
    Option("markdown", Flag(), False, "Print a row of a Markdown table for each text.", "plain"),
    *MEASURED,
)
SCORE = (
    replace(LABEL, help="Label to score by, of a model that writes by label."),
    Option("symbols", Flag(), False, "Print the nats of every symbol, too."),
    *MEASURED,
)
SERVE = (
    Option("host", Text(), "127.0.0.1", "Address to listen on; one that others reach needs a key."),
    Option("port", Whole(0, 65535), 8000, "Port to listen on; 0: any that is free.", short="-p"),
    Option("key_file", File(), None, "File with the key that requests must send as Authorization: Bearer KEY.", chosen="none"),
    Option(
        "allow_host", Texts(), None, "Name by which requests may call this server, beside localhost and addresses; repeatable."
    ),
    Option("allow_origin", Texts(), None, "Origin of pages of other sites that may ask, such as https://a.org; repeatable."),
    Option("max_length", Whole(1, LONGEST_SAMPLE), 4096, "Most symbols written for a text."),
    Option("queue", Whole(), 1024, "Most texts that are written or wait; more are refused."),
    Option("time_limit", Duration(), 120, "Longest time for a request."),
    Option("open", Flag(), False, "Open the page in a browser."),
    MIXTURE,
    PRECISION,
)
COPIED = 30  # characters from which on a span counts as copied
EXPLAIN = (
    Option("compare", TwoTexts(), None, "Compare two texts: which is likelier, and where they differ."),
    Option("top", Whole(1, kinds.MOST_ALTERNATIVES), 5, "Number of the likeliest symbols to show in each place."),
    Option("background", Flag(), True, "Show what an n-gram model of the training text expected, and spans copied from there."),
    Option("copied", Whole(), COPIED, "Shortest span that counts as copied, in characters."),
    Option("table", Flag(), False, "Print an aligned table of the symbols, on a terminal and elsewhere."),
    replace(OUTPUT, help="New HTML page, in one file; - for stdout.", chosen="the terminal"),
    replace(LABEL, help="Label to explain by, of a model that writes by label."),
    *MEASURED,
)
NOVELTY = (
    Option("corpus", Files(), None, "Training text of the model; repeatable.", required=True),
    CARRY,
    *NOVELTY_OF,
    replace(SEQUENCE, help="Unit of the text that is one sample."),
    Option("json_lines", Flag(), False, "Read the output of lmgen sample --json."),
    Option("samples_encoding", Text(), None, "Encoding of SAMPLES.", chosen="that of the corpus"),
    replace(FIELD, help="Column of the corpus, where it is a table: its name, or its number from 1."),
    LOWERCASE,
    NORMALIZE,
    ENCODING,
    ERRORS,
    JSON,
)
COMPRESS = (
    Option("online", Flag(), False, "Compress without a model, by one that learns FILE on the way."),
    Option(
        "level",
        Choice(("1", "2", "3")),
        None,
        "Time given to --online: 1 counts alone; 2, 3 with a small or large network.",
        chosen="2",
    ),
    replace(OUTPUT, help="Compressed file; - for stdout.", chosen="FILE.lmz"),
    MIXTURE,
)
DECOMPRESS = (replace(OUTPUT, help="Restored file; - for stdout.", chosen="FILE without .lmz"), MIXTURE)
FORMAT = Option(
    "format",
    Choice(("html", "numpy", "onnx", "torch", "hub")),
    None,
    "Format to write.",
    chosen="by the suffix of the output, or html",
)
EXPORT = (
    FORMAT,
    replace(OUTPUT, help="Output file, or directory; - for stdout.", chosen="the model's name in this folder"),
    Option("bits", Choice(("16", "8")), None, "Bits of a weight in an html page.", chosen="16"),
    MIXTURE,
    Option("force", Flag(), False, "Replace what an export wrote there."),
)
SHOW = (Option("plot", File(), None, "Draw the training curves to a .png, .svg or .pdf file."), JSON)
REMOVE = (Option("yes", Flag(), False, "Remove without asking.", short="-y"),)
CELLS = (
    Option("size", Whole(), 128, "Units of the layer to measure."),
    Option("speed", Flag(), True, "Measure the speed on this machine, half a second per cell."),
    PRECISION,
    JSON,
)
COMPLETION = (Option("print_", Flag(), False, "Print the script instead."),)
CORPUS_CHECK = (
    Option("valid", File(), None, "Validation text."),
    Option("test", File(), None, "Test text."),
    *(option for option in table.TRAIN if option.name in ("task", "target")),
    GLOB,
    SEQUENCE,
    replace(CARRY, help="Check it as running text: blank lines count, and the end is held out."),
    Option("unit", Choice(UNITS.names[2:]), "word", "Unit of the text that counts as a word."),
    SEGMENT,
    FIELD,
    LOWERCASE,
    NORMALIZE,
    ENCODING,
    ERRORS,
    JSON,
)
CORPUS_BUILD = (
    replace(OUTPUT, help="New folder of the corpus.", chosen="", required=True),
    *(
        option
        for option in table.TRAIN
        if option.of in ("text", "vocabulary") and option.name not in ("task", "column", "separator")
    ),
    Option("shard", Whole(1, 1 << 30), 1 << 21, "Symbols of a shard, about."),
)
ARPA_READ = (
    replace(OUTPUT, help="Model directory.", chosen="checkpoints/ and the file's name"),
    Option("force", Flag(), False, "Replace the model of that name."),
    Option("unit", UNITS, None, "Unit of the text that one word of FILE is.", chosen="as FILE states, or word"),
)
