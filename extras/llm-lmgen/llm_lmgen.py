"""Models of lmgen as models of llm: `llm -m lmgen/cities San`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import llm
from pydantic import Field, create_model

from lmgen.errors import LmgenError

FOLDERS = "LMGEN_MODELS"  # the variable with the folders of models; checkpoints/ of this folder without it
OPTIONS = {
    "seed": (int | None, Field(None, description="Repeats the text")),
    "temperature": (float | None, Field(None, description="Below 1 likelier texts, above 1 stranger ones")),
    "top_k": (int | None, Field(None, description="Draw among the K likeliest symbols")),
    "top_p": (float | None, Field(None, description="Draw among the likeliest symbols of this share")),
    "max_length": (int | None, Field(None, description="Symbols at most")),
    "label": (str | None, Field(None, description="The label to write by, where the model has labels")),
    "matches": (str | None, Field(None, description="A regular expression that the text matches as a whole")),
    "novel": (bool | None, Field(None, description="No text of the corpus")),
}


def model_paths() -> list[Path]:
    """The model directories."""
    folders = os.environ.get(FOLDERS, "checkpoints").split(os.pathsep)
    return [path.parent for folder in folders for path in sorted(Path(folder).glob("[!.]*/model.safetensors"))]


@llm.hookimpl
def register_models(register: Any) -> None:
    known = set()
    for path in model_paths():
        if path.name not in known:  # of two with one name, the first folder's
            known.add(path.name)
            register(Lmgen(path))


@lru_cache(4)
def loaded(path: Path) -> Any:
    import lmgen

    return lmgen.load(path)


class Lmgen(llm.Model):
    """A model of lmgen, which goes on from the prompt until it predicts EOS."""

    can_stream = False
    Options = create_model("Options", __base__=llm.Options, **OPTIONS)

    def __init__(self, path: Path):
        self.model_id, self.path = f"lmgen/{path.name}", path.absolute()

    def execute(self, prompt: Any, stream: bool, response: Any, conversation: Any) -> Iterator[str]:
        wanted = {name: value for name in OPTIONS if (value := getattr(prompt.options, name)) is not None}
        try:
            model = loaded(self.path)
            if label := wanted.pop("label", None):
                model = model.by(label)
            sample = next(model.samples(1, prompt=prompt.prompt or "", **wanted), None)
        except LmgenError as error:
            raise llm.ModelError(str(error)) from None
        if sample is None:
            raise llm.ModelError("every text drawn is in the corpus: leave out -o novel, or raise the temperature")
        response.response_json = {"nats": sample.nats, "symbols": sample.symbols, "ended": sample.ended, "known": sample.known}
        yield sample.text
