"""Every public function, called rightly but for one argument.

``python -m tests.fuzz.api --calls 100000 --seed 1`` prints each kind of fault once, and the call that makes it.

A call must return, without NaN, a warning or a changed input; or raise ``TypeError`` or ``ValueError`` with a message
of at most 300 characters that names an argument. ``MemoryError`` is right for what fits into no memory.
"""

import atexit
import enum
import inspect
import re
import shutil
import sys
import tempfile
import warnings
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np

import pbde_ref as pb
from pbde_ref.exact.linear_time.kernel_sums import kernel_kl
from pbde_ref.experiments.process_simulation import simulated_pairs
from pbde_ref.experiments.sweep import sweep
from pbde_ref.games import intransitivity, nearest_annotator, self_play
from pbde_ref.language.training import held_out_loss, loss_and_error
from pbde_ref.language.training_data import batch_order
from pbde_ref.models.adam import adam_step, initial_adam_state
from pbde_ref.models.transformer import TransformerConfig, token_log_probs, weighted_loss_and_gradient
from pbde_ref.models.transformer_parameters import parameter_count
from pbde_ref.oracle import check_fitter, check_reduction
from tests.fuzz import harness
from tests.fuzz.harness import MOST_CHARACTERS, Faults, Hung, has_nan, limited

N = 5

# Results, which users read and do not make, and a function that reads files, which has a fuzzer of its own.
NOT_CALLED = {
    "BRADLEY_TERRY", "BatchLoss", "Certificate", "ClosedLoop", "ComparisonFit", "Comparisons", "ExpectedLoss",
    "Design", "Identifiability", "NextComparison",
    "IpoSolution", "LimitFit", "LogLinearOptimum", "MixtureLoss", "MixtureSolution", "NoFiniteEstimateError",
    "NormalizingConstant", "Objective", "Optimum", "PaperProblem", "PolicyError", "PolicySolution",
    "ProcessIdentification", "RRHFSolution", "RejectionSample", "SlicSolution", "Solution",
    "compare_annotator_models", "read_comparisons", "stigler_citations",
}  # fmt: skip


# What an argument is made of: a proposal's pairs, a process's f and g, and the quantities of the paper.
PARTS = ("`proposal`", "`x_a`", "`x_b`", "`f`", "`g`", "`f·log p`", "χ − g", "`mask`")


