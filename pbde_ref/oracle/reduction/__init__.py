"""Does a loss of parts add up to that of the whole? Micro-batches, ranks, shards, packing and padding, simulated."""
