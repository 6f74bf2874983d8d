"""Losses that trainers have and the paper does not: formula, parameters, where they come from, where they lead.

Definitions are those of the trainers named in `source`, at the versions TRL 1.16, Liger-Kernel 0.8.5, OpenRLHF 0.11.2,
LLaMA-Factory 0.9.5, torchtune 0.6.1 and HALOs; of the paper alone where none of them has the loss.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from pbde_ref import objectives
from pbde_ref.catalogue import optima
from pbde_ref.catalogue.batches import ANSWERS, PAIRS, REWARDS
from pbde_ref.catalogue.ingredients import (
    FOUR,
    LENGTHS,
    POLICIES,
    REFERENCES,
    REWARD_PAIR,
    calls,
    names_of,
    outcome_of,
    reduction_of,
)
from pbde_ref.catalogue.processes import DPO
from pbde_ref.catalogue.records import PER_EXAMPLE, Arrays, Conventions, Input, Loss, Margins, Outcome, Parameter
from pbde_ref.exact.results import Optimum
from pbde_ref.losses import BatchLoss, answer_loss, aot_loss, centred_reward_loss, ld_dpo_loss, log_ratio_loss
from pbde_ref.losses.inputs import lengths_of
from pbde_ref.losses.log_ratios import (
    PairObjective,
    apo_down,
    bco,
    bpo,
    cal_dpo,
    davidson,
    dpop,
    kto,
    link,
    linked,
    nca,
    odds_ratio,
    of_margin,
    rao_kupper,
    sppo,
)
from pbde_ref.objectives import BRADLEY_TERRY, Objective, discopop, exo, with_margin
from pbde_ref.validation import FloatArray

__all__ = ["IN_USE", "davidson_optimum", "rao_kupper_optimum"]

_TRL, _ALL = "TRL", "TRL, Liger-Kernel, LLaMA-Factory"

BETA = DPO.parameters["beta"]
WEIGHT = Parameter("non-negative", 1.0, 0.6, 0.3, ("likelihood_weight", "rpo_alpha", "cpo_alpha", "alpha"))
AVERAGE = Parameter("switch", False)
BASELINE = Parameter("non-negative", 0.0, 0.4, 0.9, ("baseline", "kl", "delta"), "z")
CENTRE = Parameter("positive", None, 0.1, 0.3, ("coefficient", "center_rewards_coefficient"), "c")
# What is no parameter of the pair's own loss.
_AROUND = {"likelihood_weight", "average_likelihood", "desirable_weight", "undesirable_weight"}

Own = Mapping[str, Any]


def _own(conventions: Own) -> dict[str, Any]:
    return {name: value for name, value in conventions.items() if name not in _AROUND}


def _best(
    solve: Callable[..., Optimum], parameters: Mapping[str, Parameter], needed: tuple[str, ...], **fixed: Any
) -> Callable[..., Optimum]:
    """`solve` with keyword arguments that `pb.optimum` can read off."""

    def best(annotator: Any, proposal: Any, **given: Any) -> Optimum:
        known = {name: p.default for name, p in parameters.items()} | given
        checked = {n: parameters[n].checked(n, v) if n in parameters else v for n, v in known.items()}
        return solve(annotator, proposal, **fixed, **checked)

    kind, empty = inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.empty
    taken = {n: p for n, p in parameters.items() if n != "average_likelihood"}
    defaults = {n: empty if p.default is None else p.default for n, p in taken.items()}
    defaults |= {name.removesuffix("?"): None if name.endswith("?") else empty for name in needed}
    positional = [inspect.Parameter(n, inspect.Parameter.POSITIONAL_OR_KEYWORD) for n in ("annotator", "proposal")]
    keywords = [inspect.Parameter(n, kind, default=d) for n, d in defaults.items()]
    best.__signature__ = inspect.Signature([*positional, *keywords])  # type: ignore[attr-defined]
    return best


def _of_pairs(
    name: str, title: str, formula: str, source: str, make: Callable[..., PairObjective],
    parameters: Mapping[str, Parameter], *, reference: bool = True, per_token: bool = False,
    solve: Callable[..., Optimum] = optima.of_scores, constants: tuple[Input, ...] = (), **more: Any,
) -> Loss:  # fmt: skip
    """A loss of the two log-ratios of a pair, or of two log-probabilities."""
    likely = "average_likelihood" in parameters
    given = POLICIES + (REFERENCES if reference else ()) + constants

    def inputs(conventions: Conventions) -> tuple[Input, ...]:
        own = tuple(Input(f"{n}s", "constant") for n in parameters if conventions[n] == PER_EXAMPLE)
        return given + own + (LENGTHS if per_token or (likely and conventions["average_likelihood"]) else ())

    def batch(*arrays: Any, reduction: Any = "mean", **named: Any) -> BatchLoss:
        each = {n: PER_EXAMPLE for n in parameters if f"{n}s" in named}
        values = {n: p.checked(n, (named | each).get(n, p.default)) for n, p in parameters.items()}
        named = {n: x for n, x in named.items() if n not in parameters}
        if "offsets" in named:
            named["offsets"] = np.asarray(named["offsets"], dtype=np.float64) / values["beta"]
        weight = values.get("likelihood_weight", 0.0)
        return log_ratio_loss(
            make(**_own(values)), *arrays, **named, per_token=per_token, likelihood_weight=weight, reduction=reduction
        )

    def evaluate(arrays: Arrays, conventions: Conventions) -> Outcome:
        own = {n: conventions[n] for n in parameters}
        named = {i.name: arrays[i.name] for i in inputs(conventions)}
        return outcome_of(batch(**named, **own, reduction=reduction_of(conventions)), conventions["reduction"])

    batch.__name__ = f"{name}_loss"
    needed = (("reference",) if reference else ()) + (("lengths",) if per_token else ("lengths?",) if likely else ())
    fixed = {"make": make, "per_token": per_token} if solve is optima.of_scores else {}
    return Loss(
        name=name, title=title, equation="", family="pairwise", inputs=inputs, evaluate=evaluate, batches=PAIRS,
        parameters=parameters, batch=batch, optimum=_best(solve, parameters, needed, **fixed), formula=formula,
        source=source, **more,
    )  # fmt: skip


def _dpo_margins(arrays: Arrays, conventions: Conventions) -> Margins:
    assert DPO.margins is not None
    return DPO.margins(arrays, conventions)


def _per_token_margins(arrays: Arrays, conventions: Conventions) -> Margins:
    f_w, f_l = (conventions["beta"] / arrays[i.name] for i in LENGTHS)
    chosen = f_w * (arrays["policy_chosen"] - arrays["reference_chosen"])
    rejected = f_l * (arrays["policy_rejected"] - arrays["reference_rejected"])
    return Margins(chosen - rejected, {"policy_chosen": f_w, "policy_rejected": np.negative(f_l)})


def _of_margin(
    name: str, title: str, formula: str, source: str, make: Callable[..., Objective],
    parameters: Mapping[str, Parameter], **more: Any,
) -> Loss:  # fmt: skip
    r"""A function of DPO's margin."""
    names = [n for n in parameters if n != "beta"]

    def objective(conventions: Conventions) -> Objective:
        return make(**{n: conventions[n] for n in names})

    def margins(arrays: Arrays, conventions: Conventions) -> Margins:
        values, slopes = _dpo_margins(arrays, conventions)
        return Margins(values - (arrays["offsets"] if conventions.get("offset") == PER_EXAMPLE else 0.0), slopes)

    def solve(annotator: Any, proposal: Any, *, beta: float, reference: Any, **own: Any) -> Optimum:
        return optima.of_dpo_margin(annotator, proposal, make(**own), beta, reference)

    return _of_pairs(
        name, title, formula, source, lambda beta, **own: of_margin(make(**own), beta), parameters, solve=solve,
        margins=margins, objective=objective, **more,
    )  # fmt: skip


