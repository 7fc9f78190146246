"""Every use case: authorise, act, record. One file per noun."""
