"""Labels from the command line: every form of labelled data is trained on, predicted and measured; a mistake is one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from labelled_files import CLASSES, SENTENCES, WORDS, made

from lmgen.labelled.forms import FORMS
from support import invented_words, lines, on_a_terminal

TINY = ["--steps", "40", "--size", "8", "--embedding", "8", "--batch", "8", "--learning-rate", "0.02", "--input", "symbol"]
WRITING = ["--task", "generate", "--steps", "40", "--size", "8", "--embedding", "8", "--batch", "4", "--window", "8"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with data of every form, plain text, and a model of each task; to be read, not changed."""
    import lmgen

    folder = tmp_path_factory.mktemp("labels")
    small = {"steps": 120, "size": 8, "embedding": 8, "batch": 8, "learning_rate": 0.02}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        for form in (*FORMS, "several"):
            made(form, folder)
        (folder / "plain.txt").write_text(lines(text for _, text in CLASSES))
        for name, form in {"classes": "tsv", "tags": "columns", "both": "folder", "several": "several"}.items():
            lmgen.train(folder / f"data.{form}", output=folder / name, input="symbol", **small)
        lmgen.train(folder / "data.tsv", output=folder / "writer", task="generate", **small)
        lmgen.train(folder / "plain.txt", output=folder / "plain", unit="word", **small)
        lmgen.train(folder / "plain.txt", output=folder / "cloze", direction="both", **small)
        lmgen.train(folder / "plain.txt", output=folder / "grams", cell="ngram", order=2)
    return folder


# ---- train -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_train_sees_what_there_is_to_learn_and_says_why(form, lmgen, tmp_path):
    """The task, the reason, how to overrule it, the command to type next; that command works on the same data."""
    task = {"columns": "tag", "folder": "tag and classify"}.get(form, "classify")
    path = made(form, tmp_path)
    code, out, err = lmgen("train", path, *TINY, "-o", "m")
    assert (code, out) == (0, "")
    first = err.splitlines()[0]
    assert path.name in first
    assert first.endswith(f": learning to {task} (--task language: plain text)")
    assert "% of them filler" in err
    assert err.endswith("lmgen predict m FILE\n")
    code, out, err = lmgen("predict", "m", path)
    assert (code, err) == (0, "")
    assert out.count("\n") >= len(CLASSES)


def test_the_task_can_be_overruled(home, lmgen):
    """Plain text of labelled data, writing by label, the tags alone or the labels alone of data that have both."""
    for task, facts in {"language": None, "generate": {"labels"}}.items():
        assert lmgen("train", home / "data.tsv", "--task", task, *WRITING[2:], "-o", task, "-q")[0] == 0
        found = json.loads(lmgen("show", task, "--json")[1])
        assert found.keys() >= (facts or set())
        assert ("labels" in found) == (facts is not None)
    for task, (labels, tags) in {"tag": (0, 4), "classify": (2, 0)}.items():
        assert lmgen("train", home / "data.folder", "--task", task, *TINY, "-o", task, "-q")[0] == 0
        found = json.loads(lmgen("show", task, "--json")[1])
        assert (found["task"], len(found["labels"]), len(found["tags"])) == (task, labels, tags)


def test_options_of_the_network_reach_it(home, lmgen):
    """Although the data, not --task, decide what is learnt."""
    words = ["--pool", "last", "--input", "hash", "--direction", "forward", "--cell", "gru"]
    assert lmgen("train", home / "data.tsv", "--steps", "2", "--size", "8", *words, "-o", "m", "-q")[0] == 0
    found = json.loads(lmgen("show", "m", "--json")[1])
    expected = {"pool": "last", "hashed": True, "direction": "forward", "cell": "gru", "size": 8}
    assert {name: found[name] for name in expected} == expected