def _of_link(
    name: str, title: str, formula: str, source: str, kind: str = "", *, around: Mapping[str, Parameter] = {},
    learns: str = "p*", reference: bool = True, **own: Parameter,
) -> Loss:  # fmt: skip
    """DPO with a link; `own` are the link's parameters, `around` those of what is made of it."""
    fixed: dict[str, Any] = {"divergence": kind} if kind else {}

    def parts(given: Own) -> tuple[Any, dict[str, Any]]:
        return link(**fixed, **{n: given[n] for n in own}), {n: given[n] for n in around}

    def make(beta: float, **given: Any) -> PairObjective:
        of, more = parts(given)
        return linked(beta, of, **more)

    def solve(annotator: Any, proposal: Any, *, beta: float, reference: Any = None, lengths: Any = None,
              **given: Any) -> Optimum:  # fmt: skip
        of, more = parts(given)
        return optima.of_link(annotator, proposal, beta, reference, of, lengths=lengths, **more)

    def sizes(arrays: Arrays, conventions: Conventions) -> FloatArray:
        of, beside = parts(conventions)[0], REFERENCES if reference else LENGTHS
        pairs = [(arrays[i.name], arrays[j.name]) for i, j in zip(POLICIES, beside, strict=True)]
        with np.errstate(all="ignore"):
            both = [x - y if reference else x / y for x, y in pairs]
            found = [np.abs(part(x)) for x in both for part in (of.value, of.derivative)]
        return 4.0 * max(1.0, conventions["beta"]) * np.max(found, axis=0)

    return _of_pairs(
        name, title, formula, source, make, {"beta": BETA, **own, **around}, solve=solve, learns=learns,
        reference=reference, per_token=not reference, sizes=sizes,
    )


