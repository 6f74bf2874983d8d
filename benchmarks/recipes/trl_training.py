"""Train on TRL's losses over eight outcomes, and hold where training ends against the exact optimum of the sample."""

from __future__ import annotations

import time
from importlib.metadata import version

import torch
from trl_dpo import compute_loss

from pbde_ref.oracle.training.check import check_training


def trainer(loss_type, **settings):
    """Full-batch L-BFGS on a table of logits, from the reference."""

    def train(comparisons, reference_log_probs):
        chosen, rejected = (torch.as_tensor(indices) for indices in comparisons)
        reference = torch.as_tensor(reference_log_probs)
        logits = reference.clone().requires_grad_()
        one_token = torch.ones_like(chosen)
        optimizer = torch.optim.LBFGS([logits], max_iter=200, line_search_fn="strong_wolfe", tolerance_change=1e-14)

        def closure():
            optimizer.zero_grad()
            log_probs = torch.log_softmax(logits, 0)
            loss = compute_loss(
                loss_type, (log_probs[chosen], log_probs[rejected]), (reference[chosen], reference[rejected]),
                (one_token, one_token), **settings,
            )  # fmt: skip
            loss.backward()
            return loss

        optimizer.step(closure)
        return torch.log_softmax(logits, 0)

    train.__name__ = f"trl_{loss_type}"
    return train


CASES = [
    (trainer("sigmoid", beta=0.3), "dpo", {"beta": 0.3}),
    (trainer("ipo", beta=0.3), "ipo", {"tau": 0.3}),
    (trainer("sigmoid", beta=0.3, label_smoothing=0.1), "dpo", {"beta": 0.3, "label_smoothing": 0.1}),
]

if __name__ == "__main__":
    print(", ".join(f"{name} {version(name)}" for name in ("trl", "torch", "pbde-ref")), "\n")
    for train, loss, conventions in CASES:
        began = time.perf_counter()
        report = check_training(train, loss=loss, on_failure="report", **conventions)
        print(f"{report}\n  ({time.perf_counter() - began:.1f} s)\n")