def test_a_labelled_training_is_resumed_and_measures_what_it_held_out(home, lmgen, tmp_path):
    path = tmp_path / "data.tsv"
    path.write_text(lines(f"{label}\tthe {name} is {WORDS[label][0]}" for name in invented_words(300) for label in WORDS))
    assert lmgen("train", path, *TINY, "-o", "m", "-q")[0] == 0
    code, _, err = lmgen("train", "--resume", "m", "--steps", "60")
    assert code == 0
    assert "going on with m from step 40" in err
    code, out, _ = lmgen("eval", "m", "--json")
    assert (code, json.loads(out)["file"]) == (0, "held-out text")
    with path.open("a") as file:
        file.write("good\tone more\n")
    code, _, err = lmgen("train", "--resume", "m", "--steps", "80")
    assert code == 2
    assert "the text has changed" in err
    code, _, err = lmgen("eval", "m", path)
    assert code == 0
    assert "no baselines: the text has changed" in err


@pytest.mark.parametrize("unit", ["word", "word-punct"])
def test_tokens_and_text_are_the_same_words(unit, home, lmgen):
    """A model that learnt from tokens reads the words of a plain text as the same symbols."""
    assert lmgen("train", home / "data.columns", *TINY, "--unit", unit, "-o", "m", "-q")[0] == 0
    as_text = lmgen("predict", "m", "--json", stdin="leave Oslo in May\n")[1]
    Path("one.jsonl").write_text('{"tokens": ["leave", "Oslo", "in", "May"], "tags": ["O", "O", "O", "O"]}\n')
    assert lmgen("predict", "m", "one.jsonl", "--json")[1] == as_text
    assert json.loads(as_text)["tokens"] == ["leave", "Oslo", "in", "May"]
    assert json.loads(lmgen("eval", "m", "one.jsonl", "--json")[1])["unknown"] == 0


def test_tokens_of_one_character_are_characters(lmgen):
    """As in segmentation: the text to tag needs no spaces; tokens of several characters cannot be read so."""
    Path("data.conll").write_text("你 B\n好 E\n\n我 B\n们 I\n都 E\n\n" * 20)
    assert lmgen("train", "data.conll", *TINY, "-o", "m", "-q")[0] == 0
    assert json.loads(lmgen("predict", "m", "--json", stdin="我好\n")[1])["tokens"] == ["我", "好"]
    Path("words.conll").write_text("New B-x\nYork I-x\n\nin O\nRome B-x\n\n" * 20)
    code, _, err = lmgen("train", "words.conll", *TINY, "--unit", "char", "-o", "n")
    assert code == 2
    assert "are longer than a character: leave out --unit char" in err


# ---- predict -----------------------------------------------------------------------------------------------------------


def test_predict_prints_label_probability_and_text_from_a_file_or_a_pipe(home, lmgen):
    text = lines(text for _, text in CLASSES)
    for words, stdin in ((["data.tsv"], None), (["plain.txt"], None), ([], text), (["-"], text)):
        code, out, err = lmgen(
            "predict", home / "classes", *(home / word if word != "-" else word for word in words), stdin=stdin
        )
        assert (code, err) == (0, "")
        rows = [row.split("\t") for row in out.splitlines()]
        assert [row[2] for row in rows] == [text for _, text in CLASSES]
        assert [row[0] for row in rows] == [label for label, _ in CLASSES]
        assert all(0.5 <= float(row[1]) <= 1 for row in rows)


def test_top_prints_that_many_labels_which_sum_to_one(home, lmgen):
    code, out, _ = lmgen("predict", home / "classes", "--top", "2", stdin="the film bade is fine\n")
    rows = [row.split("\t") for row in out.splitlines()]
    assert code == 0
    assert [row[0] for row in rows] == ["good", "bad"]
    assert sum(float(row[1]) for row in rows) == pytest.approx(1, abs=2e-4)
    record = json.loads(lmgen("predict", home / "classes", "--top", "2", "--json", stdin="the film bade is fine\n")[1])
    assert [one["label"] for one in record["top"]] == ["good", "bad"]
    assert record["top"][0]["probability"] == record["probability"]