def good(rng):
    """A right value for each name of a parameter."""
    p, r, q = (pb.FiniteDistribution(rng.normal(size=N)) for _ in range(3))
    annotator = pb.Annotator(p, pb.luce())
    annotators = [
        annotator,
        pb.Annotator(r, pb.dpo(0.5, q)),
        pb.AnnotatorMixture([0.3, 0.7], [annotator, pb.Annotator(r, pb.luce())]),
        pb.PreferenceMatrix(pb.Annotator(q, pb.luce()).preference_probabilities()),
    ]
    proposals = [
        pb.ProductProposal(q),
        pb.ProductProposal(q, r),
        pb.JointProposal(rng.random((N, N)) + 0.1),
        pb.PairListProposal([0, 1, 2, 3, 4], [1, 2, 3, 4, 0], [1.0, 2.0, 3.0, 1.0, 1.0]),
    ]
    batch = {name: -rng.gamma(1.0, size=4) for name in (
        "policy_chosen", "policy_rejected", "reference_chosen", "reference_rejected", "chosen_rewards",
        "rejected_rewards", "chosen_utilities", "rejected_utilities", "f_chosen", "f_rejected", "g_chosen",
        "g_rejected", "regularization",
    )}  # fmt: skip
    vectors = {name: rng.normal(size=N) for name in ("utilities", "logits", "rewards", "log_policy", "direction",
                                                     "log_weights")}  # fmt: skip
    kernel = rng.random((N, N)) + 0.1
    kernel = (kernel + kernel.T) / (kernel + kernel.T).sum()
    kernel[np.diag_indices(N)] += 1 - kernel.sum(1)
    return batch | vectors | {
        "distribution": p, "policy": p, "p": p, "r": r, "reference": q, "preference": r, "mu": r, "opponents": q,
        "distributions": [p, r], "annotators": annotators[:2], "weights": [0.4, 0.6], "a": q, "b": r,
        "annotator": annotators[rng.integers(len(annotators))], "proposal": proposals[rng.integers(len(proposals))],
        "pbde": pb.dpo(0.7, q), "f": 1.5, "g": rng.normal(size=N), "scale": 1.5, "count": 0.5, "delta": 1.0, "tau": 0.3,
        "beta": 0.4, "alpha": 0.3, "lambda_": 0.5, "loc": 0.2, "grid": np.linspace(-1.0, 1.0, N), "margin": 0.1,
        "lengths": np.arange(1.0, N + 1), "chosen_lengths": np.arange(1.0, 5), "rejected_lengths": np.arange(2.0, 6),
        "kernel": kernel, "transition": np.full((N, N), 1 / N),
        "probabilities": annotators[3].preference_probabilities(),
        "support": list("abcde"), "size": 8, "steps": 7, "support_size": N, "n_comparisons": 100, "n_candidates": 2,
        "pairs": np.array([[0, 1], [2, 4]]),
        "n_annotators": 2, "x_a": np.array([0, 1, 2]), "x_b": np.array([1, 2, 0]), "winner": np.array([0, 1, 2, 0]),
        "loser": np.array([1, 2, 0, 2]), "objective": "bradley_terry", "rng": 3, "max_steps": 30, "n_starts": 1,
        "noise": 1e-4, "learning_rate": 0.5, "tolerance": 1e-8, "weight_logits": np.zeros(2), "start": None,
        "label_smoothing": 0.1, "variant": "cdpo", "reduction": "mean", "method": "auto", "likelihood_weight": 1.0,
        "tokens": np.array([[3, 4, 1, 0], [5, 1, 0, 0]]), "prompt_lengths": np.array([1, 0]), "end_of_sequence": 1,
        "padding": 0, "shift": True, "average": False, "average_likelihood": False, "labels": np.array([[1, 2, 0, 3]]),
        "token_log_probs": -rng.random((2, 3)), "mask": np.array([[1, 1, 0], [1, 1, 1]]), "incomparable": "error",
        "prior": pb.GaussianPrior(2.0), "counts": None, "callback": None, "parameters": None,
        "old": r, "target": q, "advantages": rng.normal(size=N), "epsilon": 0.2, "candidates": 6,
        "psi": lambda won, lost: won**2,
        "preferences": annotators[3], "n": 3, "of": "margins", "eta": 0.5, "process": pb.luce(),
        "values": rng.normal(size=N), "items": [0, 2], "relative_to": 1, "level": 0.9,
    }  # fmt: skip


SIZES = TransformerConfig(vocabulary_size=6, embedding_dim=4, layers=1, heads=2, mlp_dim=4)
MODEL = {
    "config": SIZES, "parameters": np.linspace(-1.0, 1.0, parameter_count(SIZES)),
    "tokens": np.array([[3, 4, 1], [5, 1, 0]]), "sequences": [[3, 4, 1], [5, 1]], "weights": np.ones(2),
}  # fmt: skip
PROMPTS = pb.Prompts("aabbb")
CONDITIONAL = pb.ConditionalDistribution(np.arange(N) / 3.0, PROMPTS)
ON_PROMPTS = {"annotator": pb.Annotator(CONDITIONAL, pb.luce()), "proposal": pb.prompt_pairs(PROMPTS)}

DESIGNED = {
    "annotator": pb.Annotator(pb.FiniteDistribution(np.arange(N)), pb.luce()), "criterion": "policy",
    "process": pb.PBDE(f=0.5, g=np.arange(N) / 3.0),
}  # fmt: skip
ASKED = {"seed": 0, "on_failure": "report", "expected_failed_checks": None, "expect_checks": None}
SWEPT = Path(tempfile.mkdtemp())
atexit.register(shutil.rmtree, SWEPT)


