"""Pairs from the command line, as a user types them: train, predict, score, eval, and mistakes."""

from __future__ import annotations

import json
import shlex

import pytest

import lmgen
from lmgen.errors import InputError
from support import call, on_a_terminal

NUMBERS = ["zero", "one", "two", "three", "four", "five", "six"]
ROWS = [(f"say {a} {b} now {c}", f"{b} and {a} {c}") for c in NUMBERS for a in NUMBERS for b in NUMBERS] * 2
SMALL = {"size": 16, "embedding": 16, "steps": 80, "batch": 8, "learning_rate": 0.02}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with pairs in two forms, other texts, and models of each; to be read, not changed."""
    folder = tmp_path_factory.mktemp("pairs")
    (folder / "data.tsv").write_text("".join(f"{s}\t{t}\n" for s, t in ROWS))
    (folder / "data.fr").write_text("".join(f"{s}\n" for s, _ in ROWS))
    (folder / "data.en").write_text("".join(f"{t}\n" for _, t in ROWS))
    (folder / "sources.txt").write_text("say one two now six\nsay six six now one\n")
    (folder / "three.tsv").write_text("".join(f"{s}\t{t}\tCC-BY {k}\n" for k, (s, t) in enumerate(ROWS)))
    (folder / "empty.txt").touch()
    (folder / "plain.txt").write_text("a b c\n" * 50)
    (folder / "labels.tsv").write_text("".join(f"{'good' if k % 2 else 'bad'}\ta film {k}\n" for k in range(200)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        lmgen.train(folder / "data.tsv", output=folder / "checkpoints" / "pairs", **SMALL)
        lmgen.train(
            folder / "data.fr", target=folder / "data.en", attention=False, output=folder / "checkpoints" / "plain", **SMALL
        )
        lmgen.train(folder / "plain.txt", size=4, embedding=4, steps=2, output=folder / "checkpoints" / "text")
    return folder


@pytest.fixture
def run(home, monkeypatch, capsys):
    """Run a command in the folder; its output, its messages and its exit code."""
    monkeypatch.chdir(home)

    def run(line):
        code = call(*shlex.split(line))
        out, err = capsys.readouterr()
        return out, err, code

    return run


def test_train_sees_pairs_says_why_and_what_is_next(run, tmp_path):
    _, err, code = run(f"train data.tsv --steps 2 --size 8 -o {tmp_path}/seen")
    assert code in (0, None)
    assert "data.tsv has a text on each side of a TAB in 686 lines" in err
    assert "learning to translate (--task language: plain text)" in err
    assert "lmgen predict" in err.splitlines()[-1]


def test_files_side_by_side_are_named_by_target(run, tmp_path):
    _, err, code = run(f"train data.fr --target data.en --steps 2 --size 8 -o {tmp_path}/beside")
    assert code in (0, None)
    assert "data.fr has targets in data.en: learning to translate" in err


def test_a_task_is_offered_only_where_none_was_chosen(run, home):
    (home / "sums.tsv").write_text("".join(f"{k}+{k}\t{2 * k}\n" for k in range(99)))
    assert "add --task translate" in run("plan sums.tsv")[1]
    assert "add --task translate" not in run("plan sums.tsv --task language")[1]
    assert "add --task translate" not in run("plan data.tsv --carry")[1]


def test_predict_prints_a_translation_a_line(run):
    out, _, code = run("predict pairs sources.txt")
    assert code in (0, None)
    assert len(out.splitlines()) == 2
    assert len(run("predict pairs data.tsv")[0].splitlines()) == len(ROWS)


def test_predict_reads_the_source_of_whatever_has_one(run, home):
    source = "say one two now six"
    lines = [source, f"{source}\tany", f"{source}\tany\tCC-BY 1", json.dumps({"source": source, "target": "any"})]
    (home / "mixed.txt").write_text("".join(f"{line}\n" for line in lines))
    out, err, code = run("predict pairs mixed.txt")
    assert code in (0, None)
    assert len(out.splitlines()) == 4
    assert len(set(out.splitlines())) == 1
    assert "2 lines with a TAB: what follows it is a target, and was not looked at" in err


def test_targets_of_pairs_may_lack_where_they_are_not_looked_at(run, home):
    (home / "some.tsv").write_text("".join(f"{s}\t{t}\n" for s, t in ROWS) + "\nsay one two now six\t\n")
    out, err, code = run("predict pairs some.tsv")
    assert code in (0, None)
    assert len(out.splitlines()) == len(ROWS) + 2  # and a blank line for a blank line
    assert out.splitlines()[-2] == ""
    assert "TAB" not in err


def test_several_tabs_are_told_of(run, home, tmp_path):
    (home / "some.tsv").write_text("".join(f"{s}\t{t}\n" for s, t in ROWS) + "say one\tone\ttwo\n")
    _, err, code = run(f"train some.tsv --steps 1 --size 8 -o {tmp_path}/some")
    assert code in (0, None)
    assert "some.tsv: 1 line with several TABs, of which all behind the first is the target" in err


@pytest.mark.parametrize("line", ["predict pairs empty.txt", "score text empty.txt"])
def test_a_file_with_nothing_in_it_is_told_of(run, line):
    out, err, code = run(line)
    assert code in (0, None)
    assert (out, err) == ("", f"there is nothing to {line.split()[0]} in empty.txt\n")


def test_predict_as_json_has_what_a_program_needs(run):
    out, _, _ = run("predict pairs sources.txt --json --weights --best 2 --beam 3")
    rows = [json.loads(line) for line in out.splitlines()]
    for row, source in zip(rows, ("say one two now six", "say six six now one"), strict=True):
        assert row["source"] == source
        assert row["read"] == source.split()
        assert [*map(len, row["weights"])] == [5] * len(row["symbols"])
        assert len(row["others"]) == 1
        assert row["probability"] > 0
        assert all(weight == round(weight, 4) for looked in row["weights"] for weight in looked)


def test_predict_draws_where_the_first_translation_looked(run, tmp_path):
    pytest.importorskip("matplotlib")
    _, err, code = run(f"predict pairs sources.txt --plot {tmp_path}/a.png")
    assert code in (0, None)
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert f"wrote {tmp_path}/a.png" in err
    (tmp_path / "blank.txt").write_text("\nsay one two now six\n")
    assert "the first source is blank, so there is nothing to draw" in run(f"predict pairs {tmp_path}/blank.txt --plot b.png")[1]


def test_score_ranks_two_candidates(run, home, tmp_path):
    path = tmp_path / "candidates.tsv"
    path.write_text("say one two now six\ttwo and one six\nsay one two now six\tsix six six six six\n")
    out, _, code = run(f"score pairs {path}")
    assert code in (0, None)
    right, wrong = (float(line.split("\t")[0]) for line in out.splitlines())
    assert right < wrong
    record = json.loads(run(f"score pairs {path} --json --symbols")[0].splitlines()[0])
    assert sum(nats for _, nats in record["each"]) == pytest.approx(record["nats"])
    assert record["symbols"] == 5


def test_eval_measures_beside_baselines(run):
    out, _, code = run("eval pairs data.tsv --json")
    assert code in (0, None)
    card = json.loads(out)
    assert {"bleu", "chrf", "exact", "nats", "symbols", "nats_per_symbol", "perplexity", "signatures"} <= card.keys()
    assert card["exact"] >= 0
    table = run("eval pairs data.tsv --beam 2")[0]
    assert "nats per symbol" in table
    assert "the source itself" in table


def test_two_models_of_one_text_are_compared_on_what_both_held_out(run):
    out, _, code = run("eval pairs --against pairs --no-baselines")
    assert code in (0, None)
    assert "nats per symbol +0.0000 against the other model [+0.0000, +0.0000]" in out


def test_show_and_list_describe_the_model(run):
    out, _, _ = run("show plain")
    assert "translate" in out
    assert "attention" in out
    assert "lstm 1 × 16, translates" in run("list")[0]


MISTAKES = {
    "train plain.txt --task translate": "plain.txt has nothing to translate: give text in one of the forms tsv (a source, a TAB",
    "train data.fr --target nothing.en": "nothing.en",
    "train data.fr --target data.en --task classify": "a labelling network has no target: leave that out",
    "train data.tsv --direction both": "has no direction",
    "train data.tsv --pool mean": "has no pool",
    "train plain.txt --copy --task language": "has no copy",
    "predict pairs sources.txt --top 3": "--top means nothing for a network that translates: leave it out",
    "predict pairs sources.txt --weights": "--weights belongs to --json: give both",
    "predict pairs sources.txt --beam 0": "Invalid value for '--beam'",
    "predict pairs sources.txt --beam 2 --temperature 1": "--beam searches and --temperature draws: give one of them",
    "predict plain sources.txt --plot a.png": "this model attends to nothing",
    "predict plain sources.txt --json --weights": "this model attends to nothing, so it has no weights",
    "train data.tsv --copy --no-attention": "--copy copies what attention looks at",
    "score pairs sources.txt": "line 1: no source, TAB and target: put one TAB between them",
    "sample pairs": "use lmgen predict",
    "eval pairs plain.txt": "plain.txt, line 1: no source, TAB and target",
    "eval text plain.txt --beam 3": "--beam means nothing for a language model",
    "predict text plain.txt": "use lmgen sample",
    "eval pairs --against plain": "the two models did not hold out the same text, so --against needs one that neither has seen",
    "eval pairs --against text": "--against compares two models of one kind: name one that is a network that translates, too",
    "train three.tsv --task translate": "three.tsv has 3 columns: keep the source and the target, as in cut -f1,2 three.tsv",
    "train data.tsv --budget 5 minutes": "there is no minutes: if it belongs to --budget, write that as one word",
}


@pytest.mark.parametrize("line", MISTAKES)
def test_a_mistake_is_a_sentence_with_the_way_out(run, line):
    out, err, code = run(line)
    assert code in (1, 2)
    assert MISTAKES[line] in " ".join(err.split())
    assert "Traceback" not in err
    assert not out


def test_a_narrow_terminal_shows_the_card(home, monkeypatch):
    monkeypatch.chdir(home)
    seen = on_a_terminal("eval", "pairs", "data.tsv", columns=60, NO_COLOR="1")
    lines = seen.replace("\r", "").splitlines()
    assert max(map(len, lines)) <= 60
    head = next(k for k, line in enumerate(lines) if line.startswith("source") and "pairs" in line)
    assert [line.split() for line in lines[head - 2 : head]] == [["symbols", "nats"], ["of", "the", "per", "exact"]]


def test_from_python_the_same(home):
    model = lmgen.load(home / "checkpoints" / "pairs")
    one = model.predict("say one two now six", beam=2)
    assert one.source == "say one two now six"
    assert [other.text for other in model.predict(["say one two now six"] * 2, beam=2)] == [one.text] * 2
    assert model.score(f"say one two now six\t{one.text}").nats == pytest.approx(one.nats, rel=1e-3)
    with pytest.raises(InputError, match="there is no option top"):
        model.predict("x", top=3)
