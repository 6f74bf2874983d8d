"""How good the oracle is: bugs planted in the right sources, and what became of them."""
