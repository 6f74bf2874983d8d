"""EasyDeL's DPO losses in JAX.

EasyDeL needs libraries for TPUs when it is imported whole, so its `get_loss_function` is taken out of its installed
file (`recipe.taken`); what runs is the published text.
"""

import math

import jax
import numpy as np
from recipe import Declaration, main, taken

__all__ = ["DECLARATIONS"]

BETA, EPSILON = 0.3, 0.1


def softplus(x):
    return np.logaddexp(0.0, x)


def sigmoid(x):
    return np.exp(-softplus(-x))


def easydel(loss_type, epsilon=0.0, jit=False):
    """The function of that name, each pair's loss, compiled as the trainer's step is with `jit`."""
    names = {"jax": jax, "jnp": jax.numpy, "relu": jax.nn.relu, "sigmoid": jax.nn.sigmoid,
             "logsigmoid": jax.nn.log_sigmoid}  # fmt: skip
    make = taken("easydel", "trainers/direct_preference_optimization_trainer/_fn.py", "get_loss_function", **names)
    function = make(loss_type, BETA, epsilon)

    def loss(policy_chosen, policy_rejected, reference_chosen, reference_rejected):
        return function(policy_chosen, policy_rejected, reference_chosen, reference_rejected, BETA, epsilon)

    return jax.jit(loss) if jit else loss


def kto_pair(a, b):
    """Eq. (7) of Ethayarajh et al. for a pair whose KL estimates are 0, as a control of what "kto" is not."""
    return sigmoid(-BETA * a) + sigmoid(BETA * b)


NONE, DPO = {"reduction": "none"}, {"beta": BETA}
OWN = {
    "nca_pair": lambda a, b: softplus(-BETA * a) + 0.5 * softplus(BETA * a) + 0.5 * softplus(BETA * b),
    "sppo_hard": lambda a, b: (a - 0.5 / BETA) ** 2 + (b + 0.5 / BETA) ** 2,
    "apo_zero": lambda a, b: sigmoid(-BETA * a) + sigmoid(BETA * b),
    "apo_down": lambda a, b: sigmoid(BETA * a) + sigmoid(-BETA * (a - b)),
}

DECLARATIONS = [
    Declaration("EasyDeL sigmoid", easydel("sigmoid"), "dpo", {**DPO, **NONE}),
    Declaration("EasyDeL sigmoid, label_smoothing", easydel("sigmoid", EPSILON), "dpo",
                {**DPO, **NONE, "label_smoothing": EPSILON}),
    Declaration("EasyDeL robust", easydel("robust", EPSILON), "dpo",
                {**DPO, **NONE, "label_smoothing": EPSILON, "variant": "robust"}),
    Declaration("EasyDeL hinge", easydel("hinge"), "hinge", {**DPO, **NONE}),
    Declaration("EasyDeL ipo", easydel("ipo"), "ipo", {"tau": BETA, **NONE}),
    *(Declaration(f"EasyDeL {name}", easydel(name), "", {"objective": formula, **NONE})
      for name, formula in OWN.items()),
    Declaration("EasyDeL kto", easydel("kto"), "", {"objective": kto_pair, **NONE}),
    Declaration("EasyDeL kto", easydel("kto"), "dpo", {**DPO, **NONE}, "on purpose"),
    Declaration("EasyDeL exo_pair", easydel("exo_pair", EPSILON), "", {
        "objective": lambda m: sigmoid(BETA * m) * (-math.log(1.0 - EPSILON) - softplus(-BETA * m))
        + sigmoid(-BETA * m) * (-math.log(EPSILON) - softplus(BETA * m)), **NONE}),
    Declaration("EasyDeL exo_pair, compiled", easydel("exo_pair", EPSILON, jit=True), "", {
        "objective": lambda m: sigmoid(BETA * m) * (-math.log(1.0 - EPSILON) - softplus(-BETA * m))
        + sigmoid(-BETA * m) * (-math.log(EPSILON) - softplus(BETA * m)), **NONE}),
]  # fmt: skip

if __name__ == "__main__":
    main("EasyDeL's DPO losses", ["jax", "easydel"], DECLARATIONS, "jax")
