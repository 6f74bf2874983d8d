"""Fitters of Bradley and Terry's model, as published on PyPI, against the certified optimum.

pip install choix evalica crowd-kit elote openskill arena-rank statsmodels scikit-learn skelo, then python fitters.py
[--verbose]. What is not installed is left out.
"""

from __future__ import annotations

import argparse
import math
from importlib.metadata import PackageNotFoundError, version

import numpy as np

from pbde_ref.oracle import check_fitter


def winners(left, right, outcome):
    """Pairs of winner and loser; a tie is none."""
    sides = zip(left, right, outcome, strict=True)
    return [(a, b) if said == "left" else (b, a) for a, b, said in sides if said != "tie"]


def numbered(left, right, outcome):
    """Labels, and pairs of their numbers."""
    names = sorted({*left, *right})
    place = {name: i for i, name in enumerate(names)}
    return names, [(place[a], place[b]) for a, b in winners(left, right, outcome)]


def choix(method, **options):
    def fit(left, right, outcome):
        import choix as library

        names, pairs = numbered(left, right, outcome)
        return dict(zip(names, getattr(library, method)(len(names), pairs, **options), strict=True))

    return fit


def evalica(method, **options):
    def fit(left, right, outcome, weights=None):
        import evalica as library

        said = {"left": library.Winner.X, "right": library.Winner.Y, "tie": library.Winner.Draw}
        codes = [said[word] for word in outcome]
        return getattr(library, method)(left, right, codes, weights=weights, **options).scores

    return fit


def crowdkit(tol):
    def fit(left, right, outcome):
        import pandas as pd
        from crowdkit.aggregation import BradleyTerry

        label = [a if said == "left" else b for a, b, said in zip(left, right, outcome, strict=True)]
        return BradleyTerry(n_iter=20000, tol=tol).fit_predict(
            pd.DataFrame({"left": left, "right": right, "label": label})
        )

    return fit


def elote(reg):
    def fit(left, right, outcome):
        from elote import BradleyTerryCompetitor

        # Every result fits all over again; only an item's last one needs more than a step.
        BradleyTerryCompetitor.configure_class(reg=reg, tol=1e-13)
        items = {name: BradleyTerryCompetitor() for name in [*left, *right]}
        last = {name: place for place, pair in enumerate(zip(left, right, strict=True)) for name in pair}.values()
        for place, (a, b, said) in enumerate(zip(left, right, outcome, strict=True)):
            BradleyTerryCompetitor.configure_class(max_iter=20000 if place in last else 1)
            play = {"left": items[a].beat, "right": items[a].lost_to, "tie": items[a].tied}[said]
            play(items[b])
        return {name: item.rating for name, item in items.items()}

    return fit


def openskill(left, right, outcome):
    from openskill.models import BradleyTerryFull

    model = BradleyTerryFull()
    ratings = {name: model.rating() for name in [*left, *right]}
    ranks = {"left": [1, 2], "right": [2, 1], "tie": [1, 1]}
    for a, b, said in zip(left, right, outcome, strict=True):
        (ratings[a],), (ratings[b],) = model.rate([[ratings[a]], [ratings[b]]], ranks=ranks[said])
    return {name: rating.mu for name, rating in ratings.items()}


def skelo(left, right, outcome):
    from skelo.model.elo import EloEstimator

    rows = np.array([*zip(left, right, strict=True)], dtype=object)
    times, labels = np.arange(len(left)), np.array([1.0 if said == "left" else 0.0 for said in outcome])
    model = EloEstimator(key1_field="left", key2_field="right", timestamp_field="time")
    import pandas as pd

    model.fit(pd.DataFrame({"left": rows[:, 0], "right": rows[:, 1], "time": times}), labels)
    return {name: model.rating_model.get(name, len(left) + 1)["rating"] for name in {*left, *right}}


def arena_rank(errors):
    def fit(left, right, outcome):
        import pandas as pd
        from arena_rank.models.bradley_terry import BradleyTerry
        from arena_rank.utils.data_utils import PairDataset

        said = {"left": "model_a", "right": "model_b", "tie": "tie"}
        rows = pd.DataFrame({"model_a": left, "model_b": right, "winner": [said[word] for word in outcome]})
        data = PairDataset.from_pandas(rows)
        found = BradleyTerry(n_competitors=len(data.competitors)).compute_ratings_and_cis(data)
        scores = dict(zip(found["competitors"], map(float, found["ratings"]), strict=True))
        if not errors:
            return scores
        deviations = np.sqrt(np.asarray(found["variances"] if "variances" in found else found["scaled_variances"]))
        return scores, dict(zip(found["competitors"], deviations.tolist(), strict=True))

    return fit


def design(left, right):
    names = sorted({*left, *right})
    place = {name: i for i, name in enumerate(names)}
    columns = np.zeros((len(left), len(names)))
    rows = np.arange(len(left))
    columns[rows, [place[a] for a in left]] = 1.0
    columns[rows, [place[b] for b in right]] -= 1.0
    return names, columns


