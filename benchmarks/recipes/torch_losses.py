"""OpenRLHF, torchtune, LLaMA-Factory, ms-swift and TorchRL: their losses on preferences, each by itself.

The packages need one another, accelerators or servers when they are imported whole, so each function is taken out of
its installed file (`recipe.taken`) and called on stand-ins for its trainer; what runs is the published text.
LLaMA-Factory takes what it does not define from TRL, 0.24.0 at most.
"""

import math
from collections import defaultdict
from functools import partial
from types import SimpleNamespace

import numpy as np
import torch
from recipe import Declaration, main, taken, varied

__all__ = ["DECLARATIONS"]

BETA, EPSILON = 0.3, 0.1
FILE = "rlhf_trainers/dpo_trainer.py"
NAMES = {"torch": torch, "nn": torch.nn, "F": torch.nn.functional, "Tuple": tuple, "math": math, "IGNORE_INDEX": -100}


def open_rlhf(name):
    return taken("openrlhf", "models/loss.py", name, **NAMES)


def torchtune(name):
    return taken("torchtune", "rlhf/loss/dpo.py", name, **NAMES)


class Running:
    """A trainer's running mean of rewards, which is known here."""

    mean = BETA * 0.4

    def update(self, rewards):
        pass


def swift(loss_type, before=None, divergence="reverse_kl", **more):
    """ms-swift's DPO trainer, with this loss type; `before` is one that comes before it in a list of types."""
    names = {**NAMES, "_ALPHA_DIVERGENCE_COEF_KEY": "alpha", "_ALPHA_DIVERGENCE_COEF_DEFAULT": 1.0, "Dict": dict}
    for helper in ("_get_exp_cap", "_cap_exp"):
        names[helper] = taken("swift", FILE, helper, **names)
    method = taken("swift", FILE, "DPOTrainer.dpo_loss", **names)
    trainer = {"beta": BETA, "label_smoothing": 0.0, "reference_free": False, "f_divergence_type": divergence,
               "f_divergence_params": {"alpha": 0.3}, "accelerator": SimpleNamespace(device="cpu"),
               "args": SimpleNamespace(discopop_tau=0.05), "running": Running(), **more}  # fmt: skip

    def loss(policy_chosen, policy_rejected, reference_chosen, reference_rejected):
        own = SimpleNamespace(**trainer)
        four = policy_chosen, policy_rejected, reference_chosen, reference_rejected
        if before:
            method(own, *four, loss_type=before)
        return method(own, *four, loss_type=loss_type)

    return loss


def factory(name):
    return taken("llamafactory", "train/dpo/trainer.py", f"CustomDPOTrainer.{name}", **NAMES)


def factory_preference(loss_type, per_token=False, bco_weight=0.0, **more):
    """LLaMA-Factory's `compute_preference_loss` with `pref_loss`, and what it calls."""
    divergences = SimpleNamespace(ALPHA_DIVERGENCE="alpha_divergence", JS_DIVERGENCE="js_divergence")
    inherited = taken("trl", "trainer/dpo_trainer.py", "DPOTrainer.dpo_loss", FDivergenceType=divergences, **NAMES)
    method, bco_loss = factory("compute_preference_loss"), factory("bco_loss")

    def loss(*arrays):
        four, lengths = arrays[:4], arrays[4:] * 2
        own = SimpleNamespace(
            finetuning_args=SimpleNamespace(use_ref_model=True), loss_type=loss_type, beta=BETA, running=Running(),
            reference_free=False, f_divergence_type="reverse_kl", accelerator=SimpleNamespace(device="cpu"),
            bco_gemma=bco_weight, **{"label_smoothing": 0.0, **more},
        )  # fmt: skip
        own.dpo_loss, own.bco_loss = partial(inherited, own), partial(bco_loss, own)
        return method(own, *(x / n for x, n in zip(four, lengths, strict=True)) if per_token else four)

    return loss


@varied("baseline")
def factory_kto(policy, reference, desirable, baseline):
    """The KTO loss that LLaMA-Factory inherits, and the mean that it takes."""
    method = taken("trl", "trainer/kto_trainer.py", "KTOTrainer.kto_loss", **NAMES)
    own = SimpleNamespace(
        calculate_KL=True, beta=BETA, loss_type="kto", desirable_weight=1.3, undesirable_weight=0.7,
        accelerator=SimpleNamespace(device="cpu", gather_for_metrics=lambda x: x),
    )  # fmt: skip
    divergence = torch.full_like(reference, baseline), torch.zeros_like(reference)
    parts = [(x[desirable], x[~desirable]) for x in (policy, reference)]
    return method(own, *parts[0], divergence[0], *parts[1], divergence[1])[0].nanmean()


