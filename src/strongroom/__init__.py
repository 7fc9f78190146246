"""Keep variables and connections in the stores you trust; hand each to the task that may have it."""

__version__ = "0.1.0"
