"""The bits of bytes, predicted from what followed the same contexts before: a table for each order of context, a search for
the last long match, and a mixer that learns whom to trust.

Several columns of bytes are read side by side and share all that is learnt. Each bit of a byte is predicted at a node of a
binary tree, from the context and the bits before it (Mahoney 2005, "Adaptive weighing of context models for lossless data
compression"). Only sums, products and tables enter, in a fixed order, so the numbers are the same on every machine, with NumPy
and compiled. Shapes: B columns, K orders, I inputs of the mixer. Odds are logarithms of p / (1 − p).
"""

from __future__ import annotations

import ctypes
import math

import numpy as np

ORDERS = (1, 2, 3, 4, 6)  # bytes of context; beside them the empty context and the word
K = len(ORDERS) + 2
INPUTS = 2 * K + 3  # two of each order, that of the match, that of the network, and a constant
BITS = 22  # slots of an order: 1 << BITS
RING = 1 << 23  # bytes in which matches are found
MATCH = 7  # bytes that must agree
LONGEST = 31  # from which on all matches are alike
RATE = 0.002  # of the mixer
WEIGHT = 0.15  # of each of its inputs at first
LIMIT = 11.999  # of its odds
FINE = 256  # steps of the table of probabilities in one unit of odds

# A slot: 16 bits of the probability that the next bit is 1, less a half; 8 bits of history: a 1, then the last 7 bits at most;
# and 8 bits that tell its context from others. An empty slot is 0.
HALF = 1 << 15
MASK = np.uint64((1 << 8 * MATCH) - 1)
_SHARES = [1 / 1.5 if h < 2 else 1 / (math.floor(math.log2(h)) + 1.6) if h < 128 else 1 / 40 for h in range(256)]
GAIN = np.array([int(65536 * share) for share in _SHARES])  # what a bit changes, by the history before it
AFTER = np.array([[128 | (h << 1 & 127) | bit if h >= 128 else max(h, 1) << 1 | bit for h in range(256)] for bit in (0, 1)])
ODDS = np.array([round(65536 * math.log((p + 0.5) / (4095.5 - p))) / 65536 for p in range(4096)])
_CURVE = (65536 / (1 + math.exp(-k / FINE)) for k in range(-12 * FINE, 12 * FINE))
PROBABILITY = np.array([min(max(round(p), 8), 65536 - 8) / 65536 for p in _CURVE])
_PRIMES = np.array([0x9E3779B1, 0x85EBCA6B, 0xC2B2AE35, 0x27D4EB2F, 0x165667B1, 0xD6E8FEB9, 0xB5297A4D], np.uint64)[:, None]
_BYTES = (chr(byte).lower() if byte < 128 else chr(byte) for byte in range(256))
_LETTER = np.array([ord(c) if c.isalpha() or ord(c) >= 128 else 0 for c in _BYTES], np.uint64)


