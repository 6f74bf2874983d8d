"""The benchmarks themselves, a file for each suite."""
