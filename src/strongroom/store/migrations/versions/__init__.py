"""Revisions of the tables, oldest first; a revision that was released is never edited."""
