"""mlx-lm-lora's DPO losses in MLX, on the CPU.

`dpo_loss` and the two functions before it are taken out of the installed file (`recipe.taken`), because the package
loads models' libraries when it is imported. MLX differentiates them (`mx.value_and_grad`); they are held as functions
of NumPy arrays that return their own gradients. MLX computes in float32 where nothing else is asked for.
"""

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from recipe import Declaration, main, taken

__all__ = ["DECLARATIONS"]

BETA = 0.3
FILE = "trainer/dpo_trainer.py"


def own(name):
    return taken("mlx_lm_lora", FILE, name, mx=mx, nn=nn)


def of_pairs(loss_type, delta=50.0):
    function, masks = own("dpo_loss"), mx.ones((1, 2))

    def value(*four):
        return function(*four, masks, masks, BETA, delta, loss_type)[0]

    def loss(policy_chosen, policy_rejected, reference_chosen, reference_rejected):
        four = [mx.array(x) for x in (policy_chosen, policy_rejected, reference_chosen, reference_rejected)]
        found, gradients = mx.value_and_grad(value, argnums=(0, 1))(*four)
        return np.array(found), [np.array(g) for g in gradients]

    return loss


def of_tokens(average):
    scores, score = own("get_token_scores"), own("compute_score")

    def log_probs(logits, labels, mask):
        counted = mx.array(np.asarray(mask, dtype=np.float32))

        def total(z):
            tokens = scores(lambda inputs, cache: z[:, :-1], mx.array(labels), counted)
            found = score(tokens, counted, "ipo" if average else "sigmoid")
            return found.sum(), found

        (_, each), gradient = mx.value_and_grad(total)(mx.array(logits))
        return np.array(each), {"logits": np.array(gradient)}

    return log_probs


SINGLE = {"dtype": "float32", "returns_gradients": True}


def dpop(a, b):
    """DPO-Positive: (a - b) scaled, and 50 times what the chosen outcome has lost against the reference."""
    return np.logaddexp(0.0, -BETA * (a - b)) + 50.0 * np.maximum(0.0, -a)


def smaug(a, b):
    """DPO-Positive as published: the penalty stands inside the sigmoid, times beta."""
    return np.logaddexp(0.0, -BETA * (a - b - 50.0 * np.maximum(0.0, -a)))


DECLARATIONS = [
    Declaration("mlx-lm-lora dpo_loss, sigmoid", of_pairs("sigmoid"), "dpo", {"beta": BETA, **SINGLE}),
    Declaration("mlx-lm-lora dpo_loss, hinge", of_pairs("hinge"), "hinge", {"beta": BETA, **SINGLE}),
    Declaration("mlx-lm-lora dpo_loss, ipo", of_pairs("ipo"), "ipo", {"tau": BETA, **SINGLE}),
    Declaration("mlx-lm-lora dpo_loss, dpop", of_pairs("dpop"), "", {"objective": smaug, **SINGLE}, "Pal et al. 2024"),
    Declaration("mlx-lm-lora dpo_loss, dpop", of_pairs("dpop"), "", {"objective": dpop, **SINGLE}, "as its code"),
    Declaration("mlx-lm-lora scores of sequences", of_tokens(False), "sequence_log_probs", SINGLE),
    Declaration("mlx-lm-lora scores of sequences, ipo", of_tokens(True), "sequence_log_probs",
                {"average": True, **SINGLE}),
]  # fmt: skip

if __name__ == "__main__":
    main("mlx-lm-lora's DPO losses", ["mlx", "mlx-lm-lora"], DECLARATIONS, "numpy")
