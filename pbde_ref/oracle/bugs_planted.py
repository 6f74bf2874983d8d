"""The bugs that are planted to see whether they are found: those of the catalogue, and others that it does not know."""

from __future__ import annotations

from pbde_ref.oracle.planted import Planted, Subject

__all__ = ["KNOWN", "UNKNOWN"]

_BT = Subject("bradley_terry", "bradley_terry", {"margin": 0.4})
_BT_EACH = Subject("bradley_terry per example", "bradley_terry", {"margin": "per_example"})
_DPO = Subject("dpo", "dpo", {"beta": 0.3, "label_smoothing": 0.1})
_PLAIN = Subject("dpo", "dpo", {"beta": 0.3})
_ROBUST = Subject("dpo robust", "dpo", {"beta": 0.3, "label_smoothing": 0.1, "variant": "robust"})
_GRADIENTS = Subject("dpo with gradients", "dpo", {"beta": 0.3})
_PBDE = Subject("pbde", "pbde")
_SIMPO = Subject("length_normalized", "length_normalized", {"scale": 2.0, "margin": 0.5})
_GEOMETRIC = Subject("geometric", "geometric", {"alpha": 0.7})
_IPO = Subject("ipo", "ipo", {"tau": 0.3})
_IPO_SUM = Subject("ipo given lengths", "ipo", {"tau": 0.3})
_IPO_MEAN = Subject("ipo average", "ipo", {"tau": 0.3, "average": True})
_SLIC = Subject("slic", "slic", {"delta": 1.0})
_RSO = Subject("rso", "rso", {"delta": 2.0})
_HINGE = Subject("hinge", "hinge", {"beta": 0.3})
_RRHF = Subject("rrhf", "rrhf")
_MIXTURE = Subject("mixture", "mixture")
_SEQUENCE = Subject("sequence_log_probs", "sequence_log_probs", {"layout": "lengths"})
_SEQUENCE_MEAN = Subject("sequence_log_probs mean", "sequence_log_probs", {"layout": "lengths", "average": True})

_BY_MASK = Subject("sequence_log_probs by mask", "sequence_log_probs")
_BY_MASK_MEAN = Subject("sequence_log_probs mean by mask", "sequence_log_probs", {"average": True})
_BY_LABELS_MEAN = Subject("sequence_log_probs mean by weights", "sequence_log_probs", {"layout": "labels", "average": True})
_ROLLED = Subject("sequence_log_probs rolled", "sequence_log_probs")
_ROW_BY_ROW = Subject("sequence_log_probs row by row", "sequence_log_probs")
_HOT = Subject("sequence_log_probs hot", "sequence_log_probs", {"temperature": 0.6})
_UNSHIFTED = Subject("sequence_log_probs not shifted", "sequence_log_probs", {"shift": False})
_REWARDS = Subject("sequence_rewards", "sequence_rewards")
_REWARDS_AT = Subject("sequence_rewards by positions", "sequence_rewards")

_GRADIENT = ("torch", "jax")
_OWN_GRADIENT = ("numpy",)
_ASSIGNED = ("numpy", "torch")

_COUNTED = "counted = mask[:, 1:]"
_MASK = "mask = (positions(labels) >= prompt_lengths[:, None]) & (attention_mask != 0)"