def swept(x, y):
    """What is swept."""
    return {"sum": x + y}


# Where one name means different things.
OWN = {
    "adam_step": {"parameters": np.ones(3), "gradient": np.ones(3), "state": initial_adam_state(np.ones(3)),
                  "beta_1": 0.9, "beta_2": 0.99, "epsilon": 1e-8, "weight_decay": 0.1},
    "batch_order": {"lengths": [2, 9, 2], "tokens_per_batch": 4},
    "kernel_kl": {"proposal": pb.ProductProposal([1, 2, 3, 4, 5]),
                  "annotator": pb.Annotator(pb.FiniteDistribution(np.arange(N)), pb.luce())},
    **dict.fromkeys(("held_out_loss", "loss_and_error", "token_log_probs", "weighted_loss_and_gradient"), MODEL),
    "PairListProposal": {"weights": [1.0, 2.0, 3.0]},
    "JointProposal": {"weights": np.ones((N, N))},
    "sample_outcomes": {"weights": np.ones(N)},
    "fit_comparisons": {"weights": [1.0, 2.0, 3.0, 1.0], "support": list("abc"), "pbde": pb.luce()},
    "fit_annotator_mixture": {"weights": None, "pbde": None, "reference": None},
    "comparisons_needed": {"nats": 0.01},
    "ConditionalDistribution": {"support": PROMPTS},
    "Prompts": {"prompts": list("aabbb")},
    "LogLinearPolicies": {"features": np.arange(10.0).reshape(N, 2) % 3, "prompts": PROMPTS},
    "minimize_log_linear": ON_PROMPTS | {
        "policies": pb.LogLinearPolicies(np.arange(10.0).reshape(N, 2) % 3, PROMPTS),
        "pbde": pb.dpo(0.5, CONDITIONAL),
    },
    "minimize_at_prompts": ON_PROMPTS,
    "prompt_pairs": {"a": CONDITIONAL, "b": None, "prompts": [1.0, 3.0]},
    "identify_process": {
        **simulated_pairs("DPO", 40, rng=1), "covariates": None, "weights": np.ones(40), "clusters": np.arange(40),
    },
    "expected_mixture_hessian": {"utilities": np.arange(10.0).reshape(2, N) / 10},
    "expected_mixture_loss": {"utilities": np.arange(10.0).reshape(2, N) / 10},
    "annotator_mixture_loss": {"policy_chosen": -np.ones((3, 2)), "policy_rejected": np.zeros((3, 2))},
    "sample_barker_chain": {"start": 0},
    "geometric_average": {"alpha": 0.3},
    "rrhf_loss": {"policy": -np.ones((2, 3)), "lengths": np.ones((2, 3)), "scores": np.arange(6.0).reshape(2, 3),
                  "ranks": None},
    "token_log_probs_from_logits": {"logits": np.arange(20.0).reshape(1, 4, N)},
    "token_log_probs_vjp": {"logits": np.arange(20.0).reshape(1, 4, N), "upstream": np.ones((1, 3))},
    "sequence_log_probs_vjp": {"upstream": np.ones(2)},
    "kl_controlled_policy_gradient_loss": {"policy": -np.ones(4), "reference": -np.ones(4), "rewards": np.ones(4)},
    "slic_loss": {"lambda_": 0.5},
    "ipo_loss": {"chosen_lengths": None, "rejected_lengths": None},
    "paper_problem": {"size": 16},
    "comparison_components": {"size": N},
    "PBDE": {"g": 0.5},
    "pbde_loss": {"f_chosen": 1.0, "f_rejected": np.full(4, 0.5)},
    "length_normalized": {"scale": 1.5},
    "expected_rrhf": {"lengths": None},
    "minimize_rrhf": {"lengths": None},
    "uniform": {"support": list("abcde")},
    "optimum": {"loss": "bradley_terry"},
    "closed_loop": {
        "loss": "bradley_terry", "rounds": 2, "reference": "last", "start": pb.FiniteDistribution(np.arange(N)),
    },
    "self_play": {"method": "mirror_prox"},
    "next_comparison": {"comparisons": 100},
    "design_value": DESIGNED,
    "optimal_design": DESIGNED | {"tolerance": 1e-8, "max_steps": 50},
    "check_fitter": ASKED | {"function": lambda left, right, outcome: {}, "ties": None, "scale": 1.0, "ridge": 0.0,
                             "anchor": None, "tolerance": 1e-5, "repetitions": 1},
    "check_reduction": ASKED | {"function": lambda part, counts: (part.losses * part.mask).sum(), "over": "tokens",
                                "across": "mean", "framework": "numpy", "gradients": False},
    "sweep": {"subject": swept, "over": {"x": [1.0, 2.0]}, "folder": SWEPT, "settings": {"y": 3.0}, "executor": 1,
              "reporter": None},
    "PBDE.utility": {"log_p": np.log(np.arange(1.0, N + 1))},
    "FiniteDistribution.from_weights": {"weights": np.arange(1.0, N + 1)},
    **{f"{kind}Proposal.matrix": {"size": N} for kind in ("Joint", "Product", "PairList")},
    **{f"DecisionProcess.{name}": {"logits": np.arange(6.0).reshape(2, 3), "start": [0.5, 0.5]}
       for name in ("values", "action_values", "visits", "stationary", "gradient")},
    "DecisionProcess": {"transition": np.full((2, 3, 2), 0.5), "rewards": np.arange(6.0).reshape(2, 3), "gamma": 0.5},
}  # fmt: skip


