"""Another way to `pbde_ref.exact.linear_time.kernel_sums`."""

from pbde_ref.exact.linear_time.kernel_sums import (
    kernel_cross_entropy,
    kernel_entropy,
    kernel_hessian_vector_product,
    kernel_kl,
    splits,
    win_probabilities,
)

__all__ = [
    "kernel_cross_entropy", "kernel_entropy", "kernel_hessian_vector_product", "kernel_kl", "splits",
    "win_probabilities",
]  # fmt: skip
