"""OpenRLHF, torchtune, LLaMA-Factory, ms-swift and TorchRL: their losses on preferences, each by itself.

The packages need one another, accelerators or servers when they are imported whole, so each function is taken out of
its installed file (`recipe.taken`) and called on stand-ins for its trainer; what runs is the published text.
"""

import math
from types import SimpleNamespace

import numpy as np
import torch
from recipe import Declaration, main, taken

__all__ = ["DECLARATIONS"]

BETA, EPSILON = 0.3, 0.1
NAMES = {"torch": torch, "nn": torch.nn, "F": torch.nn.functional, "Tuple": tuple, "math": math, "IGNORE_INDEX": -100}


def open_rlhf(name):
    return taken("openrlhf", "models/loss.py", name, **NAMES)


def torchtune(name):
    return taken("torchtune", "rlhf/loss/dpo.py", name, **NAMES)


class Running:
    """A trainer's running mean, as far as its first update goes."""

    mean = 0.0

    def update(self, rewards):
        self.mean = rewards.mean().item()


def swift(loss_type, before=None, **more):
    """ms-swift's DPO trainer, with this loss type; `before` is one that comes before it in a list of types."""
    method = taken("swift", "rlhf_trainers/dpo_trainer.py", "DPOTrainer.dpo_loss", **NAMES)
    trainer = {"beta": BETA, "label_smoothing": 0.0, "reference_free": False, "f_divergence_type": "reverse_kl",
               "accelerator": SimpleNamespace(device="cpu"), "args": SimpleNamespace(discopop_tau=0.05),
               **more}  # fmt: skip

    def loss(policy_chosen, policy_rejected, reference_chosen, reference_rejected):
        own = SimpleNamespace(**trainer, running=Running())
        four = policy_chosen, policy_rejected, reference_chosen, reference_rejected
        if before:
            method(own, *four, loss_type=before)
        return method(own, *four, loss_type=loss_type)

    return loss


def factory(name):
    return taken("llamafactory", "train/dpo/trainer.py", f"CustomDPOTrainer.{name}", **NAMES)


def factory_simpo(policy_chosen, policy_rejected, chosen_lengths, rejected_lengths):
    own = SimpleNamespace(beta=2.0, simpo_gamma=0.5)
    return factory("simpo_loss")(own, policy_chosen / chosen_lengths, policy_rejected / rejected_lengths)


def factory_orpo(policy_chosen, policy_rejected):
    return factory("odds_ratio_loss")(SimpleNamespace(beta=BETA), policy_chosen, policy_rejected)


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


def minor_sft(policy_chosen, policy_rejected, reference_chosen, reference_rejected):
    function = taken("torchrl", "objectives/llm/sft.py", "minor_sft_loss", **NAMES)
    return function(policy_chosen, reference_chosen, BETA, "none") + 0.0 * policy_rejected


def softplus(x):
    return np.logaddexp(0.0, x)


def sigmoid(x):
    return np.exp(-softplus(-x))


OWN = {
    "nca_pair": lambda a, b: softplus(-BETA * a) + 0.5 * softplus(BETA * a) + 0.5 * softplus(BETA * b),
    "sppo_hard": lambda a, b: (a - 0.5 / BETA) ** 2 + (b + 0.5 / BETA) ** 2,
    "apo_zero": lambda a, b: sigmoid(-BETA * a) + sigmoid(BETA * b),
    "apo_down": lambda a, b: sigmoid(BETA * a) + sigmoid(-BETA * (a - b)),
    "exo_pair": lambda m: sigmoid(BETA * m) * (math.log(1e3 / 999.0) - softplus(-BETA * m))
    + sigmoid(-BETA * m) * (math.log(1e3) - softplus(BETA * m)),
    "discopop": lambda m: softplus(-BETA * m) * sigmoid(-20.0 * BETA * m)
    + np.exp(-BETA * m - softplus(-20.0 * BETA * m)),
}
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
    Declaration("LLaMA-Factory simpo_loss", factory_simpo, "simpo", {"scale": 2.0, "margin": 0.5, **NONE}),
    Declaration("LLaMA-Factory odds_ratio_loss", factory_orpo, "", {
        "objective": lambda a, b: -a + BETA * softplus((b - np.log(-np.expm1(b))) - (a - np.log(-np.expm1(a)))),
        "reference_free": True, **NONE}),
    Declaration("LLaMA-Factory get_batch_logps", factory_log_probs, "sequence_log_probs", {"layout": "labels"}),
    Declaration("LLaMA-Factory PairwiseTrainer, where the reward is read", factory_reward, "sequence_rewards"),
    Declaration("ms-swift dpo_loss, sigmoid", swift("sigmoid"), "dpo", {**DPO, **NONE, "returns_rewards": True}),
    Declaration("ms-swift dpo_loss, sigmoid, label_smoothing", swift("sigmoid", label_smoothing=EPSILON), "dpo",
                {**CDPO, **NONE}),
    Declaration("ms-swift dpo_loss, robust", swift("robust", label_smoothing=EPSILON), "dpo", {**ROBUST, **NONE}),
    Declaration("ms-swift dpo_loss, hinge", swift("hinge"), "hinge", {**DPO, **NONE}),
    Declaration("ms-swift dpo_loss, ipo", swift("ipo"), "ipo", {"tau": BETA, **NONE}),
    *(Declaration(f"ms-swift dpo_loss, {name}", swift(name), "", {"objective": formula, **NONE})
      for name, formula in OWN.items()),
    Declaration("ms-swift dpo_loss, sigmoid after exo_pair, as in a list of both", swift("sigmoid", "exo_pair"), "dpo",
                {**DPO, **NONE}),
    Declaration("TorchRL minor_sft_loss", minor_sft, "", {"objective": lambda a, b: softplus(-BETA * a), **NONE}),
]  # fmt: skip

if __name__ == "__main__":
    main("Losses of OpenRLHF, torchtune, LLaMA-Factory, ms-swift and TorchRL",
         ["torch", "openrlhf", "torchtune", "llamafactory", "ms-swift", "torchrl"], DECLARATIONS, "torch")  # fmt: skip
