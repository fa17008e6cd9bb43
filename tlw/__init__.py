"""Trainable Loss Weights in super-resolution (Mellatshahi & Kasaei, arXiv 2301.10575)."""

__version__ = "0.1.0"
