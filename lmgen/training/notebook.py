"""The training in progress in a notebook: one piece of output that is replaced as it goes."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from lmgen.pages import notebook
from lmgen.system.terminal import duration

if TYPE_CHECKING:
    from lmgen.defaults.config import StepReport

PAUSE = 0.5  # seconds between two pictures


class Output:
    """What a notebook shows of a training: its curves and where it is; `loss` is how its nats are written."""

    def __init__(self, loss: Any):
        from IPython.display import display

        self.loss, self.drawn = loss, 0.0
        self.training: list[notebook.Point] = []
        self.validation: list[notebook.Point] = []
        self.last: StepReport | None = None
        self.handle: Any = display(self, display_id=True)

    def show(self, report: StepReport) -> None:
        """Take a report, and replace the output if it is time to."""
        self.last = report
        for curve, nats in ((self.training, report.train_nats), (self.validation, report.valid_nats)):
            if nats is not None:
                curve.append((report.step, nats))
        if report.valid_nats is not None or time.monotonic() - self.drawn > PAUSE:
            self.draw()

    def draw(self) -> None:
        """Replace the output."""
        self.drawn = time.monotonic()
        self.handle.update(self)

    def _repr_html_(self) -> str:
        if (report := self.last) is None:
            return notebook.text("the training begins")
        left = report.seconds / report.progress - report.seconds if 0.01 < report.progress < 1 else None
        rows = {
            "progress": f"{report.progress:.0%}" + ("" if left is None else f", {duration(left)} left"),
            "train": self.loss.trained(self.training[-1][1] if self.training else None),
            "valid": self.loss.valid(self.validation[-1][1] if self.validation else None),
            "best": self.loss.valid(min((nats for _, nats in self.validation), default=None)),
            "step": f"{report.step:,}, {report.symbols_per_second:,.0f} symbols/s, {duration(report.seconds)}",
        }
        return notebook.facts("training", rows) + notebook.curves(self.training, self.validation, "nats per symbol by step")


def here(loss: Any) -> Output | None:
    """The output in a notebook; None elsewhere. IPython is not imported where it is not there already."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return Output(loss) if hasattr(shell, "kernel") else None