def _largest_odds(arrays: Arrays) -> FloatArray:
    scores = zip(POLICIES, LENGTHS, strict=True)
    with np.errstate(all="ignore"):
        return np.max([-1.0 / np.expm1(arrays[i.name] / arrays[n.name]) for i, n in scores], axis=0)


def _with_ties(
    name: str, title: str, formula: str, make: Callable[..., tuple[PairObjective, PairObjective]],
    own: Mapping[str, Parameter], solve: Callable[..., Optimum],
) -> Loss:  # fmt: skip
    """DPO of pairs of which some are ties."""
    parameters = {"beta": BETA, **own}

    def batch(*arrays: Any, ties: Any, **named: Any) -> BatchLoss:
        decided, tied = make(**{n: p.checked(n, named.pop(n, p.default)) for n, p in parameters.items()})
        labels = np.where(np.asarray(ties) != 0, 0.0, 1.0)
        return log_ratio_loss(decided, *arrays, labels=labels, otherwise=tied, **named)

    return Loss(
        name=name, title=title, equation="", family="pairwise",
        inputs=lambda c: (*POLICIES, *REFERENCES, Input("ties", "constant", False)),
        evaluate=calls(batch, FOUR, lambda a, c: {"ties": a["ties"], **{n: c[n] for n in parameters}}),
        batches=PAIRS, parameters=parameters, batch=batch, formula=formula,
        optimum=_best(solve, parameters, ("reference", "ties?")), source="Chen et al. 2024, arXiv 2409.17431",
    )  # fmt: skip


def rao_kupper_optimum(
    annotator: Any, proposal: Any, *, beta: float, reference: Any, threshold: float, ties: Any = None
) -> Optimum:
    """The policy of DPO with Rao and Kupper's ties: one counts as a win for each side."""
    # log (exp 2α - 1), where exp 2α may be no number.
    constant = 2.0 * threshold + math.log(-math.expm1(-2.0 * threshold))
    objective = with_margin(BRADLEY_TERRY, threshold)
    return optima.of_ties(annotator, proposal, objective, beta, reference, won=1.0, constant=constant, ties=ties)


def davidson_optimum(
    annotator: Any, proposal: Any, *, beta: float, reference: Any, tendency: float, ties: Any = None
) -> Optimum:
    """The policy of DPO with Davidson's ties: one counts as half a win for each side."""
    objective, constant = objectives.davidson(tendency), math.log(2.0) + math.log(tendency)
    return optima.of_ties(annotator, proposal, objective, beta, reference, won=0.5, constant=constant, ties=ties)


EXCESS = tuple(Input(f"{i.name}_excess", i.role) for i in POLICIES + REFERENCES)
_PARTS = (*POLICIES, *EXCESS[:2], *REFERENCES, *EXCESS[2:])


_LD_DPO = {"beta": BETA, "share": Parameter("probability", None, 0.4, 0.7, ("share", "ld_alpha", "alpha"), "α")}


