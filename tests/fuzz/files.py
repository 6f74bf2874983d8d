"""Every reader of files, with files that were damaged, cut, spliced or made up.

``python -m tests.fuzz.files --files 10000 --seed 1`` prints each kind of fault once. A reader must return, or raise
``ValueError`` or ``OSError`` with at most 300 characters besides the path, in time and without eating memory.
"""

import gzip
import io
import json
import os
import sys
import tarfile
import tempfile
import tracemalloc
import warnings
from pathlib import Path

import msgpack
import numpy as np

import pbde_ref as pb
from pbde_ref.benchmarking.documents import BEGIN, END, split_at_marks
from pbde_ref.estimation.processes import read_process
from pbde_ref.experiments.records import Record, read_record, write_record
from pbde_ref.files import read_arrays, read_json, write_arrays
from pbde_ref.language.corpora import open_corpus
from pbde_ref.language.tokenizers import load_tokenizer, train_tokenizer
from pbde_ref.language.trained_models import TrainedModel, TrainingSettings, load_model, save_model
from pbde_ref.language.training import train_language_model
from pbde_ref.language.training_data import TrainingData
from pbde_ref.models.flax_checkpoint import read_flax_checkpoint
from pbde_ref.models.transformer import TransformerConfig
from pbde_ref.verification import CLAIMS
from pbde_ref.verification.campaigns import Campaign, verdicts_by_seed
from tests.fuzz import harness
from tests.fuzz.harness import MOST_CHARACTERS, Faults, Hung, has_nan, limited

MOST_MEMORY = 2**29

CONFIG = TransformerConfig(vocabulary_size=6, embedding_dim=4, layers=1, heads=2, mlp_dim=4)
DATA = TrainingData(training=([3, 4, 1], [3, 5, 1]), held_out=([3, 4, 1],))
SETTINGS = TrainingSettings(steps=2, learning_rate=1e-2, warmup_steps=1)


def _tar(compressed):
    shard = "training-monolingual.tokenized.shuffled/news.en-0000{}-of-00100"
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz" if compressed else "w") as archive:
        for name in (shard.format(1), shard.format(2),
                     "heldout-monolingual.tokenized.shuffled/news.en.heldout-00000-of-00050"):  # fmt: skip
            text = b"".join(b"A sentence , number %d .\n" % i for i in range(20))
            member = tarfile.TarInfo(f"root/{name}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text))
    return content.getvalue()


def _flax():
    def ones(*shape):
        return msgpack.ExtType(1, msgpack.packb([shape, "float32", np.ones(shape, dtype="<f4").tobytes()]))

    norm, query = {"scale": ones(4), "bias": ones(4)}, {"kernel": ones(4, 2, 2)}
    block = {
        "LayerNorm_0": norm,
        "SelfAttention_0": {"query": query, "key": query, "value": query, "out": {"kernel": ones(2, 2, 4)}},
        "LayerNorm_1": norm,
        "MlpBlock_0": {"Dense_0": {"kernel": ones(4, 8), "bias": ones(8)},
                       "Dense_1": {"kernel": ones(8, 4), "bias": ones(4)}},
    }  # fmt: skip
    decoder = {"Embed_0": {"embedding": ones(3, 4)}, "encoderdecoderblock_0": block, "encoderdecoder_norm": norm,
               "logitdense": {"kernel": ones(4, 3), "bias": ones(3)}}  # fmt: skip
    return msgpack.packb({"step": 7, "params": {"decoder": decoder}})


def _written(write):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "file")
        write(path)
        # write_arrays keeps the name that it is given.
        return path.read_bytes()


def _training_state(path):
    train_language_model(CONFIG, DATA, SETTINGS, checkpoint=path)


def _resume(path):
    return train_language_model(CONFIG, DATA, SETTINGS, checkpoint=path)


