"""Numbers to look at: tables with their marks, and which differences are significant.

Comes in: scores and records of cells. Trains and scores nothing itself.
"""
