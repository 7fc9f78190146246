"""What a test of a connection does, step by step; only the process of a test (`child.py`) imports it."""
