"""Preference losses in JAX: built from Optax's published losses, and written out with jax.nn."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax
from recipe import Declaration, main


def margin_of(policy_chosen, policy_rejected, reference_chosen, reference_rejected):
    """Log-ratio of policy to reference of the chosen less that of the rejected outcome."""
    reference_chosen, reference_rejected = jax.lax.stop_gradient((reference_chosen, reference_rejected))
    return (policy_chosen - reference_chosen) - (policy_rejected - reference_rejected)


def optax_reward(chosen_rewards, rejected_rewards):
    """The reward model's loss: Optax's binary cross-entropy with the label 1."""
    logits = chosen_rewards - rejected_rewards
    return optax.losses.sigmoid_binary_cross_entropy(logits, jnp.ones_like(logits)).mean()


def optax_dpo(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta, label_smoothing):
    """DPO with smoothed labels, each pair's loss."""
    logits = beta * margin_of(policy_chosen, policy_rejected, reference_chosen, reference_rejected)
    return optax.losses.sigmoid_binary_cross_entropy(logits, jnp.full_like(logits, 1.0 - label_smoothing))


def optax_hinge(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta):
    """The hinge loss of RSO: Optax's hinge with the target 1."""
    scores = beta * margin_of(policy_chosen, policy_rejected, reference_chosen, reference_rejected)
    return optax.losses.hinge_loss(scores, jnp.ones_like(scores)).mean()


def optax_ipo(policy_chosen, policy_rejected, reference_chosen, reference_rejected, tau):
    """IPO: Optax's squared error, which is not halved."""
    margin = margin_of(policy_chosen, policy_rejected, reference_chosen, reference_rejected)
    return optax.losses.squared_error(margin, jnp.full_like(margin, 0.5 / tau)).mean()


def optax_ipo_halved(policy_chosen, policy_rejected, reference_chosen, reference_rejected, tau):
    """IPO with Optax's l2_loss, which is half of the squared error."""
    margin = margin_of(policy_chosen, policy_rejected, reference_chosen, reference_rejected)
    return optax.losses.l2_loss(margin, jnp.full_like(margin, 0.5 / tau)).mean()


def jax_geometric(policy_chosen, policy_rejected, reference_chosen, reference_rejected, alpha):
    """The geometric loss, Eq. (18)."""
    reference_chosen, reference_rejected = jax.lax.stop_gradient((reference_chosen, reference_rejected))
    ratio = margin_of(policy_chosen, policy_rejected, reference_chosen, reference_rejected)
    return -jax.nn.log_sigmoid(ratio / alpha + reference_chosen - reference_rejected).mean()


def jax_naive_dpo(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta):
    """DPO as it should not be written: log(sigmoid(x)) in two steps."""
    margin = margin_of(policy_chosen, policy_rejected, reference_chosen, reference_rejected)
    return -jnp.log(jax.nn.sigmoid(beta * margin)).mean()


def optax_sequences(logits, labels, mask):
    """Log-probabilities of sequences: Optax's cross-entropy with integer labels, shifted and masked."""
    losses = optax.losses.softmax_cross_entropy_with_integer_labels(logits[:, :-1], labels[:, 1:])
    return -jnp.where(mask[:, 1:], losses, 0.0).sum(axis=1)


DECLARATIONS = [
    Declaration("sigmoid_binary_cross_entropy", optax_reward, "bradley_terry"),
    Declaration("sigmoid_binary_cross_entropy", optax_dpo, "dpo",
                {"beta": 0.3, "label_smoothing": 0.1, "reduction": "none"}),
    Declaration("hinge_loss", optax_hinge, "hinge", {"beta": 0.3}),
    Declaration("squared_error", optax_ipo, "ipo", {"tau": 0.3}),
    Declaration("l2_loss", optax_ipo_halved, "ipo", {"tau": 0.3}, "half the squared error, on purpose"),
    Declaration("jax.nn.log_sigmoid", jax_geometric, "geometric", {"alpha": 0.7}),
    Declaration("log of jax.nn.sigmoid", jax_naive_dpo, "dpo", {"beta": 0.3}, "naive, on purpose"),
    Declaration("softmax_cross_entropy_with_integer_labels", optax_sequences, "sequence_log_probs", {"layout": "mask"}),
]  # fmt: skip

if __name__ == "__main__":
    main("Preference losses in JAX", ["jax", "jaxlib", "optax", "numpy"], DECLARATIONS, "jax")
