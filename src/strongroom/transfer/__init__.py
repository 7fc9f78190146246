"""Move entries in and out of files."""
