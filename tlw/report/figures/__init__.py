"""Figures for papers and talks: one style, vector PDF and PNG.

Comes in: frames of scores and records, images, and what they are drawn with (the extra `report`).
Computes no number of its own that a table does not have.
"""
