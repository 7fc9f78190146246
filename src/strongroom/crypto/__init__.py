"""Seal and open values, wrap and unwrap keys. No store, no settings, no I/O but randomness."""
