"""Certificates that the relay shows to its clients: read and judged, found by name, or made."""
