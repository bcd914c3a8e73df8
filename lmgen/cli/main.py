"""The command line: its commands, its errors and its exit codes.

Commands parse, call and print; they import the code that computes inside their functions, so that --help is instant.
"""

from __future__ import annotations

import os
import sys

import click

from lmgen._version import __version__
from lmgen.cli.about import cells, completion, doctor
from lmgen.cli.compress import compress, decompress
from lmgen.cli.corpus import corpus
from lmgen.cli.evaluate import eval_
from lmgen.cli.explanations.explain import explain
from lmgen.cli.models import arpa, export, list_, remove, rename, show
from lmgen.cli.novelty import novelty
from lmgen.cli.options import Group, command
from lmgen.cli.plans.plan import plan
from lmgen.cli.plans.tune import tune
from lmgen.cli.predict import predict
from lmgen.cli.sample import fill, sample, score, serve, top, verify
from lmgen.cli.train import train
from lmgen.errors import LmgenError
from lmgen.options import suggestions
from lmgen.system import signals, terminal
from lmgen.system.cluster import environments


@command(
    "lmgen train cities",
    "lmgen sample cities -n 20",
    cls=Group,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    no_args_is_help=True,
)
@click.version_option(__version__, message="lmgen %(version)s")
def cli() -> None:
    """Train a small recurrent language model on your own text, write new text with it, measure it.

    Start with lmgen train and a text file, or the name of a corpus that ships: the model goes to checkpoints/.
    """


TEXTS = (train, plan, tune, sample, top, verify, fill, predict, eval_, score, explain, novelty, compress, decompress)
for each in (*TEXTS, serve, export, show, list_, remove, rename, cells, corpus, arpa, doctor, completion):
    cli.add_command(each)


def main() -> None:
    """Run the command line. An error that a user can cause is one sentence on stderr and an exit code, never a traceback."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the parent process
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    terminal.begin()
    try:
        code = cli.main(prog_name="lmgen", standalone_mode=False) or 0
        terminal.finish()
    except click.exceptions.NoArgsIsHelpError as help_text:
        click.echo(help_text.format_message())
        code = 2
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        terminal.note(f"lmgen: {suggestions.message(error)}" + (f" (see {context.command_path} --help)" if context else ""))
        code = 2
    except LmgenError as error:
        terminal.note(f"lmgen: {error}")
        code = error.exit_code
    except (KeyboardInterrupt, click.Abort):  # an Abort is a RuntimeError, too
        code = signals.STOP.code or signals.INTERRUPTED
    except (MemoryError, RuntimeError, ValueError) as error:
        from lmgen.system import devices
        from lmgen.system.cluster import group

        if group.lost(error):
            environments.leave(environments.LOST)
        if not devices.out_of_memory(error):
            raise
        terminal.note("lmgen: not enough memory: give a smaller --size, --batch, --window or --vocab-size")
        code = 1
    except terminal.ReaderGoneError:
        code = 0
    except OSError as error:
        terminal.note(f"lmgen: {error.strerror or error}{f': {error.filename}' if error.filename else ''}")
        code = 1
    terminal.give_up()
    environments.leave(code)
    sys.exit(code if isinstance(code, int) else 0)
