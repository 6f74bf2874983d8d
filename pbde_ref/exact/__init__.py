"""Exact analysis: expectations over the whole support, closed-form optima, certified minimisers, identifiability."""
