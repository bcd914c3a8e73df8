"""How long a training step takes: counted in multiply-adds, and corrected by what was measured on this machine.

S symbols a step, T time steps, N cell size, V vocabulary, E embedding size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from lmgen.nn import model, native
from lmgen.nn.cells import CELLS
from lmgen.nn.model import NetworkConfig

SMALL, LARGE = 128, 512  # the sizes of the layers that are measured
# Seconds on two cores with kernels, roughly: of a multiply-add in the layers and in the head, of a unit at one symbol (gates,
# dropout, layer norm), of reading a recurrent weight again at each time step, of updating a weight, and of a step itself.
PRODUCT, HEAD, UNIT, TURN, UPDATE, STEP = 2.0e-12, 2.5e-12, 4.5e-9, 1.5e-11, 7e-10, 5e-4
WITHOUT_KERNELS = 3  # times as long


@dataclass(frozen=True)
class Pace:
    """How many times longer than counted this machine takes for small layers, for large layers, and for the head.

    `devices` share a batch. `source` says how the times are known.
    """

    small: float = 1.0
    large: float = 1.0
    head: float = 1.0
    source: str = "estimated"
    devices: int = 1

    def seconds(self, network: NetworkConfig, batch: int, window: int, among: int | None = None) -> float:
        """Of a training step. `among` is the number of symbols that it predicts among; None stands for the whole vocabulary."""
        layers, head = counted(network, max(1, batch // self.devices), window, among)
        share = math.log(network.size / SMALL) / math.log(LARGE / SMALL)
        factor = self.small + (self.large - self.small) * min(1.0, max(0.0, share))
        return factor * layers + self.head * head


def counted(network: NetworkConfig, batch: int, window: int, among: int | None = None) -> tuple[float, float]:
    """The seconds that the layers and the head of a step take by counting alone; see `Pace.seconds`."""
    symbols = batch * window
    gates, recurrent = CELLS[network.cell].gates, sum(CELLS[network.cell].recurrent.values())
    looked_up = min(1.0, network.vocab / symbols)  # the input product is computed once a symbol, or once a row of the embedding
    inputs = gates * (looked_up * network.embedding + (network.layers - 1) * network.size)
    of_state = recurrent * network.layers * network.size
    layers = 3 * PRODUCT * symbols * network.outputs * (inputs + of_state)
    layers += UNIT * symbols * network.layers * network.outputs + TURN * window * network.outputs * of_state
    layers += UPDATE * layer_weights(network) + STEP
    columns = network.embedding if network.tie else network.outputs
    projected = network.outputs * columns if network.tie and columns != network.outputs else 0
    products = (among or network.classes) * columns + projected
    head = 3 * HEAD * symbols * products + UPDATE * network.classes * columns
    slower = 1 if native.kind("f32") and network.cell in native.CELLS else WITHOUT_KERNELS
    return slower * layers, slower * head


def layer_weights(network: NetworkConfig) -> int:
    """The number of weights in the layers, of all stacks."""
    gates, recurrent = CELLS[network.cell].gates, sum(CELLS[network.cell].recurrent.values())
    inputs = network.embedding + (network.layers - 1) * (network.size + network.embedding * network.skip)
    rounds = 0
    if "rounds" in CELLS[network.cell].settings:
        cell: Any = model.cell_of(network)
        read = [network.embedding] + [network.size + network.embedding * network.skip] * (network.layers - 1)
        rounds = sum(cell.rounds * min(cell.rank, one, network.size) * (one + network.size) for one in read)
    stacks = network.width // network.size
    return network.width * (gates * inputs + recurrent * network.layers * network.size) + stacks * rounds