KNOWN: tuple[Planted, ...] = (
    Planted("β applied twice", _DPO, "beta * (", "beta * beta * ("),
    Planted("β applied twice", _SIMPO, "m = scale * (", "m = scale * scale * ("),
    Planted("β applied twice", _HINGE, "beta * (", "beta * beta * ("),
    Planted("divided by β", _DPO, "beta * (chosen - rejected)", "(chosen - rejected) / beta"),
    Planted("divided by β", _SIMPO, "m = scale * (", "m = 1 / scale * ("),
    Planted("β missing", _DPO, "beta * (", "("),
    Planted("β in IPO's margin", _IPO, "chosen - rejected - 1", "tau * (chosen - rejected) - 1"),
    Planted("reference model missing", _DPO, "    m =",
            "    chosen, rejected = policy_chosen, policy_rejected\n    m ="),
    Planted("reference model missing", _IPO, "(chosen - rejected -", "(policy_chosen - policy_rejected -"),
    Planted("reference model missing", _RSO, "(chosen - rejected)", "(policy_chosen - policy_rejected)"),
    Planted("reference model missing", _HINGE, "(chosen - rejected)", "(policy_chosen - policy_rejected)"),
    Planted("reference model missing", _GEOMETRIC,
            "    m = (chosen - rejected) / alpha + detach(reference_chosen - reference_rejected)",
            "    m = (policy_chosen - policy_rejected) / alpha"),
    Planted("reference swapped", _DPO, "beta * (", "beta * (2 * (reference_chosen - reference_rejected) + "),
    Planted("sign inverted", _DPO, "return reduce(", "return -reduce("),
    Planted("sign inverted", _BT, "reduce(-", "reduce("),
    Planted("sign inverted", _PBDE, "reduce(-", "reduce("),
    Planted("sign inverted", _GEOMETRIC, "reduce(-", "reduce("),
    Planted("sign inverted", _IPO, "return reduce(", "return -reduce("),
    Planted("sign inverted", _SLIC, "return reduce(", "return -reduce("),
    Planted("sign inverted", _RRHF, "return reduce(", "return -reduce("),
    Planted("sign inverted", _MIXTURE, "reduce(-", "reduce("),
    Planted("chosen and rejected swapped", _DPO, "(chosen - rejected)", "(rejected - chosen)"),
    Planted("chosen and rejected swapped", _BT, "chosen_rewards - rejected_rewards",
            "rejected_rewards - chosen_rewards"),
    Planted("chosen and rejected swapped", _SIMPO, "    m = scale", "    m = -scale"),
    Planted("chosen and rejected swapped", _PBDE, "log_sigmoid(m)", "log_sigmoid(-m)"),
    Planted("chosen and rejected swapped", _IPO, "chosen - rejected", "rejected - chosen"),
    Planted("chosen and rejected swapped", _SLIC, "policy_chosen - policy_rejected", "policy_rejected - policy_chosen"),
    Planted("chosen and rejected swapped", _MIXTURE, "policy_chosen - policy_rejected",
            "policy_rejected - policy_chosen"),
    Planted("label smoothing ignored", _DPO, "    m =", "    label_smoothing = 0\n    m ="),
    Planted("label smoothing ignored", _PLAIN, "    m =", "    label_smoothing = 0\n    m ="),
    Planted("label smoothing ignored", _ROBUST, "    m =", "    label_smoothing = 0\n    m ="),
    Planted("factor 1 / (1 - 2ε) missing", _ROBUST, "each / (1 - 2 * label_smoothing)", "each"),
    Planted("loss type ignored", _IPO, "(chosen - rejected - 1 / (2 * tau)) ** 2",
            "-log_sigmoid(tau * (chosen - rejected))"),
    Planted("loss type ignored", _HINGE, "relu(1 - beta * (chosen - rejected))",
            "-log_sigmoid(beta * (chosen - rejected))"),
    Planted("loss type ignored", _RSO, "relu(delta - (chosen - rejected))",
            "-log_sigmoid((chosen - rejected) / delta)"),
    Planted("IPO on sums where means were meant, or the reverse", _IPO_MEAN,
            "chosen / chosen_lengths - rejected / rejected_lengths",
            "chosen - rejected"),
    Planted("IPO on sums where means were meant, or the reverse", _IPO_SUM, "(chosen - rejected -",
            "(chosen / chosen_lengths - rejected / rejected_lengths -"),
    Planted("margin with the wrong sign", _BT, "- margin", "+ margin"),
    Planted("margin with the wrong sign", _BT_EACH, "- margin", "+ margin"),
    Planted("margin with the wrong sign", _SIMPO, "m - margin", "m + margin"),
    Planted("margin ignored", _BT, " - margin", ""),
    Planted("margin ignored", _SIMPO, "m - margin", "m"),
    Planted("log(σ(x)) formed directly", _PLAIN, "log_sigmoid(m)", "log(1 / (1 + exp(-m)))"),
    Planted("log(σ(x)) formed directly", _BT, "log_sigmoid(chosen_rewards - rejected_rewards - margin)",
            "log(1 / (1 + exp(-(chosen_rewards - rejected_rewards - margin))))"),
    Planted("log(1 + exp(x)) formed directly", _PLAIN, "log_sigmoid(m)", "-log(1 + exp(-m))"),
    Planted("log(1 + exp(x)) formed directly", _SIMPO, "reduce(-log_sigmoid(m - margin))",
            "reduce(log(1 + exp(-(m - margin))))"),
    Planted("gradient identically zero", _GRADIENTS, "into_policy = [slope, -slope]",
            "into_policy = [0 * slope, 0 * slope]", _OWN_GRADIENT),
    Planted("gradient identically zero", _DPO, "    m = beta",
            "    m = detach(beta * (chosen - rejected)) + 0 * beta", _GRADIENT),
    Planted("gradient flows into the reference", _GRADIENTS, "into_reference = [0 * slope, 0 * slope]",
            "into_reference = [-slope, slope]", _OWN_GRADIENT),
    Planted("gradient flows into the reference", _DPO, "detach(reference_rejected)", "reference_rejected", _GRADIENT),
    Planted("state", _PLAIN, "    m = ", "    label_smoothing = remembered.setdefault('ε', label_smoothing)\n"
            "    remembered['ε'] = label_smoothing or 1e-3\n    m = ", _ASSIGNED),
    Planted("RRHF as printed", _RRHF, "relu(p[:, None, :] - p[:, :, None])", "-relu(p[:, :, None] - p[:, None, :])"),
    Planted("lengths ignored", _RRHF, "p = policy / lengths", "p = policy"),
    Planted("lengths ignored in a pair", _SIMPO, "policy_chosen / chosen_lengths - policy_rejected / rejected_lengths",
            "policy_chosen - policy_rejected"),
    Planted("hinge as printed", _SLIC, "relu(delta - (policy_chosen - policy_rejected))",
            "delta - relu(policy_chosen - policy_rejected)"),
    Planted("logits mixed instead of probabilities", _MIXTURE, "-logsumexp(log_softmax(weight_logits) + log_wins)",
            "-log_sigmoid((exp(log_softmax(weight_logits)) * (policy_chosen - policy_rejected)).sum(-1))"),
    Planted("weights of the mixture ignored", _MIXTURE, "log_softmax(weight_logits)", "log_softmax(0 * weight_logits)"),
    Planted("prompt tokens counted", _SEQUENCE, _MASK, "mask = attention_mask != 0"),
    Planted("only the first half of the batch masked", _SEQUENCE, _MASK,
            "mask = attention_mask != 0; half = len(labels) // 2\n"
            "    mask[:half] = mask[:half] & (positions(labels) >= prompt_lengths[:half, None])", _ASSIGNED),
    Planted("padding counted", _SEQUENCE, " & (attention_mask != 0)", ""),
    Planted("mask ignored", _SEQUENCE, _COUNTED, "counted = mask[:, 1:] | True"),
    Planted("mask inverted", _SEQUENCE, _COUNTED, "counted = ~mask[:, 1:]"),
    Planted("first response token lost", _SEQUENCE, ">= prompt", "> prompt"),
    Planted("last column cut", _SEQUENCE, "    return",
            "    tokens, counted = tokens[:, :-1], counted[:, :-1]\n    return"),
    Planted("end of sequence lost", _SEQUENCE, _COUNTED, "counted = mask[:, 1:]; counted[:, :-1] &= mask[:, 2:]; "
            "counted[:, -1] = False", _ASSIGNED),
    Planted("mask not shifted with the labels", _SEQUENCE, _COUNTED, "counted = mask[:, :-1]"),
    Planted("mean over all columns", _SEQUENCE_MEAN, "at_least_one(counted.sum(-1))", "counted.shape[1]"),
    Planted("gaps of the mask filled", _BY_MASK, _COUNTED, "counted = (running(mask[:, 1:]) > 0) & (flipped(running(flipped(mask[:, 1:]))) > 0)"),
    Planted("right padding assumed", _SEQUENCE, "(attention_mask != 0)",
            "(positions(labels) < attention_mask.sum(-1)[:, None])"),
    Planted("right padding assumed", _SEQUENCE_MEAN, "(attention_mask != 0)",
            "(positions(labels) < attention_mask.sum(-1)[:, None])"),
    Planted("one pad counted", _SEQUENCE, "(attention_mask != 0)",
            "(positions(labels) <= attention_mask.sum(-1)[:, None])"),
    Planted("one pad counted", _BY_MASK, _COUNTED, "counted = (mask != 0)[:, 1:] | (mask != 0)[:, :-1]"),
    *(Planted(f"token {token} never counted", _SEQUENCE, "(attention_mask != 0)", f"(labels != {token})")
      for token in range(7)),
    Planted("token 0 never counted", _BY_MASK, _COUNTED, "counted = (mask != 0)[:, 1:] & (labels[:, 1:] != 0)"),
    Planted("the shift wraps around", _ROLLED, " & (positions(labels) < labels.shape[1] - 1)", ""),
    Planted("the shift wraps around", _BY_LABELS_MEAN, "    tokens = gather(log_softmax(logits[:, :-1]), "
            "where(counted, labels[:, 1:], 0 * labels[:, 1:]))",
            "    counted = rolled(labels) != -100\n"
            "    tokens = gather(log_softmax(logits), where(counted, rolled(labels), 0 * labels))"),
    Planted("counts from the unshifted mask", _BY_MASK_MEAN, "at_least_one(counted.sum(-1))",
            "at_least_one(mask.sum(-1))"),
    Planted("counts from the unshifted mask", _SEQUENCE_MEAN, "at_least_one(counted.sum(-1))",
            "at_least_one(mask.sum(-1))"),
    Planted("length + 1", _BY_MASK_MEAN, "at_least_one(counted.sum(-1))", "(counted.sum(-1) + 1)"),
    Planted("length + 1", _BY_LABELS_MEAN, "at_least_one(counted.sum(-1))", "(counted.sum(-1) + 1)"),
    Planted("end in the length, not in the sum", _BY_MASK_MEAN, "where(counted, ",
            "where(counted & (flipped(running(flipped(counted))) > 1), "),
    Planted("averaged twice", _BY_MASK_MEAN, "at_least_one(counted.sum(-1))", "at_least_one(counted.sum(-1)) ** 2"),
    Planted("0/0 without completion", _BY_MASK_MEAN, "at_least_one(counted.sum(-1))", "counted.sum(-1)"),
    Planted("0/0 without completion", _SEQUENCE_MEAN, "at_least_one(counted.sum(-1))", "counted.sum(-1)"),
    Planted("-inf · 0 where the mask is 0", _BY_MASK, "where(counted, tokens, zeros_like(tokens))", "(tokens * counted)"),
    Planted("-inf · 0 where the mask is 0", _SEQUENCE, "where(counted, tokens, zeros_like(tokens))",
            "(tokens * counted)"),
    Planted("-inf · 0 where the mask is 0", _BY_LABELS_MEAN, "zeros_like(tokens)", "0 * tokens"),
    Planted("-inf · 0 where the mask is 0", _UNSHIFTED, "where(mask, tokens, zeros_like(tokens))", "(tokens * mask)"),
    Planted("log_softmax over the batch axis", _SEQUENCE, "log_softmax(logits[:, :-1])",
            "log_softmax(logits[:, :-1].swapaxes(0, 2)).swapaxes(0, 2)"),
    Planted("log_softmax over the positions", _BY_MASK, "log_softmax(logits[:, :-1])",
            "log_softmax(logits[:, :-1].swapaxes(1, 2)).swapaxes(1, 2)"),
    Planted("temperature ignored", _HOT, " / temperature", ""),
    Planted("temperature", _BY_MASK, "log_softmax(logits[:, :-1])", "log_softmax(logits[:, :-1] / 0.7)"),
    Planted("temperature", _BY_LABELS_MEAN, "log_softmax(logits[:, :-1])", "log_softmax(logits[:, :-1] * 2)"),
    Planted("clamped logits", _BY_MASK, "log_softmax(logits[:, :-1])", "log_softmax(clip(logits[:, :-1], -50, 50))"),
    Planted("clamped logits", _SEQUENCE_MEAN, "log_softmax(logits[:, :-1])", "log_softmax(clip(logits[:, :-1], -20, 20))"),
    Planted("capped logits", _BY_MASK, "log_softmax(logits[:, :-1])", "log_softmax(30 * tanh(logits[:, :-1] / 30))"),
    Planted("clamped log-probabilities", _BY_MASK, "    counted", "    tokens = clip(tokens, -20, 0)\n    counted"),
    Planted("epsilon in the logarithm", _SEQUENCE, "log_softmax(logits[:, :-1])",
            "log(exp(log_softmax(logits[:, :-1])) + 1e-10)"),
    Planted("smoothed labels", _BY_MASK, "    counted", "    tokens = 0.9 * tokens + 0.1 * log_softmax("
            "logits[:, :-1]).mean(-1)\n    counted"),
    Planted("mask read by its type", _BY_MASK, _COUNTED, "counted = ~(~mask[:, 1:] != 0)", ("numpy", "jax")),
    Planted("mask read by its type", _REWARDS, "flipped(mask) != 0", "~flipped(mask) == -2"),
    Planted("sign inverted", _BY_MASK, "    return", "    return -1 *"),
    Planted("sign inverted", _REWARDS, "    return", "    return -1 *"),
    Planted("gradient identically zero", _BY_MASK, "logits[:, :-1]", "detach(logits[:, :-1]) + 0 * logits[:, 1:]",
            _GRADIENT),
    Planted("reward read one token late", _REWARDS_AT, "positions(mask) == last",
            "positions(mask) == where(last < 7, last + 1, last)"),
    Planted("reward read one token early", _REWARDS, "mask.shape[1] - 1", "mask.shape[1] - 2"),
    Planted("reward read at the last position", _REWARDS_AT, "== last", "== mask.shape[1] - 1"),
    Planted("reward read at the first position", _REWARDS_AT, "== last", "== 0"),
    Planted("reward read where the mask's sum points", _REWARDS, "mask.shape[1] - 1 - first_of_row(flipped(mask) != 0)",
            "of_numbers(mask).sum(-1) - 1"),
    Planted("reward read before the first 0 of the mask", _REWARDS,
            "mask.shape[1] - 1 - first_of_row(flipped(mask) != 0)", "(first_of_row(mask == 0) - 1) % mask.shape[1]"),
    Planted("rewards averaged over the tokens", _REWARDS_AT, "(positions(mask) == last, scores, zeros_like(scores)).sum(-1)",
            "(mask != 0, scores, zeros_like(scores)).sum(-1) / (mask != 0).sum(-1)"),
    Planted("rewards summed over the tokens", _REWARDS_AT, "positions(mask) == last", "mask != 0"),
    Planted("-inf · 0 at padding", _REWARDS_AT, "where(positions(mask) == last, scores, zeros_like(scores))",
            "(scores * (positions(mask) == last))"),
    Planted("gradient identically zero", _REWARDS_AT, "last, scores,", "last, detach(scores),", _GRADIENT),
    # Conventions that were declared otherwise.
    Planted("reduction: sum", _DPO, "return reduce(", "return len(m) * reduce("),
    Planted("cDPO", _ROBUST, "each / (1 - 2 * label_smoothing)", "each - 2 * label_smoothing * log_sigmoid(-m)"),
    Planted("IPO, target 1 / tau", _IPO, "1 / (2 * tau)", "1 / tau"),
    Planted("IPO, target tau", _IPO, "1 / (2 * tau)", "tau"),
    Planted("hinge scaled by beta", _RSO, "relu(delta - (chosen - rejected))", "relu(1 - (chosen - rejected) / delta)"),
    Planted("hinge in nats", _HINGE, "relu(1 - beta * (chosen - rejected))", "relu(1 / beta - (chosen - rejected))"),
    Planted("margin times scale", _SIMPO, "m - margin", "m - scale * margin"),
    Planted("exponent alpha", _GEOMETRIC, "/ alpha", "* alpha"),
    Planted("ranking alone", _RRHF, "ranking - likelihood_weight * best", "ranking"),
    Planted("likelihood per token", _RRHF, "row_max(scores), policy,", "row_max(scores), p,"),
    Planted("order reversed", _RRHF, "    p = policy", "    scores = -scores\n    p = policy"),
    Planted("mean over tokens", _SEQUENCE, ".sum(-1)", ".sum(-1) / counted.sum(-1)"),
    Planted("sum over tokens", _SEQUENCE_MEAN, " / at_least_one(counted.sum(-1))", ""),
    Planted("not shifted", _SEQUENCE, "gather(log_softmax(logits[:, :-1]), labels[:, 1:])",
            "gather(log_softmax(logits), labels)[:, 1:]"),
)  # fmt: skip

