"""Images as files, as arrays and in other ranges; resizing and tiling.

Comes in: pure functions of images, and the formats that they are stored in.
"""
