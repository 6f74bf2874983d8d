"""How good the oracle is: correct sources, bugs planted in them, and tables of what is found."""