def factory_simpo(policy_chosen, policy_rejected, chosen_lengths, rejected_lengths):
    own = SimpleNamespace(beta=2.0, simpo_gamma=0.5)
    return factory("simpo_loss")(own, policy_chosen / chosen_lengths, policy_rejected / rejected_lengths)


def factory_orpo(policy_chosen, policy_rejected, chosen_lengths, rejected_lengths):
    own = SimpleNamespace(beta=BETA)
    return factory("odds_ratio_loss")(own, policy_chosen / chosen_lengths, policy_rejected / rejected_lengths)


def factory_bco(*four):
    return factory("bco_loss")(SimpleNamespace(beta=BETA, running=Running()), *four)


def factory_likelihood(chosen, rejected, reference_chosen, reference_rejected, chosen_lengths, rejected_lengths):
    """What pref_ftx adds to the loss."""
    found = {"chosen_logps": chosen, "rejected_logps": rejected, "chosen_logits": chosen, "rejected_logits": rejected,
             "chosen_logps_avg": chosen / chosen_lengths}  # fmt: skip
    own = SimpleNamespace(
        ftx_gamma=0.6, loss_type="sigmoid", concatenated_forward=lambda model, batch: found,
        compute_reference_log_probs=lambda model, batch: (reference_chosen, reference_rejected),
        compute_preference_loss=factory_preference("sigmoid"),
    )  # fmt: skip
    return factory("get_batch_loss_metrics")(own, None, None)


def factory_desensitised(chosen, rejected, reference_chosen, reference_rejected):
    """DPO on its `get_batch_logps`, as it is called for policy and reference; the chosen answers have two tokens."""
    function = taken("llamafactory", "train/trainer_utils.py", "get_batch_logps", **NAMES)
    labels = torch.zeros(2 * len(chosen), 3, dtype=torch.long)
    labels[:, 0] = labels[len(chosen) :, 2] = -100

    def of(chosen, rejected, alpha):
        tokens = torch.cat([chosen / 2, rejected])[:, None].expand(-1, 3)
        logits = torch.stack([tokens, torch.log((-torch.expm1(tokens)).clamp(min=1e-37))], dim=-1)
        return function(logits, labels, ld_alpha=alpha)[0].chunk(2)

    policy, reference = of(chosen, rejected, 0.4), of(reference_chosen, reference_rejected, None)
    return torchtune("DPOLoss")(BETA)(*policy, *reference)


def factory_log_probs(logits, labels):
    function = taken("llamafactory", "train/trainer_utils.py", "get_batch_logps", **NAMES)
    return function(logits, labels)[0]


def factory_reward(scores, mask):
    """The trainer's loss of a batch whose rejected half has a score of 0 throughout: the chosen one's, read back."""
    method = taken("llamafactory", "train/rm/trainer.py", "PairwiseTrainer.compute_loss", **NAMES)
    both = {"attention_mask": torch.cat([mask, mask]).to(torch.int64), "input_ids": torch.zeros(2 * len(mask), 1)}
    model = lambda **_: (None, None, torch.cat([scores, 0.0 * scores]))  # noqa: E731
    return method(None, model, both, return_outputs=True)[1][1]


def rlhf_log_probs(average):
    method = taken("openrlhf", "trainer/dpo_trainer.py", "DPOTrainer._get_batch_logps", **NAMES)

    def log_probs(logits, labels, attention_mask, prompt_lengths):
        tokens = logits[:, :-1].log_softmax(-1).gather(2, labels[:, 1:, None]).squeeze(2)
        return method(None, tokens, attention_mask, prompt_lengths.tolist())[average]

    return log_probs


