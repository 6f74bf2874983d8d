"""mlx-lm-lora's losses on preferences in MLX, on the CPU.

`dpo_loss`, `cpo_loss` and `orpo_loss`, and what scores sequences before them, are taken out of the installed files
(`recipe.taken`), because the package loads models' libraries when it is imported. MLX differentiates them
(`mx.value_and_grad`); they are held as functions of NumPy arrays that return their own gradients. MLX computes in
float32 where nothing else is asked for.
"""

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from recipe import Declaration, main, taken

__all__ = ["DECLARATIONS"]

BETA = 0.3


def own(name, trainer="dpo", **names):
    return taken("mlx_lm_lora", f"trainer/{trainer}_trainer.py", name, mx=mx, nn=nn, **names)


def derived(value, arrays):
    """A function's value and its derivatives with respect to the policy's two vectors."""
    found, gradients = mx.value_and_grad(value, argnums=(0, 1))(*(mx.array(x) for x in arrays))
    return np.array(found), [np.array(g) for g in gradients]


def of_pairs(loss_type, trainer="dpo", delta=50.0):
    function, masks = own(f"{trainer}_loss", trainer), mx.ones((1, 2))
    return lambda *arrays: derived(lambda *x: function(*x, masks, masks, BETA, delta, loss_type)[0], arrays)


def orpo(chosen, rejected, chosen_lengths, rejected_lengths):
    """`orpo_loss` on averages over tokens, of preferences that all count as much."""
    function = own("orpo_loss", "orpo", _log1mexp=own("_log1mexp", "orpo"))
    lengths, masks = [mx.array(x.astype(np.float32)) for x in (chosen_lengths, rejected_lengths)], mx.ones((1, 2))

    def value(w, l):  # noqa: E741
        return function(w / lengths[0], None, l / lengths[1], None, masks, masks, mx.ones(len(chosen)), BETA)[0]

    return derived(value, (chosen, rejected))


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


def outside(a, b):
    """DPO, and 50 times what the chosen outcome has lost against the reference."""
    return np.logaddexp(0.0, -BETA * (a - b)) + 50.0 * np.maximum(0.0, -a)


DECLARATIONS = [
    Declaration("mlx-lm-lora dpo_loss, sigmoid", of_pairs("sigmoid"), "dpo", {"beta": BETA, **SINGLE}),
    Declaration("mlx-lm-lora dpo_loss, hinge", of_pairs("hinge"), "hinge", {"beta": BETA, **SINGLE}),
    Declaration("mlx-lm-lora dpo_loss, ipo", of_pairs("ipo"), "ipo", {"tau": BETA, **SINGLE}),
    Declaration("mlx-lm-lora dpo_loss, dpop", of_pairs("dpop"), "dpop", {"beta": BETA, "penalty": 50.0, **SINGLE}),
    Declaration("mlx-lm-lora dpo_loss, dpop", of_pairs("dpop"), "", {"objective": outside, **SINGLE}, "as its code"),
    Declaration("mlx-lm-lora cpo_loss, sigmoid", of_pairs("sigmoid", "cpo"), "cpo",
                {"beta": BETA, "likelihood_weight": 0.0, **SINGLE}),
    Declaration("mlx-lm-lora orpo_loss", orpo, "orpo", {"beta": BETA, "likelihood_weight": 1.0, **SINGLE}),
    Declaration("mlx-lm-lora scores of sequences", of_tokens(False), "sequence_log_probs", SINGLE),
    Declaration("mlx-lm-lora scores of sequences, ipo", of_tokens(True), "sequence_log_probs",
                {"average": True, **SINGLE}),
]  # fmt: skip

if __name__ == "__main__":
    main("mlx-lm-lora's losses on preferences", ["mlx", "mlx-lm-lora"], DECLARATIONS, "numpy")
