"""D of Eq. 4: the perceptual distance LPIPS, with its weights.

Comes in: what the judge's distance is computed with. What is done with a distance is the losses'.
"""
