"""One file, one holder of an outer key. The file name is its `kind` in the settings."""
