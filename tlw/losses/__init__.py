"""The paper's losses; open `tlw.losses.tlw` first.

Comes in: what computes a loss from images, weights and a judge. Knows nothing of trainers,
processes or devices.
"""
