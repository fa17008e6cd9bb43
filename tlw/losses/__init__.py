"""The paper's losses; open `tlw.losses.tlw` first.

Comes in: what computes a loss from images, weights and a judge. Knows nothing of trainers or
devices, and of other processes only that phi is one network in all ranks.
"""