def _fit(path, ties="error"):
    table = pb.read_comparisons(path, bad_lines="skip", ties=ties)
    return pb.fit_comparisons(
        table.winner, table.loser, table.weights, support=table.items, prior=pb.PseudoCounts(1.0), max_steps=50
    )


def kinds():
    """For each kind of file: the bytes of a right one, its ending, and its reader."""
    rng = np.random.default_rng(0)
    rows = [(f"item {a}", f"item {b}") for a, b in rng.integers(0, 5, (40, 2)) if a != b]
    sentences = [f"The {i} cats see {i + 1} dogs ." for i in range(200)]
    record = Record("a", {"seed": 1}, {"loss": 0.1}, {"x": np.arange(3.0)}, {"s": ["text"]})
    model = TrainedModel(CONFIG, *_trained())
    csv = "".join(f'"{a}",{b}\r\n' for a, b in [("chosen", "rejected"), *rows]).encode()
    return {
        "csv": (csv, ".csv", _fit),
        "csv.gz": (gzip.compress(csv, mtime=0), ".csv.gz", _fit),
        "jsonl": ("".join(json.dumps({"chosen": a, "rejected": b}) + "\n" for a, b in rows).encode(), ".jsonl", _fit),
        "preflib": (PREFLIB, ".soc", lambda p: _fit(p, ties="half")),
        "journal": (_written(_journal), ".jsonl", _journal),
        "process": (b"item,f,g\na,1.0,0.5\nb,2.0,-0.5\n", ".csv", lambda p: read_process(p, np.array(["a", "b"]))),
        "lines": ("\n".join(sentences).encode(), ".txt", lambda p: open_corpus(p, limit=1000)),
        "lines.gz": (gzip.compress("\n".join(sentences).encode(), mtime=0), ".gz", lambda p: open_corpus(p,
            limit=1000)),
        "tar": (_tar(False), ".tar", lambda p: open_corpus(p, limit=1000)),
        "tar.gz": (_tar(True), ".tar.gz", lambda p: open_corpus(p, limit=1000)),
        "flax": (_flax(), "", read_flax_checkpoint),
        "tokenizer": (train_tokenizer(sentences, vocabulary_size=40).model_bytes, ".model", load_tokenizer),
        "record": (_written(lambda p: write_record(p, record)), ".json", read_record),
        "json": (b'{"a": [1, 2.5, null, "text"]}', ".json", read_json),
        "arrays": (_written(lambda p: write_arrays(p, {"x": np.arange(5.0), "t": np.array("t")})), ".npz", read_arrays),
        "model": (_written(lambda p: save_model(p, model)), ".npz", load_model),
        "training": (_written(_training_state), ".npz", _resume),
        **_parquet(),
        "marks": (f"before\n{BEGIN}\nx\n{END}\n".encode(), ".md", split_at_marks),
    }  # fmt: skip


PREFLIB = b"""# FILE NAME: 1.soc
# TITLE: Cups
# DATA TYPE: soc
# NUMBER ALTERNATIVES: 3
# NUMBER VOTERS: 5
# NUMBER UNIQUE ORDERS: 2
# ALTERNATIVE NAME 1: tea
# ALTERNATIVE NAME 2: milk
# ALTERNATIVE NAME 3: water
3: 1,2,3
2: 3,{1,2}
"""


def _journal(path):
    campaign = Campaign({"winners": CLAIMS["winners"]}, range(1), 8, 1)
    return list(verdicts_by_seed(campaign, 1, path))


def _parquet():
    """None where pyarrow is not installed, which reads it."""
    try:
        from pyarrow import parquet, table
    except ImportError:
        return {}
    rng = np.random.default_rng(0)
    names = [[f"item {i}" for i in rng.integers(0, 4, 50)] for _ in "ab"]
    content = table({"chosen": names[0], "rejected": names[1], "weight": list(range(1, 51))})
    return {"parquet": (_written(lambda path: parquet.write_table(content, path)), ".parquet", _fit)}


