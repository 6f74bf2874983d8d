"""Length bias without text: idealised language models, sentences in classes, enumerated models."""
