"""The parts of an exported program: a model in NumPy, one symbol at a time. `exporting.numpy` copies what a model needs of them
into one file, so nothing here imports anything else of lmgen, and no two parts define the same name.

Shapes: N cell size, D input size, V vocabulary, n symbols of a text.
"""
