"""The paper, literally: Eq. (1) to (30) in its order and letters, as plain loops over lists.

An outcome x is an index; a distribution or a reward is a list with a number for each outcome. A preference probability
is a function of A and B, and stands for Prob(y = 1), as it does in the print. q is a list of rows, D a list of
``(A, B, y, probability)``. An expectation is a sum over what has positive probability. Where the paper prints min or
max over parameters and means arg min or arg max, the function is what is minimised or maximised.

`arithmetic` has `exp` and `log`: `math`, mpmath's `mp`, autograd's NumPy. All numbers are of its kind, or fractions in
equations without logarithm. Nothing is guarded: what the arithmetic cannot hold raises.
"""

import math

# --- What the paper uses without a number ---


def sigma(z, arithmetic=math):
    """The logistic function, 1 / (1 + e^(-z))."""
    return 1 / (1 + arithmetic.exp(-z))


def normalized(weights):
    """A distribution from what it is proportional to."""
    total = sum(weights)
    return [weight / total for weight in weights]


def pairs(q):
    """The pairs (A, B) that q draws."""
    return [(A, B) for A in range(len(q)) for B in range(len(q)) if q[A][B] > 0]


def answers(p):
    """The answers y that have positive probability, each with it, where p is that of y = 1."""
    return [(y, probability) for y, probability in ((1, p), (0, 1 - p)) if probability > 0]


def cross_entropy(y, p, arithmetic=math):
    """-y log p - (1 - y) log(1 - p) for y = 1 or y = 0: only one of the two terms is there."""
    return -arithmetic.log(p) if y == 1 else -arithmetic.log(1 - p)


def bernoulli_kl(p, p_model, arithmetic=math):
    """KL divergence of the answer's distributions, D_KL(p(y) || p_model(y))."""
    p_y_model = {1: p_model, 0: 1 - p_model}
    return sum(p_y * arithmetic.log(p_y / p_y_model[y]) for y, p_y in answers(p))


def kl(p, r, arithmetic=math):
    """KL divergence of distributions over outcomes, D_KL(p || r)."""
    return sum(p[x] * arithmetic.log(p[x] / r[x]) for x in range(len(p)) if p[x] > 0)


def positive_part(z):
    """(z)^+"""
    return z if z > 0 else 0 * z


# --- 2.2 Reinforcement learning from human feedback ---


def equation_1(D, p_phi, arithmetic=math):
    """Cross-entropy of the answers in D, minimised over phi."""
    return sum(weight * cross_entropy(y, p_phi(A, B), arithmetic) for A, B, y, weight in D)


def equation_2(r_phi, A, B, arithmetic=math):
    """Bradley-Terry: sigma(r(A) - r(B))."""
    return sigma(r_phi[A] - r_phi[B], arithmetic)


def equation_3(pi_theta, r_phi):
    """Expected reward, maximised over theta."""
    return sum(pi_theta[x] * r_phi[x] for x in range(len(pi_theta)))


def equation_4(pi_theta, r_phi, grad_log_pi):
    """Gradient of Eq. (3); ``grad_log_pi[x][i]`` is the derivative of log pi_theta(x) by parameter i."""
    return [
        sum(pi_theta[x] * r_phi[x] * grad_log_pi[x][i] for x in range(len(pi_theta)))
        for i in range(len(grad_log_pi[0]))
    ]


def equation_5(pi_theta, pi_pre, r_phi, beta, grad_log_pi, arithmetic=math):
    """The same with KL control: the gradient of Eq. (12)."""
    log = arithmetic.log
    controlled = [r_phi[x] - beta * log(pi_theta[x] / pi_pre[x]) for x in range(len(pi_theta))]
    return equation_4(pi_theta, controlled, grad_log_pi)


# --- 4.1 Reward learning as density estimation under the Luce choice rule ---


def equation_6(q, p_star):
    """D(A, B, y) = q(A, B) p*(y; A, B)."""
    return [(A, B, y, q[A][B] * p_y) for A, B in pairs(q) for y, p_y in answers(p_star(A, B))]


def equation_7(q, p_star, p_phi, arithmetic=math):
    """Eq. (1) in expectation, minimised over phi."""
    total = 0
    for A, B in pairs(q):
        for y, p_y in answers(p_star(A, B)):
            total += q[A][B] * p_y * cross_entropy(y, p_phi(A, B), arithmetic)
    return total


def equation_8(q, p_star, p_phi, arithmetic=math):
    """Expected KL divergence of the answers, minimised over phi."""
    total = 0
    for A, B in pairs(q):
        total += q[A][B] * bernoulli_kl(p_star(A, B), p_phi(A, B), arithmetic)
    return total


def equation_9(p_star, A, B):
    """The Luce choice rule: Prob(A > B)."""
    return p_star[A] / (p_star[A] + p_star[B])


