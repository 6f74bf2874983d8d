"""One record for each loss: what it is called with, what is right, what may be declared, and where it leads."""

from pbde_ref.catalogue.losses import LOSSES, loss_named, optimum
from pbde_ref.catalogue.records import Loss, Parameter

__all__ = ["LOSSES", "Loss", "Parameter", "loss_named", "optimum"]
