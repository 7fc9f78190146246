"""
JSON shapes of the HTTP API `/v1`, used by both ends; rules in `shape`.

A module of it is imported by its name: whoever asks needs few of them, and `shapes` has them all.
"""
