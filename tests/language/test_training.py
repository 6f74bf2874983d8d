"""Training of language models: on a language whose entropy is known, interrupted and not, and what is refused."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

import pbde_ref as pb
from pbde_ref.files import read_arrays, write_arrays
from pbde_ref.language import training
from pbde_ref.language.corpora import Corpus
from pbde_ref.language.tokenizers import Tokenizer, train_tokenizer
from pbde_ref.language.trained_models import History, TrainedModel, TrainingSettings, load_model, save_model
from pbde_ref.language.training import end_probability, held_out_loss, train_language_model
from pbde_ref.language.training_data import TrainingData, batch_order, padded, training_data
from pbde_ref.models.adam import warmup_cosine
from pbde_ref.models.transformer import TransformerConfig, initial_parameters, logits

END = 1
CONFIG = TransformerConfig(vocabulary_size=8, embedding_dim=16, layers=1, heads=2, mlp_dim=16, max_length=10)
SETTINGS = TrainingSettings(
    steps=12, tokens_per_batch=40, learning_rate=1e-2, warmup_steps=2, evaluate_every=3, seed=5
)  # fmt: skip


def sequences_of(count, *, rng):
    """Tokens 3 to 7, one to nine of them, and the end."""
    rng = np.random.default_rng(rng)
    return tuple(np.append(rng.integers(3, 8, size=rng.integers(1, 10)), END) for _ in range(count))


DATA = TrainingData(sequences_of(60, rng=0), sequences_of(20, rng=1))


def double_loop_loss(config, parameters, sequences):
    """Mean negative log-probability of a token, one sequence and one token at a time."""
    terms = []
    for sequence in sequences:
        z = logits(config, parameters, sequence[None])[0].astype(np.float64)
        for place, token in enumerate(sequence):
            terms.append(np.log(np.exp(z[place] - z[place].max()).sum()) - (z[place, token] - z[place].max()))
    return sum(terms) / len(terms)


def test_held_out_loss_against_a_double_loop(monkeypatch):
    parameters = initial_parameters(CONFIG, rng=3)
    # float32 rounds each logit by about 1e-7.
    assert held_out_loss(CONFIG, parameters, DATA.held_out) == pytest.approx(
        double_loop_loss(CONFIG, parameters, DATA.held_out), rel=1e-5
    )
    monkeypatch.setattr(training, "EVALUATION_SEQUENCES", 5)
    monkeypatch.setattr(training, "EVALUATION_TOKENS", 12)
    assert held_out_loss(CONFIG, parameters, DATA.held_out) == pytest.approx(
        double_loop_loss(CONFIG, parameters, DATA.held_out[:5]), rel=1e-5
    )


def test_training_reaches_the_entropy_of_a_known_language():
    """Sequences a a, b b, with a in {3, 4, 5, 6}: log 4 nats for the first token of three, nothing for the others."""
    language = tuple(np.array([token, token, END]) for token in (3, 4, 5, 6))
    config = replace(CONFIG, embedding_dim=32)
    settings = TrainingSettings(steps=150, tokens_per_batch=12, learning_rate=1e-2, warmup_steps=10, weight_decay=0.0)
    model = train_language_model(config, TrainingData(language, language), settings)
    entropy = np.log(4) / 3
    found = model.history.held_out_loss[model.history.best]
    # The mean over the language itself is at least its entropy; 0.02 above is what 150 steps leave.
    assert entropy - 1e-6 <= found < entropy + 0.02
    assert held_out_loss(config, model.parameters, language) == pytest.approx(found, rel=1e-5)
    # Control: it is not met by a model that has not been trained.
    assert held_out_loss(config, initial_parameters(config, rng=0), language) > entropy + 0.5


def test_the_best_weights_are_kept():
    """Learnt by heart: the held-out sequences are of another language, and soon get less likely."""
    train = tuple(np.array([3, 4, END]) for _ in range(4))
    other = tuple(np.array([token, 7, END]) for token in (3, 4, 5))
    settings = TrainingSettings(steps=40, tokens_per_batch=12, learning_rate=2e-2, warmup_steps=2, evaluate_every=2)
    model = train_language_model(CONFIG, TrainingData(train, other), settings)
    losses = model.history.held_out_loss
    assert losses[model.history.best] == losses.min() < losses[-1] - 0.1
    assert held_out_loss(CONFIG, model.parameters, other) == pytest.approx(losses.min(), rel=1e-5)


def test_history():
    """Evaluations every so many steps and after the last; the training loss is the mean over the tokens since."""
    settings = replace(SETTINGS, steps=7)
    model = train_language_model(CONFIG, DATA, settings)
    assert model.history.steps.tolist() == [3, 6, 7]
    assert (np.abs(model.history.training_loss - model.history.held_out_loss) < 1.0).all()
    single = train_language_model(CONFIG, DATA, replace(settings, steps=1, tokens_per_batch=10**6))
    first = initial_parameters(CONFIG, rng=np.random.default_rng(5).spawn(2)[0])
    assert single.history.training_loss.tolist() == [
        pytest.approx(double_loop_loss(CONFIG, first, DATA.training), rel=1e-5)
    ]


def test_a_step_is_clipped_adamw(monkeypatch):
    """The first step of Adam has the length of the learning rate whatever the gradient; what clipping changes is seen
    in Adam's first moment: (1 − β₁) times the gradient.
    """
    seen = []

    def spy(parameters, gradient, state, *, learning_rate, weight_decay):
        seen.append((np.linalg.norm(gradient), learning_rate, weight_decay))
        return parameters, replace(state, steps=state.steps + 1)

    monkeypatch.setattr(training, "adam_step", spy)
    train_language_model(CONFIG, DATA, replace(SETTINGS, clip_norm=0.25))
    train_language_model(CONFIG, DATA, replace(SETTINGS, clip_norm=1e9, steps=1))
    norms, rates, decays = zip(*seen, strict=True)
    assert norms[:-1] == pytest.approx([0.25] * 12, rel=1e-5)
    assert norms[-1] > 0.25
    assert rates[:-1] == tuple(warmup_cosine(t, peak=1e-2, warmup_steps=2, steps=12) for t in range(12))
    assert set(decays) == {SETTINGS.weight_decay}


class KilledError(Exception):
    """Stands for the death of a process."""


@pytest.mark.parametrize("killed_after", [1, 3, 4, 8, 11])
def test_a_killed_run_ends_with_the_same_bits(tmp_path, monkeypatch, killed_after):
    expected = train_language_model(CONFIG, DATA, SETTINGS, checkpoint=tmp_path / "undisturbed.npz")
    real = training._step

    def mortal(config, sequences, settings, state):
        if state.adam.steps == killed_after:
            raise KilledError
        return real(config, sequences, settings, state)

    monkeypatch.setattr(training, "_step", mortal)
    with pytest.raises(KilledError):
        train_language_model(CONFIG, DATA, SETTINGS, checkpoint=tmp_path / "killed.npz")
    monkeypatch.setattr(training, "_step", real)
    assert int(read_arrays(tmp_path / "killed.npz")["steps"]) == killed_after // 3 * 3
    found = train_language_model(CONFIG, DATA, SETTINGS, checkpoint=tmp_path / "killed.npz")
    assert found.parameters.tobytes() == expected.parameters.tobytes()
    for name in ("steps", "training_loss", "held_out_loss"):
        assert getattr(found.history, name).tobytes() == getattr(expected.history, name).tobytes()
    assert (tmp_path / "killed.npz").read_bytes() == (tmp_path / "undisturbed.npz").read_bytes()


def test_a_finished_run_is_not_repeated(tmp_path, monkeypatch):
    path = tmp_path / "run.npz"
    expected = train_language_model(CONFIG, DATA, SETTINGS, checkpoint=path)
    monkeypatch.setattr(training, "_step", None)
    assert train_language_model(CONFIG, DATA, SETTINGS, checkpoint=path).parameters.tobytes() == (
        expected.parameters.tobytes()
    )


SCRIPT = """if True:
    import sys
    from tests.language.test_training import CONFIG, DATA, SETTINGS, replace, train_language_model
    train_language_model(CONFIG, DATA, replace(SETTINGS, steps=int(sys.argv[2])), checkpoint=sys.argv[1], progress=True)
