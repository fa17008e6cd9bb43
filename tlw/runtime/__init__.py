"""The machine: devices, precision, locks, signals, files written whole, errors told.

Comes in: what any program of this kind would need. Nothing here knows super-resolution.
"""
