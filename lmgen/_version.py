"""The version of lmgen."""

__version__ = "0.1.0"
