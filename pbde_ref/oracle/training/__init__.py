"""Does training end where it should? Trainers held against the exact optimum of their own sample."""