def test_above_abstains_where_nothing_is_so_probable(home, lmgen):
    """With "?" in a line and null in JSON; the probability is still told."""
    assert lmgen("predict", home / "classes", "--above", "1", stdin="the film bade is fine\n")[1].startswith("?\t0.")
    assert lmgen("predict", home / "classes", "--above", "0.5", stdin="the film bade is fine\n")[1].startswith("good\t")
    record = json.loads(lmgen("predict", home / "classes", "--above", "1", "--json", stdin="the film bade is fine\n")[1])
    assert record["label"] is None
    assert record["probability"] > 0.5
    out = lmgen("predict", home / "both", "--above", "1", stdin="arrive Rome in May\n")[1]
    assert {row.split("\t")[1] for row in out.splitlines()[1:-1]} == {"?"}


def test_tags_are_columns_that_are_labelled_data_again(home, lmgen, tmp_path):
    """The words with their tags, a blank line between sentences, the label as a comment; what --json says, too."""
    code, out, _ = lmgen("predict", home / "both", home / "data.folder")
    assert code == 0
    records = [*map(json.loads, lmgen("predict", home / "both", home / "data.folder", "--json")[1].splitlines())]
    blocks = [block.splitlines() for block in out.strip().split("\n\n")]
    assert len(blocks) == len(SENTENCES)
    for block, record, (tokens, _, label) in zip(blocks, records, SENTENCES, strict=True):
        assert block[0].split("\t")[0] == f"# label: {label}"
        assert record["label"] == label
        assert [tuple(row.split("\t")[:2]) for row in block[1:]] == [*zip(tokens, record["tags"], strict=True)]
    (tmp_path / "predicted.conll").write_text(out)
    assert lmgen("train", "predicted.conll", *TINY, "--column", "2", "-o", "again", "-q")[0] == 0
    assert json.loads(lmgen("show", "again", "--json")[1])["tags"] == sorted(
        {tag for record in records for tag in record["tags"]}
    )


def test_json_has_the_entities_with_their_words(home, lmgen):
    record = json.loads(lmgen("predict", home / "tags", "--json", stdin="leave Oslo in May\n")[1])
    assert record["tokens"] == ["leave", "Oslo", "in", "May"]
    assert record["tags"] == ["O", "B-leave", "O", "B-date"]
    entities = [(one["label"], one["start"], one["end"], one["text"]) for one in record["entities"]]
    assert entities == [("leave", 1, 2, "Oslo"), ("date", 3, 4, "May")]
    assert record["entities"][0]["probability"] == record["probabilities"][1]


def test_several_labels_are_joined_and_each_has_its_probability(home, lmgen):
    code, out, _ = lmgen("predict", home / "several", "--json", "--top", "4", stdin="the film bade is dull\n")
    record = json.loads(out)
    assert code == 0
    likely = [one for one in record["top"] if one["probability"] >= 0.5]
    assert record["labels"] == likely
    assert {one["label"] for one in record["top"]} == {"good", "bad", "even", "odd"}
    line = lmgen("predict", home / "several", stdin="the film bade is dull\n")[1].split("\t")
    assert line[0] == ",".join(one["label"] for one in likely)
    assert float(line[1]) == pytest.approx(min(one["probability"] for one in likely), abs=1e-4)
    assert len(lmgen("predict", home / "several", "--top", "3", stdin="the film bade is dull\n")[1].splitlines()) == 3


# ---- eval --------------------------------------------------------------------------------------------------------------


def test_eval_says_in_a_table_and_in_json_what_it_measured(home, lmgen):
    code, out, _ = lmgen("eval", home / "both", home / "data.folder")
    assert code == 0
    for words in ("labels (120)", "tags (480)", "entity F1", "majority alone", "naive Bayes alone", "most frequent tag alone"):
        assert words in out
    record = json.loads(lmgen("eval", home / "both", home / "data.folder", "--json")[1])
    assert (record["sequences"], record["symbols"], record["unknown"]) == (120, 480, 0)
    assert record["labels"]["confusion"]["labels"] == ["arrive", "leave"]
    assert sum(map(sum, record["labels"]["confusion"]["counts"])) == 120
    assert record["entity_f1"] == record["tags"]["entity_f1"]


