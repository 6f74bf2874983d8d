"""Another way to `pbde_ref.exact.linear_time.minimizer`."""

from pbde_ref.exact.linear_time.minimizer import ProductCertificate, minimize_product_loss, solve_product_laplacian

__all__ = ["ProductCertificate", "minimize_product_loss", "solve_product_laplacian"]
