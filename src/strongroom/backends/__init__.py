"""One file, one place a value may live. The file name is its `kind` in the settings."""
