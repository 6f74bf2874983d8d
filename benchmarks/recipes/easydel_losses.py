"""EasyDeL's losses on preferences in JAX.

EasyDeL needs libraries for TPUs when it is imported whole, so each function is taken out of its installed file
(`recipe.taken`); what runs is the published text.
"""

import typing

import jax
from recipe import Declaration, main, taken, varied

__all__ = ["DECLARATIONS"]

BETA, EPSILON = 0.3, 0.1
NAMES = {"jax": jax, "jnp": jax.numpy, "relu": jax.nn.relu, "sigmoid": jax.nn.sigmoid, "tp": typing,
         "logsigmoid": jax.nn.log_sigmoid, "log_sigmoid": jax.nn.log_sigmoid,
         "KTO_LOSS_TYPES": ("kto", "apo_zero_unpaired")}  # fmt: skip


def own(trainer, name):
    return taken("easydel", f"trainers/{trainer}_trainer/_fn.py", name, **NAMES)


def easydel(loss_type, epsilon=0.0, jit=False, **more):
    """The function of that name, each pair's loss, compiled as the trainer's step is with `jit`."""
    function = own("direct_preference_optimization", "get_loss_function")(loss_type, BETA, epsilon)

    def loss(policy_chosen, policy_rejected, reference_chosen, reference_rejected):
        return function(policy_chosen, policy_rejected, reference_chosen, reference_rejected, BETA, epsilon, **more)

    return jax.jit(loss) if jit else loss


def cpo(loss_type, *names, **bound):
    """`cpo_loss`, on averages over tokens if lengths are given."""
    function = own("contrastive_preference_optimization", "cpo_loss")

    @varied("beta", *names)
    def loss(chosen, rejected, *lengths, **given):
        if lengths:
            chosen, rejected = chosen / lengths[0], rejected / lengths[1]
        settings = {"label_smoothing": 0.0, "simpo_gamma": 0.0, "alpha": 0.0, **bound, **given}
        return function(chosen, rejected, loss_type=loss_type, **settings)

    return loss


@varied("beta")
def orpo(chosen, rejected, chosen_lengths, rejected_lengths, beta):
    """`odds_ratio_loss`, which returns what its caller subtracts."""
    function = own("odds_ratio_preference_optimization", "odds_ratio_loss")
    return -function(beta, chosen / chosen_lengths, rejected / rejected_lengths)[0]


def kto(loss_type, *names):
    """`kto_objective`, whose divergence is `baseline`."""
    function = own("kto", "kto_objective")

    @varied("beta", *names)
    def loss(policy, reference, desirable, baseline=0.0, **given):
        return function(policy, reference, desirable, loss_type=loss_type, policy_kl_logps=baseline + 0.0 * reference,
                        reference_kl_logps=0.0 * reference, **given)  # fmt: skip

    return loss


@varied("beta", "baseline")
def bco(policy, reference, desirable, beta, baseline):
    """`compute_bco_loss`, whose delta is the baseline's reward."""
    function = own("binary_classifier_optimization", "compute_bco_loss")
    return function(policy, reference, desirable, ~desirable, beta=beta, delta=beta * baseline)


NONE, DPO = {"reduction": "none"}, {"beta": BETA}
CDPO, EXO = {**DPO, **NONE, "label_smoothing": EPSILON}, {**DPO, **NONE, "epsilon": EPSILON}
WEIGHTS = {"desirable_weight": 1.3, "undesirable_weight": 0.7}
ALIKE = {"desirable_weight": 1.0, "undesirable_weight": 1.0}
# EasyDeL's names, and the catalogue's.
OWN = {"sigmoid": "dpo", "hinge": "hinge", "nca_pair": "nca", "sppo_hard": "sppo", "apo_zero": "apo_zero",
       "apo_down": "apo_down"}  # fmt: skip

DECLARATIONS = [
    *(Declaration(f"EasyDeL {name}", easydel(name), loss, {**DPO, **NONE}) for name, loss in OWN.items()),
    Declaration("EasyDeL sigmoid, label_smoothing", easydel("sigmoid", EPSILON), "dpo", CDPO),
    Declaration("EasyDeL robust", easydel("robust", EPSILON), "dpo", {**CDPO, "variant": "robust"}),
    Declaration("EasyDeL ipo", easydel("ipo"), "ipo", {"tau": BETA, **NONE}),
    Declaration("EasyDeL kto", easydel("kto"), "apo_zero", {**DPO, **NONE}, "a pair whose KL estimates are 0"),
    Declaration("EasyDeL kto", easydel("kto"), "dpo", {**DPO, **NONE}, "on purpose"),
    Declaration("EasyDeL exo_pair", easydel("exo_pair", EPSILON), "exo", EXO),
    Declaration("EasyDeL exo_pair, compiled", easydel("exo_pair", EPSILON, jit=True), "exo", EXO),
    Declaration("EasyDeL discopop", easydel("discopop", discopop_tau=0.05), "discopop",
                {**DPO, "discopop_tau": 0.05, **NONE}),
    Declaration("EasyDeL aot", easydel("aot", EPSILON), "aot", CDPO),
    Declaration("EasyDeL aot_pair", easydel("aot_pair", EPSILON), "aot_unpaired", CDPO),
    Declaration("EasyDeL bco_pair", easydel("bco_pair"), "bco", {**DPO, "baseline": 0.0, **NONE}),
    Declaration("EasyDeL CPO sigmoid", cpo("sigmoid"), "cpo", {**DPO, "likelihood_weight": 0.0, **NONE}),
    Declaration("EasyDeL CPO simpo", cpo("simpo", simpo_gamma=0.5), "simpo", {"scale": 2.0, "margin": 0.5, **NONE}),
    Declaration("EasyDeL CPO simpo, alpha", cpo("simpo", "alpha", "simpo_gamma"), "alphapo",
                {"beta": 2.0, "alpha": 0.3, "margin": 0.5, **NONE}),
    Declaration("EasyDeL odds_ratio_loss", orpo, "orpo", {**DPO, "likelihood_weight": 0.0, **NONE}),
    Declaration("EasyDeL kto_objective, kto", kto("kto", "baseline", *WEIGHTS), "kto",
                {**DPO, "baseline": 0.4, **WEIGHTS}),
    Declaration("EasyDeL kto_objective, apo_zero_unpaired", kto("apo_zero_unpaired", *WEIGHTS), "kto",
                {**DPO, "baseline": 0.0, **WEIGHTS}),
    Declaration("EasyDeL compute_bco_loss", bco, "bco_single", {**DPO, "baseline": 0.4, **ALIKE}),
]  # fmt: skip

if __name__ == "__main__":
    main("EasyDeL's losses on preferences", ["jax", "easydel"], DECLARATIONS, "jax")
