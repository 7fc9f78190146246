"""Benchmarks: ours beside the named peer, in interleaved rounds of one run. `make bench` runs them all."""