UNKNOWN: tuple[Planted, ...] = (
    Planted("", _DPO, "(chosen - rejected)", "(chosen + rejected)"),
    Planted("", _DPO, "policy_rejected - detach(reference_rejected)", "policy_rejected"),
    Planted("", _DPO, "log_sigmoid(-m))", "log_sigmoid(m))"),
    Planted("", _DPO, "-(1 - label_smoothing) * log", "-log"),
    Planted("", _DPO, "    m = beta * (chosen - rejected)", "    m = clip(beta * (chosen - rejected), -20, 20)"),
    Planted("", _DPO, "    m = beta * (chosen - rejected)", "    m = beta * (chosen - rejected)\n    m = m - m.mean()"),
    Planted("", _DPO, "return reduce(", "return reduce(1e-6 + "),
    Planted("", _DPO, "    m = beta", "    m = -beta * absolute(chosen - rejected) + 0 * beta"),
    Planted("", _DPO, "-(1 - label_smoothing) * log_sigmoid(m)",
            "-(1 - label_smoothing) * log(exp(log_sigmoid(m)) + 1e-8)"),
    Planted("", _DPO, "    chosen =", "    policy_chosen = clip(policy_chosen, -1000, -1e-6)\n    chosen ="),
    Planted("", _DPO, "    chosen =", "    policy_rejected = log(exp(policy_rejected) + 1e-12)\n    chosen ="),
    Planted("", _DPO, "policy_chosen - detach(reference_chosen)", "detach(policy_chosen) - detach(reference_chosen)",
            _GRADIENT),
    Planted("", _DPO, "policy_rejected - detach(reference_rejected)",
            "to_single(policy_rejected) - detach(reference_rejected)"),
    Planted("", _DPO, "    m = beta * (chosen - rejected)",
            "    m = beta * (chosen - rejected)\n    m = detach(m) + (m - detach(m)) * 0.5", _GRADIENT),
    Planted("", _DPO, "return reduce(", "return len(m) / 4 * reduce("),
    Planted("", _DPO, "return reduce(", "return len(m) / (len(m) - 1 + 1e-9) * reduce("),
    Planted("", _DPO, "    m =", "    policy_chosen -= reference_chosen\n    m =", _ASSIGNED),
    Planted("", _DPO, "    m =", "    chosen = remembered.setdefault('chosen', chosen)[:1] + 0 * chosen\n    m =",
            _ASSIGNED),
    Planted("", _DPO, "    m =", "    rejected = rejected[[-1, *range(len(rejected) - 1)]]\n    m ="),
    Planted("", _GRADIENTS, "/ len(m)", "", _OWN_GRADIENT),
    Planted("", _GRADIENTS, "[slope, -slope]", "[slope, slope]", _OWN_GRADIENT),
    Planted("", _GRADIENTS, "exp(log_sigmoid(-m))", "exp(log_sigmoid(m))", _OWN_GRADIENT),
    Planted("", _ROBUST, "+ label_smoothing * log", "+ 2 * label_smoothing * log"),
    Planted("", _BT, "-log_sigmoid(chosen_rewards - rejected_rewards - margin)",
            "relu(1 - (chosen_rewards - rejected_rewards - margin))"),
    Planted("", _BT, "reduce(-log_sigmoid(chosen_rewards - rejected_rewards - margin))",
            "-log_sigmoid((chosen_rewards - rejected_rewards - margin).mean())"),
    Planted("", _PBDE, "f_rejected * policy", "f_chosen * policy"),
    Planted("", _PBDE, " + g_rejected", ""),
    Planted("", _SIMPO, "policy_rejected / rejected_lengths", "policy_rejected / chosen_lengths"),
    Planted("", _SIMPO, "policy_rejected / rejected_lengths", "policy_rejected / (rejected_lengths + 1)"),
    Planted("", _GEOMETRIC, " + detach(reference_chosen - reference_rejected)", ""),
    Planted("", _IPO, ") ** 2", ") ** 2 / 2"),
    Planted("", _IPO, "- 1 / (2 * tau)", "+ 1 / (2 * tau)"),
    Planted("", _SLIC, "relu(", "relu(0.5 * "),
    Planted("", _SLIC, "reduce(relu(delta - (policy_chosen - policy_rejected)))",
            "relu(delta - reduce(policy_chosen - policy_rejected))"),
    Planted("", _RSO, "relu(delta - (chosen - rejected))", "relu(delta - (chosen - rejected)) ** 2"),
    Planted("", _RRHF, "where(scores == row_max(scores), policy, 0 * policy)",
            "where(p == row_max(p), policy, 0 * policy)"),
    Planted("", _RRHF, "> scores[:, None, :]", ">= scores[:, None, :] + 0.45"),
    Planted("", _MIXTURE, "-logsumexp(log_softmax(weight_logits) + log_wins)", "-logsumexp(weight_logits + log_wins)"),
    Planted("", _MIXTURE, "reduce(-logsumexp(log_softmax(weight_logits) + log_wins))",
            "reduce(-log((exp(log_softmax(weight_logits)) / (1 + exp(policy_rejected - policy_chosen))).sum(-1)))"),
    Planted("", _MIXTURE, "-logsumexp(log_softmax(weight_logits) + log_wins)",
            "-(exp(log_softmax(weight_logits)) * log_wins).sum(-1)"),
    Planted("", _SEQUENCE, "log_softmax(logits[:, :-1])", "logits[:, :-1]"),
    Planted("", _SEQUENCE, ".sum(-1)", ".mean(-1)"),
    Planted("", _SEQUENCE_MEAN, "at_least_one(counted.sum(-1))", "counted.sum()"),
    # Of several turns only the first.
    Planted("", _BY_MASK, "    return", "    before = positions(counted) - running(counted)\n"
            "    counted = counted & (before == -row_max(where(counted, -before, 0 * before - 99)))\n    return"),
    Planted("", _ROW_BY_ROW, "range(len(labels))", "range(len(labels) - len(labels) % 2 if len(labels) > 4 else len(labels))"),
    Planted("", _BY_MASK, "    counted", "    tokens = tokens * (1 if len(labels) % 2 == 0 else 1.5)\n    counted"),
    Planted("", _BY_MASK_MEAN, "at_least_one(counted.sum(-1))", "(counted.sum(-1) + 1e-6)"),
    Planted("", _REWARDS_AT, "scores, zeros", "clip(scores, -1000, 1000), zeros"),
    Planted("", _REWARDS_AT, "scores, zeros", "tanh(scores), zeros"),
)  # fmt: skip