def test_eval_measures_each_file_and_compares_two_models_on_the_same(home, lmgen):
    files = [home / "data.tsv", home / "data.jsonl"]
    out = lmgen("eval", home / "classes", *files, "--json", "--no-baselines")[1]
    records = [json.loads(line) for line in out.splitlines()]
    assert [Path(record["file"]).name for record in records] == ["data.tsv", "data.jsonl"]
    assert records[0]["labels"]["confusion"] == records[1]["labels"]["confusion"]
    same = json.loads(lmgen("eval", home / "classes", files[0], "--against", home / "classes", "--json")[1])
    assert same["difference"] == {"labels": [0, 0]}
    code, out, _ = lmgen("eval", home / "classes", files[0], "--against", home / "classes")
    assert code == 0
    assert "accuracy +0.00% against the other model [+0.00%, +0.00%]" in out


def test_labels_beside_the_texts_of_a_pipe_are_not_looked_at(home, lmgen):
    texts = [text for _, text in CLASSES[:3]]
    code, out, err = lmgen("predict", home / "classes", stdin=lines(texts))
    assert (code, err) == (0, "")
    labelled = lines(f"{label}\t{text}" for label, text in CLASSES[:3])
    assert lmgen("predict", home / "classes", stdin=labelled)[:2] == (0, out)
    assert (
        "3 lines with a label beside the text, which was not looked at" in lmgen("predict", home / "classes", stdin=labelled)[2]
    )
    assert lmgen("predict", home / "classes", stdin=f"new\t{texts[0]}\n")[1].endswith(f"\tnew\t{texts[0]}\n")


def test_the_measures_fit_a_narrow_terminal(home):
    for name, path in (("classes", "data.tsv"), ("writer", "data.tsv"), ("both", "data.folder")):
        seen = on_a_terminal("eval", home / name, home / path, columns=60, NO_COLOR="1")
        lines = seen.replace("\r", "").splitlines()
        assert max(len(line) for line in lines if not line.startswith(str(home))) <= 60
        assert not any(line.startswith("label: ") for line in lines)  # a table all the same


