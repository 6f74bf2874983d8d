"""SentencePiece models: trained alike, loaded from anyone, asked through the library itself."""

import io

import numpy as np
import pytest
import sentencepiece

from pbde_ref.language.tokenizers import (
    LENGTH_RANGES,
    Tokenizer,
    count_lengths,
    load_tokenizer,
    train_tokenizer,
    within,
)  # fmt: skip

NOUNS = ["cat", "dog", "house", "table", "river", "mountain", "teacher", "garden"]
VERBS = ["sees", "likes", "finds", "paints", "remembers", "forgets"]
TEXT = tuple(f"The {a} {verb} the {b}." for a in NOUNS for verb in VERBS for b in NOUNS if a != b)


def library_model(**options):
    """A model that the library trained with other settings than the package's."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.Train(
        sentence_iterator=iter(TEXT), model_writer=model, vocab_size=40, minloglevel=3, num_threads=1, **options
    )
    return model.getvalue()


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(TEXT, vocabulary_size=40)


def test_training_is_deterministic_and_silent(tokenizer, capfd):
    again = train_tokenizer(iter(TEXT), vocabulary_size=40)
    assert again == tokenizer
    assert again.model_bytes == tokenizer.model_bytes
    assert train_tokenizer(TEXT[:100], vocabulary_size=40) != tokenizer
    assert capfd.readouterr() == ("", "")


def test_layout(tokenizer):
    """Padding 0, end 1, unknown 2; the whole vocabulary is used."""
    assert (tokenizer.vocabulary_size, tokenizer.end_id, tokenizer.unknown_id) == (40, 1, 2)
    library = sentencepiece.SentencePieceProcessor(model_proto=tokenizer.model_bytes)
    assert (library.pad_id(), library.bos_id(), library.vocab_size()) == (0, -1, 40)


def test_encoding_is_the_librarys_with_the_end_piece(tokenizer):
    library = sentencepiece.SentencePieceProcessor(model_proto=tokenizer.model_bytes)
    expected = library.encode(list(TEXT), add_eos=True)
    encoded = tokenizer.encode(TEXT)
    assert [tokens.tolist() for tokens in encoded] == expected
    assert {tokens.dtype for tokens in encoded} == {np.dtype(np.int32)}
    assert tokenizer.encode([]) == []
    assert tokenizer.encode([""])[0].tolist() == [1]
    assert tokenizer.unknown_id in tokenizer.encode(["The 猫 sees."])[0]


def test_long_lists_are_encoded_in_order(tokenizer, monkeypatch):
    whole = [tokens.tolist() for tokens in tokenizer.encode(TEXT)]
    monkeypatch.setattr("pbde_ref.language.tokenizers.SENTENCES_AT_ONCE", 7)
    assert [tokens.tolist() for tokens in tokenizer.encode(TEXT)] == whole


def test_decoding_undoes_encoding(tokenizer):
    assert tuple(tokenizer.decode(tokens) for tokens in tokenizer.encode(TEXT)) == TEXT
    tokens = tokenizer.encode(TEXT[:1])[0].tolist()
    assert tokenizer.decode([*tokens, 0, 0, 0]) == tokenizer.decode(tokens[:-1]) == TEXT[0]
    # What stands behind the end is no part of the sentence.
    assert tokenizer.decode([*tokens, *tokens]) == TEXT[0]
    assert tokenizer.decode([]) == ""


def test_models_with_the_librarys_defaults_load(tmp_path):
    """Flax's LM1B example trains so: 0 is the unknown piece, 2 the end."""
    path = tmp_path / "lm1b.model"
    path.write_bytes(library_model())
    tokenizer = load_tokenizer(path)
    assert (tokenizer.unknown_id, tokenizer.end_id, tokenizer.vocabulary_size) == (0, 2, 40)
    (tokens,) = tokenizer.encode(TEXT[:1])
    assert tokens[-1] == 2
    assert 0 not in tokens
    assert tokenizer.decode(np.append(tokens, [0, 0])) == TEXT[0]


