"""Section 5.2: length bias, its repair, and two annotators, in language models that are trained here or read."""
