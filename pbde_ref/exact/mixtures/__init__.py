"""Annotators without identities, Eq. (29) and (30): expected losses, and their stationary points."""

from pbde_ref.exact.mixtures.fitting import (
    MixtureCertificate,
    MixtureLoss,
    MixtureProgress,
    MixtureSolution,
    expected_mixture_hessian,
    expected_mixture_loss,
    fit_annotator_mixture,
)

__all__ = [
    "MixtureCertificate", "MixtureLoss", "MixtureProgress", "MixtureSolution", "expected_mixture_hessian",
    "expected_mixture_loss", "fit_annotator_mixture",
]  # fmt: skip
