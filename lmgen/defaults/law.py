"""What a training is expected to reach: a scaling law for small recurrent networks, and the dropout that a text bears.

The loss is a multiple of that of a Kneser-Ney model of the same text, so that one law serves texts of every kind and unit. Its
terms are those of Hoffmann et al. 2022, equation 2; a text that is read again counts less and less, and so does a network beyond
what the text bears (Muennighoff et al. 2023, equations 5 and 11). `benchmarks/planning.py fit` fits the constants.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

MILLION = 1e6
MOST_DROPOUT = 0.55
FREE = 2.0  # of the pressure: a network that feels less needs no dropout
STEPS = 20  # dropout is a multiple of 1 ÷ this


@dataclass(frozen=True)
class Law:
    """loss ÷ loss of the n-gram model = floor + network · N^−by_weights + text · P^−by_passes · U^−by_text

    N is the number of weights in the layers and U that of the symbols of the text, in millions; P are the passes over it; N and P
    as far as they count. Nine of ten of the fitted trainings are within the factor `spread` of the law.
    """

    floor: float = 0.785
    floor_of_many: float = 0.71  # where there are many kinds of symbols
    network: float = 0.10
    by_weights: float = 0.30
    text: float = 0.107
    by_passes: float = 0.70
    by_text: float = 0.20
    repeats: float = 15.4  # times that a text can be read again before half of all gains are used up, about
    excess: float = 5.3  # the same for weights beyond one a symbol of the text
    crowd: float = 2000.0  # symbols a step of which half count, in a training of a million; more in a longer one
    spread: float = 1.08

    def ratio(self, weights: float, text: float, read: float, a_step: float, many: bool) -> float:
        """The loss against the n-gram model's, of a network with `weights` in its layers that reads a text of `text` symbols
        until it has read `read`, `a_step` at a time."""
        crowd = self.crowd * math.sqrt(read / MILLION)  # the critical batch size of McCandlish et al. 2018
        passes = counting(read / (1 + a_step / crowd), text, self.repeats) / text
        useful = counting(weights, text, self.excess) / MILLION
        floor = self.floor_of_many if many else self.floor
        of_text = self.text * passes**-self.by_passes * (text / MILLION) ** -self.by_text
        return floor + self.network * useful**-self.by_weights + of_text


LAW = Law()


def counting(amount: float, unique: float, repeats: float) -> float:
    """What an amount is worth of which only `unique` is new: u + u r (1 − exp(−(a/u − 1)/r)) where it is more."""
    if amount <= unique:
        return amount
    return unique * (1 + repeats * (1 - math.exp((1 - amount / unique) / repeats)))


def dropout(weights: float, text: float, passes: float) -> float:
    """The dropout rate for a network with so many weights that reads a text of so many symbols so often.

    Both a larger network and more passes learn a text by heart; a tenth more is dropped whenever their product, the pressure
    passes · √(weights ÷ symbols), doubles.
    """
    pressure = passes * math.sqrt(weights / text)
    rate = 0.1 * math.log2(max(pressure, FREE) / FREE)
    return min(MOST_DROPOUT, math.floor(rate * STEPS + 0.5) / STEPS)
