"""Things that follow an entry as it changes."""