"""


def start(path, steps, threads):
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": threads, "PYTHONHASHSEED": threads}
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(path), str(steps)],
        cwd=Path(pb.__file__).parents[1], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def test_a_process_that_is_really_killed(tmp_path):
    """SIGKILL at whatever place the clock finds it; then on, in a process with another number of threads."""
    path, steps = tmp_path / "run.npz", 300
    process = start(path, steps, "1")
    while process.poll() is None and not (path.exists() and int(read_arrays(path)["steps"]) > 0):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    process.communicate()
    assert 0 < int(read_arrays(path)["steps"]) < steps
    process = start(path, steps, "2")
    output, messages = process.communicate()
    # Their stderr is no terminal: nothing redraws a bar there.
    assert (process.returncode, output, messages) == (0, b"", b"")
    expected = train_language_model(CONFIG, DATA, replace(SETTINGS, steps=steps))
    assert read_arrays(path)["best"].tobytes() == expected.parameters.tobytes()


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_is_shown_on_a_terminal(monkeypatch):
    shown = Terminal()
    monkeypatch.setattr("sys.stderr", shown)
    train_language_model(CONFIG, DATA, replace(SETTINGS, steps=4), progress=True)
    assert "tokens/s, held-out loss" in shown.getvalue()


def test_seeds():
    """Equal seeds give equal bytes, another gives others."""
    first, again, other = (train_language_model(CONFIG, DATA, replace(SETTINGS, seed=seed)) for seed in (5, 5, 6))
    assert first.parameters.tobytes() == again.parameters.tobytes() != other.parameters.tobytes()


OTHER_RUNS = {
    "settings": (CONFIG, DATA, replace(SETTINGS, learning_rate=2e-2)),
    "config": (replace(CONFIG, mlp_dim=32), DATA, SETTINGS),
    "data": (CONFIG, TrainingData(DATA.training[:-1], DATA.held_out), SETTINGS),
}


@pytest.mark.parametrize("other", OTHER_RUNS)
def test_checkpoints_of_other_runs_are_refused(tmp_path, other):
    path = tmp_path / "run.npz"
    train_language_model(CONFIG, DATA, replace(SETTINGS, steps=3), checkpoint=path)
    config, data, settings = OTHER_RUNS[other]
    with pytest.raises(ValueError, match=rf"`checkpoint` must be of the same run.*has another {other}"):
        train_language_model(config, data, replace(settings, steps=3), checkpoint=path)


def test_damaged_checkpoints_are_refused(tmp_path):
    path = tmp_path / "run.npz"
    train_language_model(CONFIG, DATA, SETTINGS, checkpoint=path)
    content, arrays = path.read_bytes(), read_arrays(path)
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"must be a whole \.npz file"):
        train_language_model(CONFIG, DATA, SETTINGS, checkpoint=path)
    write_arrays(path, {name: value for name, value in arrays.items() if name != "first_moment"})
    with pytest.raises(ValueError, match=r"must be a whole checkpoint; .* is not: 'first_moment'"):
        train_language_model(CONFIG, DATA, SETTINGS, checkpoint=path)
    write_arrays(path, arrays | {"best": arrays["best"][1:]})
    with pytest.raises(ValueError, match="best has shape"):
        train_language_model(CONFIG, DATA, SETTINGS, checkpoint=path)
    save_model(path, train_language_model(CONFIG, DATA, replace(SETTINGS, steps=1)))
    with pytest.raises(ValueError, match="`checkpoint` must be of the same run"):
        train_language_model(CONFIG, DATA, SETTINGS, checkpoint=path)
    with pytest.raises(FileNotFoundError):
        train_language_model(CONFIG, DATA, SETTINGS, checkpoint=tmp_path / "no" / "folder.npz")


def test_models_survive_the_disk(tmp_path):
    model = train_language_model(CONFIG, DATA, SETTINGS)
    save_model(tmp_path / "a.npz", model)
    found = load_model(tmp_path / "a.npz")
    assert (found.config, found.settings) == (CONFIG, SETTINGS)
    assert found.parameters.tobytes() == model.parameters.tobytes()
    assert found.history.held_out_loss.tolist() == model.history.held_out_loss.tolist()
    assert not found.parameters.flags.writeable
    save_model(tmp_path / "b.npz", found)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_files_that_are_no_models_are_refused(tmp_path):
    path = tmp_path / "model.npz"
    with pytest.raises(FileNotFoundError):
        load_model(path)
    path.write_bytes(b"not a model")
    with pytest.raises(ValueError, match=r"must be a whole \.npz file"):
        load_model(path)
    write_arrays(path, {"a": np.zeros(2)})
    with pytest.raises(ValueError, match=r"must be a file of a trained model; .*'format'"):
        load_model(path)
    save_model(path, train_language_model(CONFIG, DATA, replace(SETTINGS, steps=1)))
    arrays = read_arrays(path)
    for name, value, message in (
        ("format", np.array("something else"), "its format is 'something else'"),
        ("config", np.array(json.dumps({"vocabulary_size": 8})), "`parameters` must have shape"),
        ("settings", np.array('{"stops": 3}'), "stops"),
        ("settings", np.array("{"), "property name"),
    ):
        write_arrays(path, arrays | {name: value})
        with pytest.raises(ValueError, match=f"must be a file of a trained model.*{message}"):
            load_model(path)


def test_an_epoch_has_every_sequence_once():
    lengths = np.array([sequence.size for sequence in DATA.training])
    batches = batch_order(lengths, 40, rng=2)
    epochs = []
    for _ in range(3):
        epoch = []
        while sum(batch.size for batch in epoch) < lengths.size:
            epoch.append(next(batches))
        assert Counter(np.concatenate(epoch).tolist()) == Counter(range(lengths.size))
        assert all(lengths[batch].sum() <= 40 for batch in epoch)
        epochs.append([batch.tolist() for batch in epoch])
    assert epochs[0] != epochs[1] != epochs[2]
    again = batch_order(lengths, 40, rng=2)
    assert [batch.tolist() for batch in islice(again, len(epochs[0]))] == epochs[0]


def test_batches_have_sequences_of_similar_length():
    """Padding is a small share; in batches without regard to length it is a large one."""
    lengths = np.random.default_rng(0).integers(2, 51, size=3000)

    def filled(batches):
        return sum(lengths[batch].sum() for batch in batches) / sum(
            lengths[batch].max() * batch.size for batch in batches
        )

    assert filled(list(islice(batch_order(lengths, 1024, rng=0), 70))) > 0.9
    assert filled(np.array_split(np.random.default_rng(1).permutation(3000), 75)) < 0.6


def test_a_sequence_beyond_the_budget_is_a_batch():
    assert sorted(batch.tolist() for batch in islice(batch_order([9, 9], 4, rng=0), 2)) == [[0], [1]]


VOCABULARY = 24
CATS = tuple(f"A {a} cat sat on {b}." for a in ("red", "big", "sad", "old") for b in ("a mat", "it", "a red, red mat"))


def test_training_data_has_the_lengths_of_its_part():
    tokenizer = train_tokenizer(CATS, vocabulary_size=VOCABULARY)
    corpus = Corpus("cats", CATS[:8], CATS[8:])
    sizes = [tokens.size for tokens in tokenizer.encode(CATS[:8])]
    middle = sorted(sizes)[4]
    data = training_data(corpus, tokenizer, (1, middle))
    assert [tokens.size for tokens in data.training] == [size for size in sizes if size <= middle]
    assert data.unknown == 0
    assert all(tokens[-1] == tokenizer.end_id for tokens in (*data.training, *data.held_out))
    with pytest.raises(ValueError, match=r"must leave training sentences; got none of 1 to 2 .* in cats: \{'short'"):
        training_data(corpus, tokenizer, (1, 2))
    with pytest.raises(ValueError, match="must be 'whole', 'short', 'medium' or 'long'; got 'tall'"):
        training_data(corpus, tokenizer, "tall")
    with pytest.raises(ValueError, match="must be the least and the greatest length; got 5 and 4"):
        training_data(corpus, tokenizer, (5, 4))


def test_test_sentences_are_encoded_and_train_nothing():
    """They are optional, change no fingerprint, and are checked like the others."""
    tokenizer = train_tokenizer(CATS, vocabulary_size=VOCABULARY)
    with_test = training_data(Corpus("cats", CATS[:6], CATS[6:8], CATS[8:]), tokenizer)
    without = training_data(Corpus("cats", CATS[:6], CATS[6:8]), tokenizer)
    assert [tokens.tolist() for tokens in with_test.test] == [tokens.tolist() for tokens in tokenizer.encode(CATS[8:])]
    assert without.test == ()
    assert with_test.digest() == without.digest()
    assert with_test.digest() != training_data(Corpus("cats", CATS[:7], CATS[7:8]), tokenizer).digest()
    with pytest.raises(ValueError, match="`test` must be without padding, token 0; got one at index 1"):
        TrainingData(with_test.training, with_test.held_out, test=([3, 1], [3, 0, 1]))


def test_sentences_of_nothing_are_left_out():
    """An empty line is the end piece alone, whatever blanks it is made of."""
    tokenizer = train_tokenizer(CATS, vocabulary_size=VOCABULARY)
    blanks = ("", "\u00a0", " \u200b", "\ufeff")
    data = training_data(Corpus("cats", (*CATS[:8], *blanks), (*blanks, *CATS[8:]), blanks), tokenizer)
    assert (len(data.training), len(data.held_out), len(data.test), data.unknown) == (8, 4, 0, 0)


def test_sentences_with_padding_inside_are_left_out(monkeypatch):
    """A tokenizer whose unknown piece is 0 makes padding of a foreign character."""
    tokenizer = train_tokenizer(CATS, vocabulary_size=VOCABULARY)
    encode = Tokenizer.encode
    monkeypatch.setattr(Tokenizer, "encode", lambda self, texts: [np.where(x == 2, 0, x) for x in encode(self, texts)])
    corpus = Corpus("cats", (*CATS[:8], "A 猫 sat."), CATS[8:])
    data = training_data(corpus, tokenizer)
    assert (len(data.training), len(data.held_out), data.unknown) == (8, 4, 1)


def test_wrong_sequences_are_refused_before_the_work(monkeypatch):
    monkeypatch.setattr(training, "_step", None)
    long = np.full(11, 3)
    for name, wrong, message in (
        ("training", long, "`training` must have sequences of at most max_length = 10 tokens; got 11 at index 1"),
        ("held_out", long, "`held_out` must have sequences of at most max_length = 10 tokens; got 11 at index 1"),
        ("training", np.array([3, 8]), r"`training` must have tokens in \[0, 8\); got 8 at index 1"),
        ("held_out", np.array([-3, 4]), r"`held_out` must have tokens in \[0, 8\); got -3 at index 1"),
    ):
        good = np.array([3, END])
        data = TrainingData(**{"training": (good,), "held_out": (good,), name: (good, wrong)})
        with pytest.raises(ValueError, match=message):
            train_language_model(CONFIG, data, SETTINGS)
    with pytest.raises(ValueError, match="`held_out` must have at least 1 sequence"):
        TrainingData(DATA.training, ())
    with pytest.raises(ValueError, match="`training` must be without padding, token 0; got one at index 0"):
        TrainingData((np.array([3, 0, END]),), DATA.held_out)
    with pytest.raises(TypeError, match="`training` must hold vectors of tokens"):
        TrainingData((np.array([3.0]),), DATA.held_out)


def test_wrong_settings_are_refused():
    for name, value, kind in (
        ("steps", 0, ValueError), ("steps", 1.5, TypeError), ("learning_rate", 0.0, ValueError),
        ("seed", -1, ValueError), ("weight_decay", -0.1, ValueError), ("clip_norm", np.nan, ValueError),
        ("evaluate_every", 0, ValueError),
    ):  # fmt: skip
        with pytest.raises(kind, match=f"`{name}` must be"):
            TrainingSettings(**{name: value})
    with pytest.raises(TypeError, match="`data` must be TrainingData; got tuple"):
        train_language_model(CONFIG, DATA.training, SETTINGS)
    with pytest.raises(ValueError, match="`parameters` must have shape"):
        TrainedModel(CONFIG, np.zeros(3), SETTINGS, History(np.zeros(0, dtype=np.intp), np.zeros(0), np.zeros(0)))


def test_divergence_is_an_error():
    with pytest.raises(ValueError, match=r"`learning_rate` must keep the loss and its gradient finite; got 1e\+30"):
        train_language_model(CONFIG, DATA, replace(SETTINGS, learning_rate=1e30, steps=50))


def test_end_probability_against_single_prefixes():
    tokenizer = train_tokenizer(CATS, vocabulary_size=VOCABULARY)
    config = replace(CONFIG, vocabulary_size=VOCABULARY, max_length=40)
    parameters = initial_parameters(config, rng=1)
    sequences = tokenizer.encode(CATS)
    position = max(Counter(tokens.size for tokens in sequences).items(), key=lambda item: item[1])[0] - 1
    expected = []
    for text, tokens in zip(CATS, sequences, strict=True):
        # In these texts, the full stop is the last piece, and nowhere else.
        if tokens.size - 1 == position:
            z = logits(config, parameters, tokens[None])[0, -1].astype(np.float64)
            expected.append(np.exp(z[tokenizer.end_id]) / np.exp(z).sum())
            assert text.endswith(".")
    assert len(expected) > 1
    found = end_probability(config, parameters, sequences, tokenizer, position=position)
    assert found == pytest.approx(np.mean(expected), rel=1e-5)
    with pytest.raises(ValueError, match="must have one with a full stop at position 1; got none"):
        end_probability(config, parameters, sequences, tokenizer, position=1)
    with pytest.raises(ValueError, match="`position` must be below max_length = 40; got 40"):
        end_probability(config, parameters, sequences, tokenizer, position=40)


def test_padded_rows():
    assert padded([[3, END], [4, 5, END]]).tolist() == [[3, END, 0], [4, 5, END]]
