"""One module per figure or table: computes, returns a frozen result, draws nothing."""
