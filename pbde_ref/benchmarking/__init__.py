"""What the package costs beside what others cost: suites of benchmarks, a runner, tables and a scaling plot.

Benchmarks follow the names of `asv <https://asv.readthedocs.io>`_: classes with `params`, `param_names` and `setup`;
methods `time_*`, `track_*` (accuracy beside time) and `peakmem_*`. Within a class the `time_*` methods are contenders
for the same job on the same inputs. Added to asv's conventions: `reference` names the contender that ratios are taken
to, and `quick_params` are the small sizes.
"""
