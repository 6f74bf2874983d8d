"""The paper's univariate experiments: one module per figure, training beside the exact optimum."""
