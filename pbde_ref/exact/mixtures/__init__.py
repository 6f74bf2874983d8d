"""Annotators without identities, Eq. (29) and (30): expected losses, and their stationary points."""

from pbde_ref.exact.mixtures.bounds import MixtureBound, mixture_loss_bound
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
    "MixtureBound", "MixtureCertificate", "MixtureLoss", "MixtureProgress", "MixtureSolution",
    "expected_mixture_hessian", "expected_mixture_loss", "fit_annotator_mixture", "mixture_loss_bound",
]  # fmt: skip