def test_the_confusion_is_drawn_and_nothing_is_overwritten(home, lmgen):
    pytest.importorskip("matplotlib")
    code, _, err = lmgen("eval", home / "classes", home / "data.tsv", "--plot", "c.png")
    assert (code, err) == (0, "wrote c.png\n")
    picture = Path("c.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    code, _, err = lmgen("eval", home / "classes", home / "data.tsv", "--plot", "c.png")
    assert code == 1 or code == 2
    assert "nothing is overwritten" in err
    assert Path("c.png").read_bytes() == picture


def test_eval_of_a_writer_sums_its_labels(home, lmgen):
    record = json.loads(lmgen("eval", home / "writer", home / "data.tsv", "--json")[1])
    assert [row["label"] for row in record["labels"]] == ["bad", "good"]
    assert record["nats"] == pytest.approx(sum(row["nats"] for row in record["labels"]))
    assert record["symbols"] == sum(len(text) + 1 for _, text in CLASSES)
    out = lmgen("eval", home / "writer", home / "data.tsv")[1]
    assert [row.split()[0] for row in out.splitlines()[4:]] == ["all", "bad", "good"]


# ---- writing by label --------------------------------------------------------------------------------------------------


def test_samples_and_scores_are_given_a_label_or_a_mixture(home, lmgen):
    for label in ("good", "good:0.7,bad:0.3"):
        code, out, _ = lmgen(
            "sample", home / "writer", "--label", label, "-n", "3", "--seed", "1", "--max-length", "20", "--json"
        )
        assert code == 0
        assert len(out.splitlines()) == 3
    assert (
        lmgen("sample", home / "writer", "--label", "good:2", "--seed", "1")[1]
        == (lmgen("sample", home / "writer", "--label", "good", "--seed", "1")[1])
    )
    nats = [
        float(lmgen("score", home / "writer", "--label", one, stdin="the film bade is fine\n")[1].split("\t")[0]) for one in WORDS
    ]
    assert nats[0] != nats[1]


# ---- show, list, corpus check ------------------------------------------------------------------------------------------


def test_show_and_list_say_what_kind_of_model_it_is(home, lmgen, tmp_path):
    (tmp_path / "checkpoints").symlink_to(home)
    out = lmgen("show", "both")[1]
    rows = dict(row.split(None, 1) for row in out.splitlines())
    assert (rows["task"], rows["labels"]) == ("tag-classify", "arrive, leave")
    models = {row["name"]: row["model"] for row in map(json.loads, lmgen("list", "--json")[1].splitlines())}
    assert models["tags"] == "lstm 1 × 8, tag, word"
    assert models["writer"] == "lstm 1 × 8, by label, char"


# ---- mistakes ----------------------------------------------------------------------------------------------------------

MISTAKES = {
    "train data.tsv --task tag": "2 different labels before a TAB in 120 lines, so there is nothing to tag: leave out --task",
    "train data.columns --task classify": "so there is nothing to classify: leave out --task",
    "train data.columns --task generate": "so there is nothing to generate: leave out --task",
    "train data.jsonl --task tag-classify": "so there is nothing to tag and classify: leave out --task",
    "train plain.txt --task classify": "plain.txt has nothing to classify: give text in one of the forms tsv, csv,",
    "train plain.txt --pool mean": "a language model has no pool: leave that out",
    "train data.tsv --task classify --carry": "a labelling network has no carry: leave that out",
    "train data.tsv --task classify --sequence file": "a labelling network has no sequence: leave that out",
    "train data.tsv --task generate --direction both": "a network that writes by label has no direction: leave that out",
    "train data.tsv --task generate --pool last": "a network that writes by label has no pool: leave that out",
    "train data.tsv --task classify --cell ngram": "an n-gram model has no task: leave that out",
    "train data.tsv --tie": "a labelling network has no tie: leave that out",
    "train data.tsv --column 3": "has two columns, so there is no column 3: give --column 1 or 2",
    "train data.tsv --valid plain.txt": "plain.txt, line 1: no TAB: put one between the label and the text",
    "train data.tsv --vectors missing": "cannot read missing: No such file or directory",
    "train data.tsv --vectors plain.txt": "plain.txt, line 1: 'film' is not a number",
    "train data.tsv --from classes": "a labelling network and cannot run in a compiled loop: give --from a language model",
    "train data.tsv --from cloze": "this model is a cloze network and cannot run in a compiled loop",
    "train data.tsv --from grams": "this model is an n-gram model and cannot run in a compiled loop",
    "train data.tsv --from missing": "there is no model missing: lmgen list shows those in checkpoints/",
    "train data.tsv --task sort": "'sort' is not one of language, tag, classify, tag-classify, generate",
    "predict plain plain.txt": "this model is a language model and cannot predict labels or translations: use lmgen sample,",
    "predict writer plain.txt": "this model is a network that writes by label and cannot predict labels or translations",
    "predict classes missing": "there is no missing",
    "predict classes --top 0": "0 cannot be used: give 1 or more",
    "predict classes --above 2": "2.0 cannot be used: give 0 or more, 1 at most",
    "eval classes plain.txt": "plain.txt, line 1: no TAB: put one between the label and the text",
    "eval classes data.columns": "data.columns, line 1 has no labels, which this model predicts: give a text that has them",
    "eval tags data.tsv": "data.tsv, line 1 has no tags, which this model predicts: give a text that has them",
    "eval tags": "no text was held out in training: name a file to measure",
    "eval classes data.tsv --markdown": "--markdown means nothing for a labelling network: leave it out",
    "eval writer data.tsv --markdown": "--markdown means nothing for a network that writes by label: leave it out",
    "eval classes data.tsv --protocol windows": "--protocol means nothing for a labelling network",
    "eval classes data.tsv --with grams": "--with means nothing for a labelling network",
    "eval plain plain.txt --against classes": "--against means nothing for a language model",
    "eval plain plain.txt --plot c.png": "--plot means nothing for a language model",
    "eval writer data.tsv --plot c.png": "--plot means nothing for a network that writes by label",
    "eval writer data.columns": "data.columns, line 1 has no label: give a text that has them",
    "eval classes --against classes": "no text was held out in training: name a file to measure",
    "eval classes --against tags": "the two models did not hold out the same text, so --against needs one that neither has seen",
    "eval classes data.tsv --against plain": "--against compares two models of one kind: name one that is a labelling network",
    "eval classes data.tsv --against tags": "data.tsv, line 1 has no tags, which this model predicts: give a text that has them",
    "eval classes data.tsv data.csv --plot c.png": "--plot draws the confusion of one text: name one FILE",
    "eval several data.several --plot c.png": "several labels of one text have no confusion to draw: leave out --plot",
    "sample classes": "cannot write plain text: use lmgen predict, or train one with --task language",
    "score classes plain.txt": "cannot score a text: use lmgen predict, or train one with --task language",
    "fill classes a_b": "cannot fill blanks: train one on plain text with --direction both",
    "compress classes plain.txt": "cannot write plain text: name a model that reads in one direction",
    "arpa write classes": "cannot be written as n-grams: train one with --cell ngram",
    "sample classes --label good": "cannot write by label: train one on labelled text with --task generate",
    "sample plain --label good": "cannot write by label: train one on labelled text with --task generate",
    "sample writer": "this model writes by label: give --label, one of bad, good",
    "score writer plain.txt": "this model writes by label: give --label, one of bad, good",
    "sample writer --label god": "this model knows no label 'god': did you mean good?",
    "sample writer --label good:-1": "the label 'good' has the weight -1.0: give positive ones, as A:0.7,B:0.3",
}


@pytest.mark.parametrize("command", MISTAKES)
def test_a_mistake_is_a_sentence_with_the_way_out(command, home, lmgen, monkeypatch):
    """One line after what was found in the data; nothing is written and nothing left behind."""
    monkeypatch.chdir(home)
    before = sorted(home.iterdir())
    verb, *words = command.split()
    code, _, err = lmgen(verb, *words, *(["--steps", "2", "-o", "never"] if verb == "train" and "ngram" not in words else []))
    assert code == (3 if "there is no model" in err else 2)
    assert MISTAKES[command] in err.splitlines()[-1]
    assert err.splitlines()[-1].startswith("lmgen: ")
    assert len(err.splitlines()) <= 2
    assert sorted(home.iterdir()) == before


def test_a_plain_file_among_labelled_ones_is_named(home, lmgen):
    """All of them are read as plain text then; files of two labelled forms are refused."""
    (home / "plain.txt").write_text("emma\nolivia\n" * 20, "utf-8")
    (home / "data.jsonl").write_text('{"text": "a b", "label": "x"}\n{"text": "c d", "label": "y"}\n' * 20, "utf-8")
    code, _, err = lmgen("train", home / "data.tsv", home / "plain.txt", *TINY, "-o", "mixed")
    assert code == 0
    assert f"but {home / 'plain.txt'} is not such text, so all of it is read as plain text" in err
    code, _, err = lmgen("train", home / "data.tsv", home / "data.jsonl", *TINY, "-o", "other")
    assert code == 2
    assert "data.jsonl has JSON objects with text and label: give files of one form" in err


def test_labelled_data_that_are_read_as_plain_text_are_named(home, lmgen):
    """--carry, --sequence and --cell ngram have no labels to learn: a note says so, and how to learn them."""
    for words in (["--carry", *TINY[:2]], ["--cell", "ngram", "--order", "2"]):
        code, _, err = lmgen("train", home / "data.tsv", *words, "-o", words[0].strip("-"))
        assert code == 0
        note = f"but with {words[0]} it is read as plain text: leave that out to classify"
        assert note in err.splitlines()[0]
