"""Networks that stand in for the policies and rewards of the paper, and how they are trained."""