def equation_10(grid, arithmetic=math):
    """2/5 N(-2.5, 0.25) + 3/5 N(2.5, 1), truncated to [-10, 10], on a grid of it: each density sums to one there."""

    def truncated_normal(mean, deviation):
        return normalized([arithmetic.exp(-(((x - mean) / deviation) ** 2) / 2) for x in grid])

    left, right = truncated_normal(-5 / 2, 1 / 4), truncated_normal(5 / 2, 1)
    return [(2 * left[x] + 3 * right[x]) / 5 for x in range(len(grid))]


def theorem_1(q, p_star, r_phi, arithmetic=math):
    """The loss of Theorem 1: Eq. (8) with the annotator of Eq. (9) and the model of Eq. (2).

    Claim: globally minimised, at 0, when exp(r_phi) is proportional to p*. It is "if and only if" where the pairs of q
    connect all outcomes; q > 0 everywhere is more than is needed. The machine-read text has tau_phi for r_phi.
    """
    return equation_8(
        q, lambda A, B: equation_9(p_star, A, B), lambda A, B: equation_2(r_phi, A, B, arithmetic), arithmetic
    )


# --- 4.3 Expanding to a broader family ---


def equation_11(p, f, g, A, B, arithmetic=math):
    """A preference behavior distribution equation: sigma(Omega(A) - Omega(B)), Omega = f log p + g, f > 0."""

    def omega(x):
        return f[x] * arithmetic.log(p[x]) + g[x]

    return sigma(omega(A) - omega(B), arithmetic)


def theorem_2(q, p_star, pi_theta, f, g, arithmetic=math):
    """The loss of Theorem 2: Eq. (8) with annotator and model both of Eq. (11), with one f and one g.

    Claim: pi_theta = p* is its global minimiser, with the value 0. It is the only one if the pairs of q connect all
    outcomes, p* and pi_theta are positive and normalised on the same support and f has one sign, of which the paper
    states the last (f > 0) alone.
    """
    return equation_8(
        q,
        lambda A, B: equation_11(p_star, f, g, A, B, arithmetic),
        lambda A, B: equation_11(pi_theta, f, g, A, B, arithmetic),
        arithmetic,
    )


def equation_12(pi_theta, pi_pre, r_phi, beta, arithmetic=math):
    """Expected reward with KL control, maximised over theta."""
    return equation_3(pi_theta, r_phi) - beta * kl(pi_theta, pi_pre, arithmetic)


def equation_13(pi_pre, r_phi, beta, arithmetic=math):
    """The policy that maximises Eq. (12): pi_pre exp(r / beta), normalised."""
    return normalized([pi_pre[x] * arithmetic.exp(r_phi[x] / beta) for x in range(len(pi_pre))])


def equation_14(pi_theta, pi_pre, beta, A, B, arithmetic=math):
    """DPO's preference probability."""
    log = arithmetic.log
    return sigma(beta * log(pi_theta[A] / pi_pre[A]) - beta * log(pi_theta[B] / pi_pre[B]), arithmetic)


def equation_15(pi_theta, pi_pre, beta, x, arithmetic=math):
    """DPO's Omega: f = beta, g = -beta log pi_pre."""
    return beta * arithmetic.log(pi_theta[x]) - beta * arithmetic.log(pi_pre[x])


def equation_16(pi_pre, p_star, beta, arithmetic=math):
    """Where DPO ends if the annotator follows the Luce rule: pi_pre p*^(1/beta), normalised."""
    exp, log = arithmetic.exp, arithmetic.log
    return normalized([pi_pre[x] * exp(log(p_star[x]) / beta) for x in range(len(p_star))])


def equation_17(mlp, arithmetic=math):
    """A policy from the network's energies: exp(-MLP) / Z."""
    return normalized([arithmetic.exp(-energy) for energy in mlp])


def equation_18(pi_pre, p_star, alpha, arithmetic=math):
    """Where f = 1/alpha, g = (1 - 1/alpha) log pi_pre ends: pi_pre^(1 - alpha) p*^alpha, normalised."""
    exp, log = arithmetic.exp, arithmetic.log
    return normalized([exp((1 - alpha) * log(pi_pre[x]) + alpha * log(p_star[x])) for x in range(len(p_star))])


# --- 4.4 Alternatives to the binary cross-entropy loss ---


def equation_19(D, pi_theta, length, arithmetic=math):
    """RRHF's ranking loss; D has ``(ranking, probability)``, a ranking lists outcomes from the best to the worst.

    Read as (p_j - p_i)^+ for i ≻ j, where p = log pi / |x|. The machine-read text has -(p_i - p_j)^+, which rewards
    a margin without bound and does not see a wrong order.
    """
    score = [arithmetic.log(pi_theta[x]) / length[x] for x in range(len(pi_theta))]
    total = 0
    for ranking, weight in D:
        for place, i in enumerate(ranking):
            for j in ranking[place + 1 :]:
                total += weight * positive_part(score[j] - score[i])
    return total


def best_likelihood(D, pi_theta, arithmetic=math):
    """RRHF's additional loss, without a number: negative log-likelihood of the highest-ranked outcome."""
    return sum(weight * -arithmetic.log(pi_theta[ranking[0]]) for ranking, weight in D)