def _trained():
    model = train_language_model(CONFIG, DATA, SETTINGS)
    return model.parameters, model.settings, model.history


def damaged(content, others, rng):
    """One of many ways in which a file comes to be another."""
    data = bytearray(content)
    places = rng.integers(0, max(1, len(data)), 8)
    way = int(rng.integers(12))
    if way == 0 and data:
        data[places[0]] ^= 1 << int(rng.integers(8))
    elif way == 1:
        del data[places[0] :]
    elif way == 2 and data:
        for place in places:
            data[place] = int(rng.integers(256))
    elif way == 3:
        first, last = sorted(places[:2])
        del data[first:last]
    elif way == 4:
        first, last = sorted(places[:2])
        data[places[2] : places[2]] = data[first:last] * int(rng.integers(1, 200))
    elif way == 5:
        other = others[int(rng.integers(len(others)))]
        data[places[0] :] = other[int(rng.integers(len(other))) :]
    elif way == 6:
        data[places[0] : places[0]] = rng.bytes(int(rng.integers(1, 300)))
    elif way == 7:
        # Sizes are numbers of such bytes.
        data[places[0] : places[0] + 8] = [b"\xff" * 8, b"\x7f" + b"\xff" * 7, b"\x00" * 8,
            b"77777777"][int(rng.integers(4))]
    elif way == 8:
        deep = [b"[", b"{\"a\":", b"\x91", b"\x81\xa1a", b'"', b"(", b","][int(rng.integers(7))]
        data[places[0] : places[0]] = deep * int(rng.integers(1, 20_000))
    elif way == 9:
        data = bytearray(gzip.compress(bytes(data), mtime=0)) if rng.random() < 0.5 else bytearray(2**20)
    elif way == 10:
        word = [b"nan", b"inf", b"-1", b"1e999", b"9" * 5000, b"\x00", b"\xed\xa0\x80", b"null",
            b"\n" * 1000][int(rng.integers(9))]
        data[places[0] : places[0] + len(word)] = word
    else:
        data = bytearray(rng.bytes(int(rng.integers(0, 2000))))
    return bytes(data)


def fault(read, path):
    """What is wrong with how a reader takes a file; None if nothing."""
    tracemalloc.start() if not tracemalloc.is_tracing() else tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    try:
        with warnings.catch_warnings(), limited(harness.SECONDS):
            warnings.simplefilter("error")
            found = read(path)
    except Hung:
        return "hung"
    except (ValueError, OSError) as error:
        message = str(error).replace(str(path), "PATH")
        if len(message) > MOST_CHARACTERS:
            return f"message of more than 300 characters: {message[:100]}"
        if str(path.parent) in message:
            return f"names a temporary file: {message[:150]}"
    except BaseException as error:
        return f"{type(error).__name__}: {str(error)[:120]}"
    else:
        if has_nan(found):
            return "NaN in the result"
    if tracemalloc.get_traced_memory()[1] - before > MOST_MEMORY:
        return "more than 512 MiB of memory"
    return None


def fuzz(files, seed, only=None):
    """Faults of so many files."""
    rng, found = np.random.default_rng(seed), Faults()
    chosen = {name: kind for name, kind in kinds().items() if only is None or name in only}
    contents = [content for content, _, _ in chosen.values()]
    with tempfile.TemporaryDirectory() as folder:
        for number in range(files):
            name = list(chosen)[number % len(chosen)]
            content, ending, read = chosen[name]
            path = Path(folder, f"file{ending}")
            for _ in range(int(rng.integers(1, 4))):
                content = damaged(content, contents, rng)
            path.write_bytes(content)
            found.note((name, fault(read, path)), f"file {number}")
            for left in Path(folder).iterdir():
                os.unlink(left)
    return found


if __name__ == "__main__":
    sys.exit(harness.main(fuzz, "files", __doc__))
