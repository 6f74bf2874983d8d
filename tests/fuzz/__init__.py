"""Fuzzers: bounded, seeded, run in small by pytest and at any size by ``python -m tests.fuzz.<name>``."""
