"""Postern: environment variables in, a running Postfix relay out. `__main__` tells the story of a start."""
