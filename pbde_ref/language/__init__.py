"""Text, and language models of it: corpora, tokenizers, training, generation, length bias."""