class Counts:
    """Predicts the next bit of each of B columns of bytes, and learns it: `begin`, then for each byte eight times `predict` and
    `learn`, then `end_byte`."""

    def __init__(self, columns: int):
        self.columns, self.depth = columns, 0
        self.slots = np.zeros(K << BITS, np.uint32)
        self.by_history = np.full((K, 256, 256), HALF, np.int64)  # the probability by the history of a slot, and by the node
        self.by_match = np.full(
            LONGEST + 1, HALF + HALF // 2, np.int64
        )  # that the expected bit comes, by the length of the match
        self.by_node = np.full((256, INPUTS), WEIGHT)  # the weights are sums of three: by the node of the tree,
        self.by_known = np.zeros((4 * (K + 1), INPUTS))  # by how many contexts are known and how long the match is,
        self.by_last = np.zeros((256, INPUTS))  # and by the last byte
        self.ring = np.zeros(RING, np.int16)  # the bytes before, plus 1; 0 is unknown
        self.found = np.zeros(1 << 20, np.int64)  # the places in it that followed contexts of matches, plus 1; 0 is none
        self.recent, self.word = np.zeros((2, columns), np.uint64)  # the last 8 bytes; a hash of the word so far
        self.place, self.at = np.zeros((2, columns), np.int64)  # in the ring: of the next byte, and where the match expects it
        self.hashed = np.zeros((K, columns), np.uint64)
        self.length, self.expected, self.last, self.node = np.zeros((4, columns), np.int64)
        self._begin_byte()

    def begin(self, places: np.ndarray, size: int) -> None:
        """The columns are to be read from these places [B] of a text on; `size` bytes from the first place on are unknown."""
        self.place[:] = places % RING
        self.ring[(places[0] + np.arange(size)) % RING] = 0

    def _begin_byte(self) -> None:
        contexts = [np.zeros_like(self.recent), *(self.recent & np.uint64((1 << 8 * n) - 1) for n in ORDERS), self.word]
        mixed = (np.stack(contexts) + np.uint64(1)) * _PRIMES * np.uint64(0x9E3779B97F4A7C15)
        self.hashed[:] = mixed ^ (mixed >> np.uint64(29))
        expected = np.where(self.length > 0, self.ring[self.at], 0)
        self.length[expected == 0] = 0
        self.expected[:] = np.where(expected == 0, 0, expected + np.int64(255))
        self.last[:] = self.recent & np.uint64(255)
        self.node[:] = 1
        self.depth = 0

    def predict(self, network: np.ndarray) -> np.ndarray:
        """The probabilities [B] that the next bit is 1, given the odds [B] of a network or zeros."""
        mixed = (self.hashed + self.node.astype(np.uint64)) * np.uint64(0xD6E8FEB86659FD93)
        self._index = (mixed >> np.uint64(64 - BITS)).astype(np.int64) + (np.arange(K)[:, None] << BITS)
        self._check = (mixed >> np.uint64(20)).astype(np.uint32) & np.uint32(255)
        slot = self.slots[self._index]
        slot = np.where(slot >> np.uint32(24) == self._check, slot, 0)
        self._history = (slot >> np.uint32(16) & np.uint32(255)).astype(np.int64)
        self._p = ((slot & np.uint32(0xFFFF)) ^ np.uint32(HALF)).astype(np.int64)
        self._where = np.arange(K)[:, None], self._history, self.node
        self._by_history = self.by_history[self._where]
        agrees = self.expected >> (8 - self.depth) == self.node
        self._bit = self.expected >> (7 - self.depth) & 1
        self._match = np.where(agrees, np.minimum(self.length, LONGEST), 0)
        self._by_match = self.by_match[self._match]
        matched = np.where(self._bit == 1, 1.0, -1.0) * ODDS[self._by_match >> 4]
        self._x = np.empty((self.columns, INPUTS))
        self._x[:, :K] = ODDS[self._p >> 4].T
        self._x[:, K : 2 * K] = ODDS[self._by_history >> 4].T
        self._x[:, 2 * K] = np.where(self._match > 0, matched, 0)
        self._x[:, 2 * K + 1] = network
        self._x[:, 2 * K + 2] = 0.3
        self._set = (self._history > 0).sum(0) * 4 + np.minimum(3, (self._match + 7) >> 3)
        weights = self.by_node[self.node] + self.by_known[self._set] + self.by_last[self.last]
        odds = np.add.accumulate(weights * self._x, 1)[:, -1]
        self._mixed = PROBABILITY[((np.clip(odds, -LIMIT, LIMIT) + 12) * FINE).astype(np.int64)]
        return self._mixed

    def learn(self, bits: np.ndarray) -> None:
        """Learn the bits [B] that came."""
        change = (RATE * (bits - self._mixed))[:, None] * self._x
        for weights, rows in ((self.by_node, self.node), (self.by_known, self._set), (self.by_last, self.last)):
            np.add.at(weights, rows, change)
        goal = bits * 65535
        p = self._p + ((goal - self._p) * GAIN[self._history] >> 16)
        head = self._check << np.uint32(24) | AFTER[bits, self._history].astype(np.uint32) << np.uint32(16)
        self.slots[self._index] = head | (p.astype(np.uint32) ^ np.uint32(HALF))
        self.by_history[self._where] = self._by_history + ((goal - self._by_history) >> 6)
        right = (self._bit == bits) & (self._match > 0)
        self.by_match[self._match] = self._by_match + ((right * 65535 - self._by_match) >> 6)
        self.node[:] = self.node << 1 | bits
        self.depth += 1

    def end_byte(self) -> np.ndarray:
        """The bytes [B] that the last eight bits made, which are now part of the contexts."""
        byte = self.node & 255
        right = (self.length > 0) & (self.expected == self.node)
        self.length[:] = np.where(right, self.length + 1, 0)
        self.at[:] = (self.at + 1) % RING
        self.found[self._key()] = self.place + 1
        self.ring[self.place] = byte + 1
        self.place[:] = (self.place + 1) % RING
        self.recent[:] = self.recent << np.uint64(8) | byte.astype(np.uint64)
        letter = _LETTER[byte]
        self.word[:] = np.where(letter > 0, (self.word + letter) * np.uint64(0x2F0B4C47A3B1D6E5), 0)
        found = self.found[self._key()]
        anew = (self.length == 0) & (found > 0)
        self.at[anew], self.length[anew] = found[anew] - 1, 1
        self._begin_byte()
        return byte

    def _key(self) -> np.ndarray:
        return ((self.recent & MASK) * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(44)).astype(np.int64)


class CompiledCounts(Counts):
    """The same, with `predict` and `learn` compiled (native/counts.cc)."""

    def __init__(self, columns: int, functions: ctypes.CDLL):
        super().__init__(columns)
        self._mixed = np.empty(columns)
        tables = (self.slots, self.by_history, self.by_match, self.by_node, self.by_known, self.by_last)
        state = (self.hashed, self.node, self.expected, self.length, self.last)
        kept = [np.empty((K, columns), np.int64) for _ in range(5)] + [np.empty(columns, np.int64) for _ in range(3)]
        constants = (GAIN, AFTER, ODDS, PROBABILITY, np.array([RATE, LIMIT, FINE]))
        self._arrays = (*tables, *state, *kept, np.empty((columns, INPUTS)), self._mixed, *constants)
        sizes = columns, K, INPUTS, BITS, LONGEST
        self._all = np.array([*sizes, *(a.ctypes.data for a in self._arrays)], np.uint64)
        self._pointer = ctypes.c_void_p(self._all.ctypes.data)
        self._predict, self._learn = functions.lmgen_counts_predict, functions.lmgen_counts_learn

    def predict(self, network: np.ndarray) -> np.ndarray:
        network = np.ascontiguousarray(network, np.float64)
        self._predict(self._pointer, ctypes.c_int64(self.depth), ctypes.c_void_p(network.ctypes.data))
        return self._mixed

    def learn(self, bits: np.ndarray) -> None:
        bits = np.ascontiguousarray(bits, np.int64)
        self._learn(self._pointer, ctypes.c_int64(self.depth), ctypes.c_void_p(bits.ctypes.data))
        self.depth += 1


def counts(columns: int) -> Counts:
    """The fastest that runs here."""
    from lmgen.nn import native

    functions = native.library().functions
    return CompiledCounts(columns, functions) if hasattr(functions, "lmgen_counts_predict") else Counts(columns)