def equation_20(D, D_sft, pi_theta, delta, lambda_, arithmetic=math):
    """SLiC-HF-direct; D_sft is a distribution over outcomes.

    Read as (delta - margin)^+. The machine-read text has delta - (margin)^+, in which delta changes no arg min.
    """
    log, total = arithmetic.log, 0
    for A, B, y, weight in D:
        margin = y * log(pi_theta[A] / pi_theta[B]) + (1 - y) * log(pi_theta[B] / pi_theta[A])
        total += weight * positive_part(delta - margin)
    return total - lambda_ * sum(D_sft[x] * log(pi_theta[x]) for x in range(len(D_sft)) if D_sft[x] > 0)


def equation_21(D, pi_theta, pi_pre, delta, arithmetic=math):
    """RSO: the hinge on margins normalised by the pretrained model."""
    total = 0
    for A, B, y, weight in D:
        ratio = arithmetic.log(pi_theta[A] * pi_pre[B] / (pi_theta[B] * pi_pre[A]))
        total += weight * positive_part(delta - (y * ratio - (1 - y) * ratio))
    return total


def equation_22(pi_theta, mu, p_star, pi_pre, tau, arithmetic=math):
    """What IPO maximises over theta. The print binds neither y nor mu: p*(A ≻ B), with B drawn from mu."""
    preferred = 0
    for A in range(len(pi_theta)):
        for B in range(len(mu)):
            if pi_theta[A] > 0 and mu[B] > 0:
                preferred += pi_theta[A] * mu[B] * p_star(A, B)
    return preferred - tau * kl(pi_theta, pi_pre, arithmetic)


def equation_23(D, pi_theta, pi_pre, tau, arithmetic=math):
    """IPO's loss. It has the optimum of Eq. (22) if D's pairs are drawn from mu and mu, not in general."""
    total = 0
    for A, B, y, weight in D:
        ratio = arithmetic.log(pi_theta[A] * pi_pre[B] / (pi_theta[B] * pi_pre[A]))
        total += weight * (y * ratio - (1 - y) * ratio - 1 / tau / 2) ** 2
    return total


# --- 5 Annotator misspecification ---


def equation_24(w, p_star, A, B):
    """One annotator with a density mixture; ``p_star[i]`` is component i."""
    mixture = [sum(w[i] * p_star[i][x] for i in range(len(w))) for x in (A, B)]
    return mixture[0] / (mixture[0] + mixture[1])


def equation_25(w, p_star, A, B):
    """A mixture of annotators; ``p_star[i]`` is annotator i's distribution."""
    return sum(w[i] * p_star[i][A] / (p_star[i][A] + p_star[i][B]) for i in range(len(w)))


def equation_26(p_star, length, A, B, arithmetic=math):
    """The length-normalised Luce rule. Table 2 and Fig. 6 were computed with 50/|x| for the printed 1/|x|."""
    power = {x: arithmetic.exp(arithmetic.log(p_star[x]) / length[x]) for x in (A, B)}
    return power[A] / (power[A] + power[B])


def equation_27(pi_short, pi_long, length, A, B, arithmetic=math):
    """The "annotator mixture" data. Computed with 50/|x|, as Eq. (26)."""
    log = arithmetic.log
    return sum(sigma(log(pi[A]) / length[A] - log(pi[B]) / length[B], arithmetic) / 2 for pi in (pi_short, pi_long))


def equation_28(pi_short, pi_long, length, A, B, arithmetic=math):
    """The "density mixture" data. Computed with 50/|x|, as Eq. (26)."""
    log = arithmetic.log
    pi_mix = {x: (pi_short[x] + pi_long[x]) / 2 for x in (A, B)}
    return sigma(log(pi_mix[A]) / length[A] - log(pi_mix[B]) / length[B], arithmetic)


# --- Appendix ---


def lemma_1(q, chi, omega, arithmetic=math):
    """The loss of Lemma 1: Eq. (8) with scores chi for the annotator and omega for the model.

    Claim: globally minimised, at 0, when chi = omega + C. It is "if and only if" exactly where the pairs of q connect
    all outcomes; that the scores are injective is not needed, and would exclude ties.
    """
    return equation_8(
        q, lambda A, B: equation_2(chi, A, B, arithmetic), lambda A, B: equation_2(omega, A, B, arithmetic), arithmetic
    )


def equation_29(w, pi_theta, x):
    """Marginal density of a mixture. The print has pi_theta for pi_theta_i, one model for each annotator."""
    return sum(w[i] / sum(w) * pi_theta[i][x] for i in range(len(w)))


def equation_30(w, pi_theta, A, B):
    """Preference of a mixture. The print has pi_theta for pi_theta_i, as in Eq. (29)."""
    return sum(w[i] / sum(w) * (pi_theta[i][A] / (pi_theta[i][A] + pi_theta[i][B])) for i in range(len(w)))
