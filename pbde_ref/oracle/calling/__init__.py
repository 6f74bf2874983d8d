"""Calling the function under test: its framework, its conventions, its arguments."""
