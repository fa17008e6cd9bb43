"""What a number is: metrics, and scores of networks or of image folders under a protocol.

Comes in: whatever measures an image against its reference. Tables are the report's.
"""
