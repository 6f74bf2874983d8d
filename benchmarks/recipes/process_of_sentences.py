"""From text to the process: simulated annotators of sentences from Python's documentation, found out.

    python process_of_sentences.py --pairs 600 --seed random

Two small Transformers are trained, the reference on all sentences and the annotators' p* on short ones. Pairs of
sentences that neither was trained on, of similar log p*, are answered by annotators of each process; then
`identify_process` sees log-probabilities, lengths and answers, and names the process. A minute on an idle core.
"""

import argparse
import sys

import numpy as np

import pbde_ref as pb
from pbde_ref.experiments.language.settings import preset
from pbde_ref.language.corpora import open_corpus
from pbde_ref.language.tokenizers import train_tokenizer
from pbde_ref.language.trained_models import TrainingSettings
from pbde_ref.language.training import train_language_model
from pbde_ref.language.training_data import padded, training_data
from pbde_ref.models.transformer import sequence_log_probs

# So many nats apart are the two sentences of a pair at most: answers further apart are certain and say nothing.
CLOSE = 4.0


def trained(corpus, tokenizer, kind, steps, seed):
    """A small Transformer, of all sentences or of short ones."""
    settings = preset("quick")
    training = TrainingSettings(
        steps=steps, tokens_per_batch=settings.tokens_per_batch, learning_rate=settings.learning_rate,
        warmup_steps=settings.warmup_steps, weight_decay=settings.weight_decay, seed=seed,
    )  # fmt: skip
    data = training_data(corpus, tokenizer, kind)
    return train_language_model(settings.config(tokenizer.vocabulary_size), data, training)


def log_probs(model, sentences):
    """Of whole sentences, end pieces included."""
    parts = [sentences[start : start + 256] for start in range(0, len(sentences), 256)]
    return np.concatenate([sequence_log_probs(model.config, model.parameters, padded(part)) for part in parts])


def close_pairs(log_p, pairs, rng):
    """Neighbours in order of log p*, each sentence once, either of the two first."""
    order = np.argsort(log_p)[: 2 * (log_p.size // 2)].reshape(-1, 2)
    near = order[np.abs(log_p[order[:, 0]] - log_p[order[:, 1]]) <= CLOSE]
    chosen = near[rng.permutation(len(near))[:pairs]].T
    return np.where(rng.random(chosen.shape[1]) < 0.5, chosen, chosen[::-1])


def main():
    """Print what is found for each process; the number of processes that were not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=600)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seed", default="random")
    options = parser.parse_args()
    seed = int(np.random.default_rng().integers(2**31)) if options.seed == "random" else int(options.seed)
    rng = np.random.default_rng(seed)
    corpus = open_corpus(limit=20_000)
    tokenizer = train_tokenizer(corpus.training, vocabulary_size=1000)
    reference, preferred = (trained(corpus, tokenizer, kind, options.steps, seed) for kind in ("whole", "short"))
    encoded = [s for s in tokenizer.encode([*corpus.held_out, *corpus.test]) if 4 <= s.size <= 40]
    log_p, log_reference = log_probs(preferred, encoded), log_probs(reference, encoded)
    lengths = np.array([s.size for s in encoded], dtype=float)
    # In exact order neighbours would hardly differ in log p*, and say nothing of its coefficient.
    x = close_pairs(log_p + rng.uniform(-CLOSE, CLOSE, log_p.size) / 2, options.pairs, rng)
    print(f"seed {seed}; {x.shape[1]} pairs, such as {tokenizer.decode(encoded[x[0, 0]])!r}\n  and "
          f"{tokenizer.decode(encoded[x[1, 0]])!r}\n")  # fmt: skip
    processes = {
        "Luce": pb.luce(),
        "DPO, β = 0.3": pb.PBDE(0.3, -0.3 * log_reference),
        "length-normalised, c = 5": pb.length_normalized(lengths, 5.0),
        "geometric, α = 1.5": pb.PBDE(1 / 1.5, (1 - 1 / 1.5) * log_reference),
    }
    wrong = 0
    for name, process in processes.items():
        omega = process.utility(log_p)
        won = rng.random(x.shape[1]) < 1.0 / (1.0 + np.exp(omega[x[1]] - omega[x[0]]))
        y = np.where(won, x, x[::-1])
        found = pb.identify_process(log_p=log_p[y], log_reference=log_reference[y], lengths=lengths[y])
        kept = [test.name for test in found.processes if not test.rejected]
        wrong += name.split(",")[0] not in kept
        print(f"{name}: {found.sentence()}")
    return wrong


if __name__ == "__main__":
    sys.exit(main())