def scikit(**options):
    """As the notebooks of Chatbot Arena did: each row once, a tie twice with half the weight."""

    def fit(left, right, outcome, weights=None):
        from sklearn.linear_model import LogisticRegression

        names, columns = design(left, right)
        weight = np.ones(len(left)) if weights is None else np.array(weights)
        tied = np.array([said == "tie" for said in outcome])
        won = np.array([said == "left" for said in outcome])
        columns, won = np.vstack([columns, columns[tied]]), np.append(won, np.ones(tied.sum(), dtype=bool))
        weight = np.append(np.where(tied, 0.5, 1.0) * weight, 0.5 * weight[tied])
        model = LogisticRegression(fit_intercept=False, **options).fit(columns, won, sample_weight=weight)
        return dict(zip(names, model.coef_[0], strict=True))

    return fit


def statsmodels(left, right, outcome, weights=None):
    from statsmodels.api import GLM
    from statsmodels.genmod.families import Binomial

    names, columns = design(left, right)
    won = np.array([{"left": 1.0, "right": 0.0, "tie": 0.5}[said] for said in outcome])
    found = GLM(won, columns[:, 1:], family=Binomial(), freq_weights=weights).fit(tol=1e-14, maxiter=200)
    return dict(zip(names, [0.0, *found.params], strict=True)), dict(zip(names, [0.0, *found.bse], strict=True))


TIGHT = {"tolerance": 1e-14, "limit": 1_000_000}
ENDS = {"winless": "a finite score where there is none", "unbeaten": "a finite score where there is none"}
ELO = {"scale": "elo"}
RECIPES = [
    ("choix", "ilsr_pairwise, tol=1e-12", choix("ilsr_pairwise", tol=1e-12, max_iter=10000), {}),
    ("choix", "mm_pairwise", choix("mm_pairwise"), {}),
    ("choix", "opt_pairwise, alpha=0, tol=1e-10", choix("opt_pairwise", alpha=0.0, tol=1e-10), {}),
    ("choix", "opt_pairwise, alpha=0.5, tol=1e-10", choix("opt_pairwise", alpha=0.5, tol=1e-10), {"ridge": 1.0}),
    ("choix", "lsr_pairwise (one step)", choix("lsr_pairwise"), {}),
    ("evalica", "bradley_terry, tolerance=1e-14", evalica("bradley_terry", **TIGHT), {"scale": "odds", "ties": "half"}),
    ("evalica", "bradley_terry", evalica("bradley_terry"), {"scale": "odds", "ties": "half"}),
    ("evalica", "newman, tolerance=1e-14", evalica("newman", **TIGHT), {"scale": "odds", "ties": "davidson"}),
    ("crowd-kit", "BradleyTerry, tol=1e-5", crowdkit(1e-5), {"scale": "odds"}),
    ("crowd-kit", "BradleyTerry, tol=0", crowdkit(0.0), {"scale": "odds", "anchor": "sum:1"}),
    ("elote", "BradleyTerryCompetitor", elote(0.1),
     {**ELO, "ridge": "pseudo:0.1", "anchor": "mean:1500", "ties": "half"}),
    ("elote", "BradleyTerryCompetitor, reg=0", elote(0.0), {**ELO, "anchor": "mean:1500", "ties": "half"}),
    ("openskill", "BradleyTerryFull", openskill, {**ELO, "ties": "half"}),
    ("skelo", "EloEstimator", skelo, ELO),
    ("arena-rank", "BradleyTerry", arena_rank(False),
     {**ELO, "anchor": "mean:1000", "ties": "half", "tolerance": 1e-4}),
    ("arena-rank", "BradleyTerry with errors", arena_rank(True),
     {**ELO, "anchor": "mean:1000", "ties": "half", "tolerance": 1e-4}),
    ("scikit-learn", "LogisticRegression, C=inf, tol=1e-12", scikit(C=math.inf, tol=1e-12, max_iter=100000),
     {"ties": "half", "anchor": "mean:0"}),
    ("scikit-learn", "LogisticRegression, C=1e6", scikit(C=1e6), {"ties": "half", "anchor": "mean:0"}),
    ("scikit-learn", "LogisticRegression, tol=1e-12", scikit(tol=1e-12, max_iter=100000),
     {"ties": "half", "ridge": 1.0, "anchor": "mean:0"}),
    ("statsmodels", "GLM, Binomial", statsmodels, {"ties": "half", "anchor": "first:0"}),
]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("only", nargs="*")
    options = parser.parse_args()
    print("| package | call | declared | passed | failed | what is said |\n|---|---|---|---|---|---|")
    for package, call, function, declared in RECIPES:
        try:
            number = version(package)
        except PackageNotFoundError:
            continue
        if options.only and package not in options.only:
            continue
        report = check_fitter(function, **declared, seed=options.seed, on_failure="report")
        failed = [result.name for result in report.results if result.status == "failed"]
        passed = sum(result.status == "passed" for result in report.results)
        said = ", ".join(f"{name}={value!r}" for name, value in declared.items())
        cells = [f"{package} {number}", call, said, str(passed), ", ".join(failed), "; ".join(report.diagnoses)]
        print(f"| {' | '.join(cells)} |", flush=True)
        if options.verbose:
            print(report, end="\n\n")


if __name__ == "__main__":
    main()
