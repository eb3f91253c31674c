"""Postfix's log, understood: pure functions from lines to events, and what follows from a row of events."""
