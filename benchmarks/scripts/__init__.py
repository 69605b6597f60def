"""What measures; see `benchmarks/README.md`."""
