"""Pages in Markdown: what experiments found, with their figures."""