def swift_reward(coefficient):
    """ms-swift's reward trainer, with a third vector as each pair's margin."""
    method = taken("swift", "rlhf_trainers/reward_trainer.py", "RewardTrainer.compute_loss", **NAMES)

    def loss(chosen, rejected, *margins):
        nothing = SimpleNamespace(update=lambda value: None)
        own = SimpleNamespace(
            model=SimpleNamespace(training=False), args=SimpleNamespace(center_rewards_coefficient=coefficient),
            custom_metrics={"eval": defaultdict(lambda: nothing)}, model_accepts_loss_kwargs=False,
        )  # fmt: skip
        model = lambda **_: SimpleNamespace(logits=torch.cat([chosen, rejected])[:, None])  # noqa: E731
        mask = torch.ones(2 * len(chosen), 1)
        return method(own, model, {"attention_mask": mask, **dict(zip(["margin"], margins, strict=False))})

    return loss


def minor_sft(policy_chosen, policy_rejected, reference_chosen, reference_rejected):
    function = taken("torchrl", "objectives/llm/sft.py", "minor_sft_loss", **NAMES)
    return function(policy_chosen, reference_chosen, BETA, "none") + 0.0 * policy_rejected


def softplus(x):
    return np.logaddexp(0.0, x)


# ms-swift's names of loss types, the catalogue's, and what else is declared.
OWN = {
    "nca_pair": ("nca", {}), "bco_pair": ("bco", {"baseline": 0.4}), "sppo_hard": ("sppo", {}),
    "apo_zero": ("apo_zero", {}), "apo_down": ("apo_down", {}), "exo_pair": ("exo", {"epsilon": 1e-3}),
    "discopop": ("discopop", {"discopop_tau": 0.05}),
}  # fmt: skip
DIVERGENCES = {"js_divergence": {}, "alpha_divergence": {"alpha": 0.7}}
NONE, DPO = {"reduction": "none"}, {"beta": BETA}
CDPO, ROBUST = {**DPO, "label_smoothing": EPSILON}, {**DPO, "label_smoothing": EPSILON, "variant": "robust"}

