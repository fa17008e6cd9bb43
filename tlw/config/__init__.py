"""What a user may write, checked before anything runs, without importing torch.

Comes in: settings, their defaults and how names are looked up. Nothing here does what they say.
"""
