"""A directory for the Hub: it is the model, its card says what it is, and nothing in it says where the text was."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from exports import drawn

import lmgen
from lmgen.errors import InputError
from lmgen.exporting import hub, table
from lmgen.models.provenance import Provenance, TextSettings
from lmgen.system import terminal

GOLDEN = Path(__file__).parents[1] / "golden" / "format-2"
MODELS = sorted(path.name for path in GOLDEN.iterdir())


def head_of(card):
    """The fields between the two lines of dashes, each of which is a line of JSON, which YAML contains."""
    lines = card.split("---\n")[1].splitlines()
    return {name: json.loads(value) for name, value in (line.split(": ", 1) for line in lines if not line.startswith("#"))}


@pytest.mark.parametrize("name", MODELS)
def test_the_directory_is_the_model(name, tmp_path):
    model = lmgen.load(GOLDEN / name)
    path = model.export(tmp_path / "hub", format="hub")
    loaded = lmgen.load(path)
    assert loaded.lm.config == model.lm.config
    assert loaded.lm.vocab == model.lm.vocab
    assert {key: a.tobytes() for key, a in loaded.lm.arrays().items()} == {k: a.tobytes() for k, a in model.lm.arrays().items()}
    assert loaded.lm.provenance.about["valid_nats"] == model.lm.provenance.about["valid_nats"]
    assert {file.name for file in path.iterdir()} == {file.name for file in (GOLDEN / name).iterdir()} - {"train"}


@pytest.mark.parametrize("name", MODELS)
def test_the_card_has_what_the_hub_reads(name):
    lm = lmgen.load(GOLDEN / name).lm
    head = head_of(hub.card(lm))
    assert head["library_name"] == "lmgen"
    assert head["tags"][:2] == ["lmgen", lm.config.cell]
    assert "license" not in head
    assert "language" not in head
    (result,) = head["model-index"][0]["results"]
    assert result["task"]["type"] == head["pipeline_tag"]
    assert result["metrics"][0]["value"] == pytest.approx(lm.provenance.about["valid_nats"], abs=1e-4)


def test_the_card_of_other_tools_reads_the_same():
    yaml = pytest.importorskip("yaml")
    card = hub.card(hostile())
    assert yaml.safe_load(card.split("---\n")[1]) == head_of(card)


def hostile():
    """A model whose files and labels are named to break out of a card."""
    names = ("a\n---\nlicense: x", "<script>alert(1)</script>|[x](javascript:y)`", "\u202etxt.\U0001f388\ud800")
    about = {"valid_nats": 1.5, "parameters": 3, "lmgen": "0.1.0\n---\n"}
    provenance = Provenance(text=TextSettings(names), about=about, path=Path("x\n---\n# <b>$(rm)"))
    return replace(drawn("generate", labels=names), provenance=provenance)


def test_nothing_breaks_out_of_the_card():
    card = hub.card(hostile())
    body = card.split("\n---\n", 1)[1]
    assert head_of(card).keys() == {"library_name", "pipeline_tag", "tags", "model-index"}
    assert not any(line.startswith("---") for line in body.splitlines())
    table = [line for line in body.splitlines() if line.startswith("| ")]
    assert all(line.replace("\\|", "").count("|") == 3 for line in table)
    for sign in "<[`":
        assert sign not in "".join(table).replace(f"\\{sign}", "")
    assert "lmgen sample 'x?---?# <b>$(rm)'" in body
    assert card.encode()


def test_the_folders_of_the_text_stay_at_home(tmp_path):
    for name in ("secret", "towns"):
        (tmp_path / name).mkdir()
    for file in ("source.txt", "target.txt"):
        (tmp_path / "secret" / file).write_text("".join(f"{a}{b} {b}\n" for a in "abcdefgh" for b in "klmnopqrs"), "utf-8")
    small = {"size": 4, "embedding": 4, "steps": 4, "batch": 2, "window": 8}
    text = tmp_path / "secret" / "source.txt"
    for name, more in {"pairs": {"target": tmp_path / "secret" / "target.txt"}, "plain": {"valid": text}}.items():
        model = lmgen.train(text, output=tmp_path / "towns" / name, **small, **more)
        path = model.export(tmp_path / f"{name}-hub", format="hub")
        assert lmgen.load(path).lm.config == model.lm.config
        for file in path.iterdir():
            assert b"secret" not in file.read_bytes(), file
        assert b"secret" in (model.path / "config.json").read_bytes()


def test_what_is_there_is_replaced_by_force_alone(tmp_path):
    model, path = lmgen.load(GOLDEN / "counts"), tmp_path / "hub"
    model.export(path, format="hub")
    with pytest.raises(InputError, match="nothing is overwritten"):
        model.export(path, format="hub")
    lmgen.load(GOLDEN / "network").export(path, format="hub", force=True)
    assert lmgen.load(path).lm.config.cell == "lstm"
    shutil.copy(path / "README.md", path / "mine.md")
    with pytest.raises(InputError, match="not what an export wrote"):
        model.export(path, format="hub", force=True)


def test_a_model_without_a_directory_has_nothing_to_copy():
    with pytest.raises(InputError, match="no directory to copy"):
        table.contents(drawn("language"), "hub")


def test_the_command_says_how_to_upload(lmgen, tmp_path):
    code, out, err = lmgen("export", GOLDEN / "network", "--format", "hub", "-o", tmp_path / "my towns")
    assert (code, out) == (0, "")
    assert err.endswith(f"; upload it with: hf upload YOUR-NAME/network {terminal.command(str(tmp_path / 'my towns'))}\n")