def _ld_dpo_margins(arrays: Arrays, conventions: Conventions) -> Margins:
    (values, slopes), share = _dpo_margins(arrays, conventions), conventions["share"]
    beyond, _ = _dpo_margins({n: arrays[f"{n}_excess"] for n in FOUR}, conventions)
    return Margins(values + share * beyond, {**slopes, **{f"{n}_excess": share * s for n, s in slopes.items()}})


def _of_answers(
    name: str, title: str, formula: str, source: str, make: Callable[..., PairObjective],
    parameters: Mapping[str, Parameter], **more: Any,
) -> Loss:  # fmt: skip
    """A loss of single answers, desirable ones and others."""
    weights = {n: Parameter("positive", 1.0, 1.3, 0.7, (n,)) for n in ("desirable_weight", "undesirable_weight")}
    parameters = {**parameters, **weights}

    def batch(policy: Any, reference: Any, desirable: Any, *, reduction: Any = "mean", **named: Any) -> BatchLoss:
        values = {n: p.checked(n, named.get(n, p.default)) for n, p in parameters.items()}
        around = {n: values[n] for n in weights}
        return answer_loss(make(**_own(values)), policy, reference, desirable, **around, reduction=reduction)

    def evaluate(arrays: Arrays, conventions: Conventions) -> Outcome:
        named = {n: arrays[n] for n in names_of(answers)} | {n: conventions[n] for n in parameters}
        return outcome_of(batch(**named, reduction=reduction_of(conventions)), conventions["reduction"])

    answers = (Input("policy", "policy"), Input("reference", "reference"), Input("desirable", "constant", False))
    return Loss(
        name=name, title=title, equation="", family="answers", inputs=lambda c: answers, evaluate=evaluate,
        batches=ANSWERS, parameters=parameters, batch=batch, formula=formula, source=source,
        optimum=_best(optima.of_answers, parameters, ("reference",), make=make), **more,
    )  # fmt: skip


def _wpo_loss(
    policy_chosen: Any, policy_rejected: Any, reference_chosen: Any, reference_rejected: Any, *,
    chosen_lengths: Any, rejected_lengths: Any, beta: float, **named: Any,
) -> BatchLoss:  # fmt: skip
    """DPO, each pair weighted by the mean probabilities of its tokens."""
    shape = np.shape(policy_chosen)
    chosen = np.asarray(policy_chosen) / lengths_of("chosen_lengths", chosen_lengths, shape=shape)
    rejected = np.asarray(policy_rejected) / lengths_of("rejected_lengths", rejected_lengths, shape=shape)
    four = policy_chosen, policy_rejected, reference_chosen, reference_rejected
    return log_ratio_loss(of_margin(BRADLEY_TERRY, beta), *four, weights=np.exp(chosen + rejected), **named)


def _aot(name: str, title: str, formula: str, paired: bool) -> Loss:
    parameters = {n: DPO.parameters[n] for n in ("beta", "label_smoothing")}
    return Loss(
        name=name, title=title, equation="", family="batch", inputs=lambda c: POLICIES + REFERENCES,
        evaluate=calls(aot_loss, FOUR, lambda a, c: {"paired": paired, **{n: c[n] for n in parameters}}),
        batches=PAIRS, parameters=parameters, batch=partial(aot_loss, paired=paired), formula=formula,
        optimum=_best(optima.of_transport, parameters, ("reference",), paired=paired),
        source=f"Melnyk et al. 2024, arXiv 2406.05882; {_TRL} {name}",
    )  # fmt: skip


