"""Algorithm 1: a cell's training, its batches, checkpoints and log.

Comes in: networks, losses and pairs. What is trained is decided by the config alone.
"""
