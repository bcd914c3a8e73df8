"""The command serve."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from lmgen.cli.options import command, load
from lmgen.errors import InputError
from lmgen.options import commands
from lmgen.system import terminal

if TYPE_CHECKING:
    from lmgen.api import Model


@command("lmgen serve cities", "lmgen serve cities names --port 8080", options=commands.SERVE)
@click.argument("models", nargs=-1, metavar="[MODEL]...")
def serve(
    models: tuple[str, ...],
    host: str,
    port: int,
    key_file: str | None,
    allow_host: tuple[str, ...] | None,
    allow_origin: tuple[str, ...] | None,
    time_limit: float,
    precision: str,
    **bounds: int,
) -> None:
    """Serve models over HTTP, as OpenAI's API does.

    MODEL is a directory or a name in checkpoints/; the newest there if you omit it. Answers /v1/completions, /v1/models,
    /tokenize, /detokenize, /predict, /health and /metrics on this computer alone, unless --host says otherwise. Ctrl-C ends it
    after the requests in flight; a second one at once.
    """
    try:
        from lmgen.serving import run
        from lmgen.serving.settings import Settings
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "lmgen":
            raise
        raise InputError(f"lmgen serve needs {error.name}, which is not installed: pip install 'lmgen[serve]'") from None
    key = run.key_of(Path(key_file)) if key_file else None
    names = (host, *(allow_host or ()))
    settings = Settings(key=key, hosts=names, origins=allow_origin or (), seconds=time_limit, **bounds)
    with run.listen(host, port) as listening:
        if not (key or run.is_local(listening)):
            raise InputError(f"others can reach {host}, so the server needs a key: give --key-file, or leave out --host")
        loaded = _loaded(models, precision)
        address = f"serving {', '.join(loaded)} at {run.address(listening)} (Ctrl-C ends it)"
        run.serve(loaded, listening, settings, lambda: terminal.note(address))


def _loaded(models: tuple[str, ...], precision: str) -> dict[str, Model]:
    """Models by the names of their directories."""
    found: dict[str, Model] = {}
    for model in models or (None,):
        one = load(model, precision)
        name = one.path.resolve().name if one.path else str(model)
        if name in found:
            raise InputError(f"two of the models are called {name}: rename one (lmgen rename)")
        found[name] = one
    return found
