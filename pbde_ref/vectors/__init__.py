"""Test vectors for implementations in other languages, held against the text of the paper before they are written."""

from pbde_ref.vectors.writing import make_vectors, vector_schema, write_vectors

__all__ = ["make_vectors", "vector_schema", "write_vectors"]