BAD_MODELS = {
    "0 is a piece": (lambda: library_model(unk_id=1, eos_id=2, bos_id=-1), "leave token 0 to padding or the unknown"),
    "no end": (lambda: library_model(eos_id=-1), "must have an end piece .* got end id -1"),
    "0 is the end": (lambda: library_model(eos_id=0, unk_id=1, bos_id=2), "must have an end piece .* got end id 0"),
    "nothing": (lambda: b"", "must be a SentencePiece model; got 0 bytes"),
    "garbage": (lambda: b"not a model", "must be a SentencePiece model; got 11 bytes"),
    "cut off": (lambda: library_model()[:-100], "must be a SentencePiece model"),
}


@pytest.mark.parametrize("case", BAD_MODELS)
def test_unusable_models_are_refused(tmp_path, case, capfd):
    make, message = BAD_MODELS[case]
    content = make()
    with pytest.raises(ValueError, match=message):
        Tokenizer(content)
    path = tmp_path / "bad.model"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"`path` must name a usable SentencePiece model, '.*bad\.model' is not"):
        load_tokenizer(path)
    assert capfd.readouterr() == ("", "")


def test_the_largest_vocabulary_is_named_and_possible(capfd):
    with pytest.raises(ValueError, match="`vocabulary_size` must be at most") as caught:
        train_tokenizer(TEXT, vocabulary_size=5000)
    largest = int(str(caught.value).split("at most ")[1].split(",")[0])
    assert train_tokenizer(TEXT, vocabulary_size=largest).vocabulary_size == largest
    with pytest.raises(ValueError, match=f"must be at most {largest}"):
        train_tokenizer(TEXT, vocabulary_size=largest + 1)
    assert capfd.readouterr() == ("", "")


def test_the_smallest_vocabulary_is_named():
    characters = len(set("".join(TEXT)))
    with pytest.raises(ValueError, match=f"`vocabulary_size` must be at least {characters + 3}, one for each char"):
        train_tokenizer(TEXT, vocabulary_size=10)


@pytest.mark.parametrize("sentences", [[], [""], [" ", "\t"]])
def test_no_text_is_refused(sentences):
    with pytest.raises(ValueError, match="`sentences` must have at least one sentence"):
        train_tokenizer(sentences, vocabulary_size=40)


def test_wrong_arguments_are_refused(tokenizer):
    with pytest.raises(TypeError, match="got a single string"):
        train_tokenizer("The cat sees the dog.", vocabulary_size=40)
    with pytest.raises(TypeError, match="`sentences` must hold strings; got int at index 1"):
        tokenizer.encode(["The cat.", 3])
    with pytest.raises(TypeError, match="`vocabulary_size` must be a whole number"):
        train_tokenizer(TEXT, vocabulary_size=40.0)
    with pytest.raises(TypeError, match="`model_bytes` must be bytes; got str"):
        Tokenizer("model")
    with pytest.raises(ValueError, match=r"`tokens` must be in \[0, 40\); got 40 at index 1"):
        tokenizer.decode([4, 40])
    with pytest.raises(ValueError, match=r"got -1 at index 0"):
        tokenizer.decode([-1])
    with pytest.raises(TypeError, match="`tokens` must be a vector of whole numbers"):
        tokenizer.decode([[4]])


def test_only_the_first_characters_train_the_model(monkeypatch):
    monkeypatch.setattr("pbde_ref.language.tokenizers.TRAINING_CHARACTERS", sum(len(text) for text in TEXT))
    odd = ["Zyxwvut qqq."] * 500
    assert train_tokenizer([*TEXT, *odd], vocabulary_size=40) == train_tokenizer(TEXT, vocabulary_size=40)
    assert train_tokenizer([*odd, *TEXT], vocabulary_size=40) != train_tokenizer(TEXT, vocabulary_size=40)


def test_length_ranges():
    """Section 5.2: pieces with the end piece; *long* begins at 31, as in the authors' histogram, Table 2's L at 30."""
    sequences = [np.ones(length, dtype=np.int32) for length in range(1, 61)]
    sizes = {name: [tokens.size for tokens in within(sequences, limits)] for name, limits in LENGTH_RANGES.items()}
    assert sizes["short"] + sizes["medium"] + [30] + sizes["long"] == sizes["whole"] == list(range(1, 51))
    assert (sizes["short"][-1], sizes["long"][0]) == (20, 31)
    assert count_lengths(sequences) == {"short": 20, "medium": 9, "long": 21, "beyond": 10}
    assert count_lengths([]) == {"short": 0, "medium": 0, "long": 0, "beyond": 0}