class Hostile:
    """Whatever is asked of it, it raises."""

    def __getattr__(self, name):
        raise ZeroDivisionError(name)

    def __array__(self, *arguments, **keywords):
        raise ZeroDivisionError


class Kind(enum.Enum):
    """A value of another kind."""

    ONE = 1


def hostile_values(rng):
    """What may come instead; made anew each time, so that a changed one is no trap for the next call."""
    nested = 0.5
    for _ in range(100):
        nested = [nested]
    itself = []
    itself.append(itself)
    v = rng.normal(size=N)
    scalars = [
        None, "text", "", b"bytes", True, -1, 0, 1, 2, 3, 3.5, -0.5, 0.5, float("nan"), float("inf"), -float("inf"),
        1e308,
        -1e308, 1e-308, 5e-324, 10**400, -(10**400), 2**63, 2**64, -(2**63), 10**18, 1j, Fraction(1, 3), Decimal("NaN"),
        Decimal("1e400"), np.float32(0.5), np.longdouble("1e4000"), np.int8(3), np.datetime64("2020-01-01"), Kind.ONE,
        object(), Hostile(), int, print, pb, np, lambda *a: 0, "x" * 100_000, "α\0β", "\ud800",
    ]  # fmt: skip
    containers = [
        [], (), {}, set(), {"a": 1}, {1, 2}, range(N), iter([1.0] * N), (x for x in [1.0]), nested, itself, [[1.0],
        [1.0, 2.0]],
        ["a"] * 50_000, [None] * N, ["0.5"] * N, [1, 2, "3", 4, 5], [10**400] * N, [True] * N, [Fraction(1, 5)] * N,
        [float("nan")] * N, [float("inf")] * N, [-float("inf")] * N, [1e308] * N, [-1e308] * N, [1e-308] * N,
        [5e-324] * N,
        [1e308, -1e308, 1e308, -1e308, 0.0], [float("inf"), -float("inf"), 0.0, 1.0, 2.0], [0.0] * N, [-1.0] * N,
        [2**63] * N,
        ["a", "a\0", "b", "b\0", "c"], ["a"] * N, [float("nan"), 1, 2, 3, 4], [[], [], [], [], []], [{}] * N,
    ]  # fmt: skip
    arrays = [
        np.array([]), np.zeros((0, N)), np.zeros(N), np.ones(N), v, v[::-1], v.astype(np.float32), v.astype(np.float16),
        v.astype(np.longdouble), np.full(N, np.longdouble("1e4000")), np.arange(N), np.arange(N, dtype=np.uint8),
        np.ones(N, dtype=bool), np.ones(N) * 1j, np.array(list("abcde")), np.array(["2020-01-01"] * N,
        dtype="datetime64[D]"),
        np.array([object()] * N), np.array([None] * N), np.ma.masked_array(v, [0, 1, 0, 0, 1]),
        np.ma.masked_array(np.ones((N, N)), np.eye(N)), np.ones((N, N)), np.eye(N), np.full((N, N), np.nan),
        np.eye(N).view(np.matrix),
        np.asfortranarray(rng.random((N, N))), np.ones((2, 3, 4)), np.ones(N + 1), np.ones((N, N + 1)), np.ones(1),
        np.array(0.5),
        np.broadcast_to(1.0, (10**6, 10**7)), np.zeros(N, dtype=[("a", float)]), np.ones((1,) * 32), np.full((N, N),
        0.5),
        np.arange(4), np.arange(4.0), np.full(4, 1e308), np.full(4, np.inf), np.full(4, np.nan), np.ones((2, 3)),
        np.ones((2, 2)),
        np.full((2, 3), -1e308), np.full((2, N), 1e300), np.array([0, 1, 9]), np.array([-1, 0, 1]), np.array([0.0,
        1.0, 2.0]),
    ]  # fmt: skip
    smaller = pb.FiniteDistribution([1.0, 2.0])
    things = [
        smaller, pb.FiniteDistribution([0.0, 1.0, 2.0, 3.0, -np.inf]), pb.FiniteDistribution(np.zeros(N),
        list("vwxyz")),
        pb.FiniteDistribution([-1e308, 0, 0, 0, 1e308]), pb.Annotator(smaller, pb.luce()), pb.ProductProposal(smaller),
        pb.PreferenceMatrix([[0.5, 1.0], [0.0, 0.5]]), pb.luce(), pb.PBDE(1e308), pb.PBDE(1e-300), pb.PBDE([1.0, 2.0]),
        pb.JointProposal(np.eye(N) + 1e-300), pb.PairListProposal([0], [1]), pb.PairListProposal([0], [99]),
        pb.hinge(1.0),
        pb.ipo(1e-100), pb.GaussianPrior(1e-150), pb.GaussianPrior(1e150), pb.PseudoCounts(1e200), [smaller, smaller],
        [pb.Annotator(smaller, pb.luce())] * 2, pb.FiniteDistribution, pb.Annotator, [smaller, None],
        np.random.default_rng(0),
        pb.Annotator(pb.FiniteDistribution([0.0, 1.0, 2.0, 3.0, -np.inf]), pb.luce()),
        pb.Annotator(pb.FiniteDistribution(np.arange(N) * 1e300), pb.luce()),
    ]  # fmt: skip
    return scalars + containers + arrays + things


