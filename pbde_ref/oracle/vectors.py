"""Another way to `pbde_ref.vectors`."""

from pbde_ref.vectors.writing import make_vectors, vector_schema, write_vectors

__all__ = ["make_vectors", "vector_schema", "write_vectors"]