# a = log π(chosen)/ref(chosen) and b the same of the rejected answer, m = β (a − b), s = log-probabilities per token.
IN_USE = (
    _of_margin(
        "exo", "EXO, the reverse divergence of a pair", "KL( (σ(m), σ(-m)) ‖ (1-ε, ε) ), m = β (a - b)",
        f"Ji et al. 2024, arXiv 2402.00856, Eq. (16); {_TRL} exo_pair",
        lambda epsilon: exo(epsilon), {"beta": BETA, "epsilon": Parameter("share", None, 0.1, 0.2, ("epsilon",
        "label_smoothing"), "ε")}, aliases=("exo_pair",),
    ),
    _of_margin(
        "discopop", "DiscoPOP, log-ratio modulated", "-(1-s) log σ(m) + s exp(-m), s = σ(m/τ), m = β (a - b)",
        f"Lu et al. 2024, arXiv 2406.08414, Eq. (5); {_TRL} discopop", lambda discopop_tau: discopop(discopop_tau),
        {"beta": BETA, "discopop_tau": Parameter("positive", 0.05, 0.3, 0.6, ("discopop_tau", "tau"), "τ")},
    ),
    _of_margin(
        "odpo", "DPO with an offset", "-log σ(m - γ), m = β (a - b)",
        "Amini et al. 2024, arXiv 2402.10571, where each pair has its own; a constant one is LLaMA-Factory's and TRL's "
        "reward margin",
        lambda offset: with_margin(BRADLEY_TERRY, 0.0 if offset == PER_EXAMPLE else offset),
        {"beta": BETA, "offset": Parameter("margin", None, 0.4, 0.9, ("offset", "margin"), "γ")},
    ),
    _of_pairs(
        "ln_dpo", "DPO of log-ratios per token", "-log σ(β (a/|chosen| - b/|rejected|))",
        f"Meng et al. 2024, arXiv 2405.14734, Sec. 4; {_TRL} sigmoid_norm", lambda beta: of_margin(BRADLEY_TERRY, beta),
        {"beta": BETA}, per_token=True, solve=optima.of_ratios_per_token, learns="p*", margins=_per_token_margins,
        objective=lambda c: BRADLEY_TERRY, aliases=("sigmoid_norm",),
    ),
    _of_pairs(
        "soft_dpo", "DPO with soft labels", "-p log σ(m) - (1 - p) log σ(-m), m = β (a - b)",
        "Mitchell 2023 (cDPO, one p for all); p of an annotator or a reward model for each pair",
        lambda beta: of_margin(BRADLEY_TERRY, beta), {"beta": BETA}, constants=(Input("labels", "constant"),),
        solve=optima.best_dpo, learns="p*",
    ),
    Loss(
        name="centred_reward", title="Bradley–Terry reward loss, rewards held near zero", equation="",
        family="pairwise", inputs=lambda c: REWARD_PAIR, batches=REWARDS,
        evaluate=calls(centred_reward_loss, names_of(REWARD_PAIR), lambda a, c: {"coefficient": c["coefficient"]}),
        parameters={"coefficient": CENTRE}, batch=centred_reward_loss,
        optimum=_best(optima.of_centred, {"coefficient": CENTRE}, ()),
        formula="-log σ(r_w - r_l) + c (r_w + r_l)²",
        source=f"Eisenstein et al. 2023, arXiv 2312.09244; {_TRL} center_rewards_coefficient",
    ),
    Loss(
        name="wpo", title="DPO weighted by the policy", equation="", family="pairwise",
        inputs=lambda c: POLICIES + REFERENCES + LENGTHS,
        evaluate=calls(_wpo_loss, FOUR, lambda a, c: {"beta": c["beta"], **{i.name: a[i.name] for i in LENGTHS}}),
        batches=PAIRS, parameters={"beta": BETA}, batch=_wpo_loss, learns="p*",
        optimum=_best(optima.of_policy_weights, {"beta": BETA}, ("reference", "lengths")),
        formula="-w log σ(β (a - b)), w = exp(s_w + s_l) without gradient, s = log π/length",
        source=f"Zhou et al. 2024, arXiv 2406.11827, Eq. (2); {_TRL} use_weighting divides by Σ p² as well",
    ),
    _aot("aot", "alignment by optimal transport, paired",
         "-log σ(β (u - v)), both sorted, u = log π(w)/π(l), v = log ref(w)/ref(l)", True),
    _aot("aot_unpaired", "alignment by optimal transport, unpaired", "-log σ(β (a - b)), a and b sorted", False),
    _of_link(
        "f_dpo", "f-DPO", "-log σ(β (h(a) - h(b))), h: a | 1 - exp(-a) | log 2 + log σ(a) | (exp((α-1) a) - 1)/(α-1)",
        f"Wang et al. 2024, arXiv 2309.16240; {_TRL} f_divergence_type",
        divergence=Parameter(("forward_kl", "js_divergence", "alpha_divergence", "reverse_kl"), "forward_kl"),
        alpha=Parameter("positive", 0.5, 0.7, 1.6, ("alpha", "f_alpha_divergence_coef"), "α"),
    ),
    _of_link(
        "chi_po", "χPO, not clipped", "-log σ(β (exp(a) + a - exp(b) - b))", "Huang et al. 2025, arXiv 2407.13399",
        "chi_po",
    ),
    _of_link(
        "clipped_chi_po", "χPO, clipped", "-log σ(clip(β (exp(a) + a - exp(b) - b), -R, R))",
        "Huang et al. 2025, arXiv 2407.13399, Algorithm 1, where R = 2 R_max", "chi_po", learns="",
        around={"bound": Parameter("positive", None, 1.6, 4.1, ("bound", "clip"), "R")},
    ),
    _of_link(
        "squared_po", "SquaredPO", "-log σ(β (a exp(-a) - b exp(-b)))", "Pipano et al. 2026, arXiv 2602.06788",
        "squared", learns="",
    ),
    _of_link(
        "alphapo", "AlphaPO", "-log σ(β (h(s_w) - h(s_l)) - γ), h(s) = (1 - exp(-α s))/α, s = log π/length",
        f"Gupta et al. 2025, arXiv 2501.03884; {_TRL} alphapo, which has SimPO's γ", "alphapo", reference=False,
        learns="", alpha=Parameter("real", None, 0.3, 0.7, ("alpha",), "α"),
        around={"margin": Parameter("non-negative", 0.0, 0.4, 0.9, ("margin", "gamma", "simpo_gamma"), "γ")},
    ),
    Loss(
        name="ld_dpo", title="length-desensitised DPO", equation="", family="pairwise", inputs=lambda c: _PARTS,
        evaluate=calls(ld_dpo_loss, names_of(_PARTS), lambda a, c: {n: c[n] for n in ("beta", "share")}),
        batches=PAIRS, batch=ld_dpo_loss, margins=_ld_dpo_margins, objective=lambda c: BRADLEY_TERRY,
        parameters=_LD_DPO, optimum=_best(optima.of_prefixes, _LD_DPO, ("reference", "tokens?")),
        formula="-log σ(β (a - b)), a = that of the first min(|chosen|, |rejected|) tokens + α that of the others",
        source=f"Liu et al. 2024, arXiv 2409.06411; {_TRL} ld_alpha",
    ),
    _with_ties(
        "rao_kupper", "DPO with ties, Rao and Kupper's", "-log σ(m - α), of a tie -log σ(m - α) - log σ(-m - α) - "
        "log(exp(2α) - 1), m = β (a - b)", rao_kupper,
        {"threshold": Parameter("positive", None, 0.4, 0.9, ("threshold",), "α")}, rao_kupper_optimum,
    ),
    _with_ties(
        "davidson", "DPO with ties, Davidson's", "log(1 + exp(-m) + 2ν exp(-m/2)), of a tie + m/2 - log 2ν, "
        "m = β (a - b)", davidson, {"tendency": Parameter("positive", None, 0.4, 0.9, ("tendency", "nu"), "ν")},
        davidson_optimum,
    ),
    _of_pairs(
        "nca", "noise contrastive alignment of a pair", "-log σ(βa) - ½ log σ(-βa) - ½ log σ(-βb)",
        f"Chen et al. 2024, arXiv 2402.05369; {_TRL} nca_pair", nca, {"beta": BETA}, aliases=("nca_pair",),
        learns="rates",
    ),
    _of_pairs(
        "bco", "binary classifier optimisation of a pair", "-log σ(β (a - z)) - log σ(β (z - b))",
        f"Jung et al. 2024, arXiv 2404.04656; {_TRL} bco_pair (z = 0), LLaMA-Factory (running mean)", bco,
        {"beta": BETA, "baseline": BASELINE}, aliases=("bco_pair",), learns="rates",
    ),
    _of_pairs(
        "sppo", "self-play preference optimisation, sure answers", "(a - 1/2β)² + (b + 1/2β)²",
        f"Wu et al. 2024, arXiv 2405.00675, Eq. (4.7); {_TRL} sppo_hard", sppo, {"beta": BETA}, aliases=("sppo_hard",),
        learns="rates",
    ),
    _of_pairs(
        "apo_zero", "anchored preference optimisation, zero", "1 - σ(βa) + σ(βb)",
        f"D'Oosterlinck et al. 2024, arXiv 2408.06266, Eq. (7); {_TRL} apo_zero", kto, {"beta": BETA},
        solve=optima.of_sigmoids, learns="winners",
    ),
    _of_pairs(
        "apo_down", "anchored preference optimisation, down", "σ(βa) + 1 - σ(β (a - b))",
        f"D'Oosterlinck et al. 2024, arXiv 2408.06266, Eq. (8); {_TRL} apo_down", apo_down, {"beta": BETA},
    ),
    _of_pairs(
        "cal_dpo", "calibrated DPO", "-log σ(a - b) + (a - 1/2β)² + (b + 1/2β)²", "Xiao et al. 2024, arXiv 2412.14516",
        cal_dpo, {"beta": BETA},
    ),
    _of_pairs(
        "dpop", "DPO-positive", "-log σ(β (a - b - ρ max(-a, 0)))", "Pal et al. 2024, arXiv 2402.13228, Eq. (3)", dpop,
        {"beta": BETA, "penalty": Parameter("non-negative", None, 2.0, 5.0, ("penalty", "dpop_lambda"), "ρ")},
    ),
    _of_pairs(
        "bpo", "balanced preference optimisation", "-log σ(min(βa, -αβb))", "Sun et al. 2025, arXiv 2506.03557", bpo,
        {"beta": BETA, "balance": Parameter("positive", 0.5, 0.5, 0.9, ("balance", "alpha"), "α")},
    ),
    _of_pairs(
        "rpo", "DPO with the likelihood of the chosen answer", "-log σ(m) - w log π(chosen), perhaps per token",
        "Pang et al. 2024, arXiv 2404.19733; MPO, arXiv 2411.10442; TRL sigmoid + sft, LLaMA-Factory pref_ftx",
        lambda beta: of_margin(BRADLEY_TERRY, beta),
        {"beta": BETA, "likelihood_weight": WEIGHT, "average_likelihood": AVERAGE}, aliases=("mpo",),
    ),
    _of_pairs(
        "cpo", "contrastive preference optimisation", "-log σ(β log π(chosen)/π(rejected)) - w log π(chosen)",
        f"Xu et al. 2024, arXiv 2401.08417; {_ALL}", lambda beta: of_margin(BRADLEY_TERRY, beta),
        {"beta": BETA, "likelihood_weight": WEIGHT, "average_likelihood": AVERAGE}, reference=False,
    ),
    _of_pairs(
        "orpo", "odds ratio preference optimisation",
        "-β log σ(log odds(s_w) - log odds(s_l)) - w s_w, odds(s) = exp(s)/(1 - exp(s)), s = log π/length",
        f"Hong et al. 2024, arXiv 2403.07691, Eq. (6); {_ALL}", odds_ratio,
        {"beta": BETA, "likelihood_weight": WEIGHT}, reference=False, per_token=True,
        sizes=lambda arrays, conventions: _largest_odds(arrays),
    ),
    _of_answers(
        "kto", "Kahneman–Tversky optimisation of single answers",
        "w_D (1 - σ(β (t - z))) if desirable, else w_U (1 - σ(β (z - t))), t = log π/ref; z no gradient",
        "Ethayarajh et al. 2024, arXiv 2402.01306, Eq. (7); TRL kto, apo_zero_unpaired (z = 0), Liger-Kernel, "
        "LLaMA-Factory, HALOs", kto, {"beta": BETA, "baseline": BASELINE}, aliases=("apo_zero_unpaired",),
        learns="winners",
    ),
    _of_answers(
        "bco_single", "binary classifier optimisation of single answers",
        "-w_D log σ(β (t - z)) if desirable, else -w_U log σ(β (z - t)), t = log π/ref; z no gradient",
        "Jung et al. 2024, arXiv 2404.04656", bco, {"beta": BETA, "baseline": BASELINE}, learns="rates",
    ),
)  # fmt: skip
