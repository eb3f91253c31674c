"""Chaos: everything that can fail does, while mail goes through; each message is counted by its id.

What has to hold: what got a 250 arrives. What may happen: that it arrives twice, where the answer to it was lost.
"""