P = pb.FiniteDistribution(np.arange(N))
INSTANCES = [
    P, pb.PBDE(0.5, np.arange(N)), pb.GaussianPrior(2.0), pb.PseudoCounts(1.0), pb.JointProposal(np.ones((N, N))),
    pb.ProductProposal(P), pb.PairListProposal([0, 1], [1, 4]), pb.DecisionProcess(**OWN["DecisionProcess"]),
    pb.fit_comparisons(np.array([0, 1, 2, 0]), np.array([1, 2, 0, 2]), support=list("abc"), pbde=pb.luce()),
]  # fmt: skip
METHODS = (
    "utility", "from_weights", "expectation", "sample", "log_density", "slope", "curvature", "matrix", "values",
    "action_values", "visits", "stationary", "gradient", "standard_errors", "confidence_intervals",
    "relative_utilities",
)  # fmt: skip


def functions():
    """What is called, by name: the functions, types and methods of `pbde_ref` itself, and functions of models."""
    return {name: getattr(pb, name) for name in pb.__all__ if name not in NOT_CALLED} | {
        f"{type(instance).__name__}.{name}": getattr(instance, name)
        for instance in INSTANCES for name in METHODS if callable(getattr(instance, name, None))
    } | {
        f.__name__: f for f in (
            adam_step, batch_order, held_out_loss, kernel_kl, loss_and_error, token_log_probs,
            weighted_loss_and_gradient, check_fitter, check_reduction, sweep, intransitivity,
            nearest_annotator, self_play,
        )
    }  # fmt: skip