DECLARATIONS = [
    Declaration("OpenRLHF DPOLoss", open_rlhf("DPOLoss")(BETA), "dpo", {**DPO, "returns_rewards": False}),
    Declaration("OpenRLHF DPOLoss, label_smoothing", open_rlhf("DPOLoss")(BETA, EPSILON), "dpo", CDPO),
    Declaration("OpenRLHF DPOLoss, ipo", open_rlhf("DPOLoss")(BETA, ipo=True), "ipo", {"tau": BETA}),
    Declaration("OpenRLHF PairWiseLoss", open_rlhf("PairWiseLoss")(), "reward", {"margin": 0.0}),
    Declaration("OpenRLHF PairWiseLoss, margins", lambda a, b, m: open_rlhf("PairWiseLoss")()(a, b, m), "reward",
                {"margin": "per_example"}),
    Declaration("OpenRLHF LogExpLoss", lambda a, b: open_rlhf("LogExpLoss")()(a, b), "reward"),
    Declaration("OpenRLHF LogExpLoss, margins", lambda a, b, m: open_rlhf("LogExpLoss")()(a, b, m), "reward",
                {"margin": "per_example"}),
    Declaration("OpenRLHF _get_batch_logps", rlhf_log_probs(0), "sequence_log_probs", {"layout": "lengths"}),
    Declaration("OpenRLHF _get_batch_logps, mean", rlhf_log_probs(1), "sequence_log_probs",
                {"layout": "lengths", "average": True}),
    Declaration("torchtune DPOLoss", torchtune("DPOLoss")(BETA), "dpo", {**DPO, **NONE, "returns_rewards": True}),
    Declaration("torchtune DPOLoss, label_smoothing", torchtune("DPOLoss")(BETA, EPSILON), "dpo", {**CDPO, **NONE}),
    Declaration("torchtune RSOLoss", torchtune("RSOLoss")(BETA), "hinge", {**DPO, **NONE}),
    Declaration("LLaMA-Factory pref_loss=sigmoid, dpo_label_smoothing",
                factory_preference("sigmoid", label_smoothing=EPSILON), "dpo", {**CDPO, **NONE}),
    Declaration("LLaMA-Factory pref_loss=hinge", factory_preference("hinge"), "hinge", {**DPO, **NONE}),
    Declaration("LLaMA-Factory pref_loss=ipo", factory_preference("ipo", per_token=True), "ipo",
                {"tau": BETA, "average": True, **NONE}),
    Declaration("LLaMA-Factory pref_loss=ipo", factory_preference("ipo", per_token=True), "ln_dpo", {**DPO, **NONE},
                "on purpose"),
    Declaration("LLaMA-Factory pref_loss=kto_pair", factory_preference("kto_pair"), "apo_zero", {**DPO, **NONE},
                "a pair whose KL estimates are 0"),
    Declaration("LLaMA-Factory pref_bco_weight=0.5", factory_preference("sigmoid", bco_weight=0.5), "", {
        "objective": lambda a, b: (softplus(-BETA * (a - b)) + 0.5 * softplus(-BETA * (a - 0.4))
                                   + 0.5 * softplus(BETA * (b - 0.4))) / 1.5, **NONE}),
    Declaration("LLaMA-Factory KTO", factory_kto, "kto",
                {**DPO, "baseline": 0.4, "desirable_weight": 1.3, "undesirable_weight": 0.7}),
    Declaration("LLaMA-Factory simpo_loss", factory_simpo, "simpo", {"scale": 2.0, "margin": 0.5, **NONE}),
    Declaration("LLaMA-Factory odds_ratio_loss", factory_orpo, "orpo", {**DPO, "likelihood_weight": 1.0, **NONE}),
    Declaration("LLaMA-Factory bco_loss", factory_bco, "bco", {**DPO, "baseline": 0.4, **NONE}),
    Declaration("LLaMA-Factory pref_ftx", factory_likelihood, "rpo",
                {**DPO, "likelihood_weight": 0.6, "average_likelihood": True}),
    Declaration("LLaMA-Factory ld_alpha=0.4", factory_desensitised, "", {
        "objective": lambda a, b: softplus(-BETA * (0.7 * a - b)), **NONE},
        "policy and reference alike, as TRL 1.16; the chosen answer has two tokens, the rejected one"),
    Declaration("LLaMA-Factory get_batch_logps", factory_log_probs, "sequence_log_probs", {"layout": "labels"}),
    Declaration("LLaMA-Factory PairwiseTrainer, where the reward is read", factory_reward, "sequence_rewards"),
    Declaration("ms-swift dpo_loss, sigmoid", swift("sigmoid"), "dpo", {**DPO, **NONE, "returns_rewards": True}),
    Declaration("ms-swift dpo_loss, sigmoid, label_smoothing", swift("sigmoid", label_smoothing=EPSILON), "dpo",
                {**CDPO, **NONE}),
    Declaration("ms-swift dpo_loss, robust", swift("robust", label_smoothing=EPSILON), "dpo", {**ROBUST, **NONE}),
    Declaration("ms-swift dpo_loss, hinge", swift("hinge"), "hinge", {**DPO, **NONE}),
    Declaration("ms-swift dpo_loss, ipo", swift("ipo"), "ipo", {"tau": BETA, **NONE}),
    *(Declaration(f"ms-swift dpo_loss, {name}", swift(name), loss, {**DPO, **more, **NONE})
      for name, (loss, more) in OWN.items()),
    *(Declaration(f"ms-swift dpo_loss, {name}", swift(name, label_smoothing=EPSILON), name, {**CDPO, **NONE})
      for name in ("aot", "aot_unpaired")),
    *(Declaration(f"ms-swift dpo_loss, {name}", swift("sigmoid", divergence=name), "f_dpo",
                  {**DPO, "divergence": name, **more, **NONE}) for name, more in DIVERGENCES.items()),
    Declaration("ms-swift dpo_loss, sigmoid after exo_pair, as in a list of both", swift("sigmoid", "exo_pair"), "dpo",
                {**DPO, **NONE}),
    Declaration("ms-swift RewardTrainer, margins", swift_reward(None), "reward", {"margin": "per_example"}),
    Declaration("ms-swift RewardTrainer, center_rewards_coefficient", swift_reward(0.1), "centred_reward",
                {"coefficient": 0.1}),
    Declaration("TorchRL minor_sft_loss", minor_sft, "", {"objective": lambda a, b: softplus(-BETA * a), **NONE}),
]  # fmt: skip

if __name__ == "__main__":
    packages = ["torch", "openrlhf", "torchtune", "llamafactory", "trl", "ms-swift", "torchrl"]
    main("Losses of OpenRLHF, torchtune, LLaMA-Factory, ms-swift and TorchRL", packages, DECLARATIONS, "torch")
