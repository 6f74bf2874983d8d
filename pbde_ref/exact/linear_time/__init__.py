"""Expectations and minimisers under product proposals in linear time: sums over panels of a line."""