def arguments_for(name, function, rng):
    """Right arguments."""
    values = good(rng) | OWN.get(name, {})
    if name in ("optimal_policy", "win_probabilities", "minimize_product_loss"):
        values["annotator"] = pb.Annotator(values["p"], pb.luce())
    if name == "annotator_influence":
        values["annotators"] = pb.AnnotatorMixture([0.4, 0.6], [pb.Annotator(values[x], pb.luce()) for x in "pr"])
    if name == "minimize_product_loss":
        values["proposal"] = pb.ProductProposal(values["p"], values["r"])
    parameters = inspect.signature(function).parameters.values()
    return {p.name: values[p.name] for p in parameters if p.kind is not p.VAR_KEYWORD and p.name in values}


def snapshot(arguments):
    """What the arrays among arguments hold."""
    return {
        name: (value, value.tobytes()) for name, value in arguments.items()
        if isinstance(value, np.ndarray) and value.size < 10_000 and not value.dtype.hasobject
    }  # fmt: skip


def fault(function, arguments, names):
    """What is wrong with a call, in words that are the same for the same kind of fault; None if it is right."""
    before = snapshot(arguments)
    try:
        with warnings.catch_warnings(), limited(harness.SECONDS):
            warnings.simplefilter("error")
            warnings.filterwarnings("ignore", "`log_weights` look like probabilities")  # documented
            result = function(**arguments)
            # A generator looks at its arguments when it is asked for something.
            result = next(result) if inspect.isgenerator(result) else result
    except Hung:
        return "hung"
    except MemoryError:
        return None
    except OSError as error:
        # It names the path itself.
        return None if "folder" in names and len(str(error)) else "OSError"
    except (TypeError, ValueError) as error:
        if callable(arguments.get("callback")):
            # A type is called too, and what it says is its own.
            return None
        message = str(error)
        if len(message) > MOST_CHARACTERS:
            return f"message of more than 300 characters: {message[:80]}"
        # An argument may be named by a part of it, as `distributions[1]`, or be one of the argument's own.
        known = [re.escape(name.rstrip("_")) for name in names]
        if not re.search(rf"(?<![a-z])({'|'.join(known)}|{'|'.join(PARTS)})(?![a-z])", message):
            return f"names no argument: {type(error).__name__}: {message[:120]}"
    except BaseException as error:
        return f"{type(error).__name__}: {str(error)[:120]}"
    else:
        if has_nan(result):
            return "NaN in the result"
    if any(value.tobytes() != content for value, content in before.values()):
        return "changed its input"
    return None


def shown(value):
    """A value for a report."""
    try:
        return f"{type(value).__name__} {value!r}"[:90].replace("\n", " ")
    except Exception:
        return type(value).__name__


def fuzz(calls, seed, only=None):
    """Faults of so many calls."""
    rng = np.random.default_rng(seed)
    chosen = {name: f for name, f in functions().items() if only is None or name in only}
    names = sorted(chosen)
    found = Faults()
    for call in range(calls):
        name = names[call % len(names)]
        arguments = arguments_for(name, chosen[name], rng)
        if not arguments:
            continue
        pool = hostile_values(rng)
        argument = sorted(arguments)[rng.integers(len(arguments))]
        value = arguments[argument] = pool[rng.integers(len(pool))]
        found.note((name, argument, fault(chosen[name], arguments, arguments)), shown(value))
    return found


if __name__ == "__main__":
    sys.exit(harness.main(fuzz, "calls", __doc__))
