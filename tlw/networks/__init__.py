"""A network with its weights: files of weights, checkpoints from elsewhere, images enlarged.

Comes in: what loads, saves or runs a network. Architectures are in `tlw.backbones`.
"""
