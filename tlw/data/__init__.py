"""Image sets, fetched and checked, and the lr-hr pairs that protocols make of them.

Comes in: whatever brings images onto the disk. Nothing here knows networks or losses.
"""
