"""Flax's checkpoints: files that Flax wrote, files encoded by hand, and what a damaged or foreign file is told."""

import io
import json
import math
import struct
import tracemalloc
import zipfile
from pathlib import Path

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pbde_ref.models import flax_msgpack
from pbde_ref.models.flax_checkpoint import CheckpointError, FlaxCheckpoint, checkpoint_from, read_flax_checkpoint
from pbde_ref.models.flax_msgpack import read_state
from pbde_ref.models.transformer import named_views, parameter_count, sequence_log_probs, token_log_probs

FOLDER = Path(__file__).parents[1] / "data" / "flax"
EXPECTED = json.loads((FOLDER / "expected.json").read_text("utf-8"))
# Two float32 implementations that add in another order: some 1e-7 of a token's log-probability. The promise is 1e-4.
RELATIVE = 1e-5
WIDTH, HEADS, VOCABULARY, MLP = 4, 2, 3, 2


def encoded(values, dtype="float32", code=1):
    """An array as Flax encodes it, transcribed from the format's description."""
    values = np.asarray(values)
    data = values.astype("<f4").view("<u4") >> 16 if dtype == "bfloat16" else values
    content = (data.astype("<u2") if dtype == "bfloat16" else data.astype(dtype)).tobytes()
    return msgpack.ExtType(code, msgpack.packb([list(values.shape), dtype, content]))


def raw_array(shape, dtype, content):
    """An array that declares what it likes."""
    return msgpack.ExtType(1, msgpack.packb([shape, dtype, content]))


def chunked(values, size):
    flat = np.ravel(values)
    chunks = {str(k): encoded(flat[i : i + size]) for k, i in enumerate(range(0, flat.size, size))}
    shape = {str(axis): length for axis, length in enumerate(np.shape(values))}
    return {"__msgpack_chunked_array__": True, "shape": shape, "chunks": chunks}


def tiny_arrays():
    """A one-layer model's arrays by path, each entry its own quarter: exact in float16 and, up to 64, in bfloat16."""
    split, joined = (WIDTH, HEADS, WIDTH // HEADS), (HEADS, WIDTH // HEADS, WIDTH)
    block = "encoderdecoderblock_0"
    shapes = {
        "Embed_0/embedding": (VOCABULARY, WIDTH),
        f"{block}/LayerNorm_0/scale": (WIDTH,), f"{block}/LayerNorm_0/bias": (WIDTH,),
        **{f"{block}/SelfAttention_0/{part}/kernel": split for part in ("query", "key", "value")},
        f"{block}/SelfAttention_0/out/kernel": joined,
        f"{block}/LayerNorm_1/scale": (WIDTH,), f"{block}/LayerNorm_1/bias": (WIDTH,),
        f"{block}/MlpBlock_0/Dense_0/kernel": (WIDTH, MLP), f"{block}/MlpBlock_0/Dense_0/bias": (MLP,),
        f"{block}/MlpBlock_0/Dense_1/kernel": (MLP, WIDTH), f"{block}/MlpBlock_0/Dense_1/bias": (WIDTH,),
        "encoderdecoder_norm/scale": (WIDTH,), "encoderdecoder_norm/bias": (WIDTH,),
        "logitdense/kernel": (WIDTH, VOCABULARY), "logitdense/bias": (VOCABULARY,),
    }  # fmt: skip
    start, arrays = 0, {}
    for path, shape in shapes.items():
        arrays[path] = (np.arange(math.prod(shape)).reshape(shape) + start) / 4.0
        start += math.prod(shape)
    return arrays


def tree(leaves):
    """Nested maps from paths."""
    root = {}
    for path, leaf in leaves.items():
        *folders, name = path.split("/")
        node = root
        for folder in folders:
            node = node.setdefault(folder, {})
        node[name] = leaf
    return root


def tiny(encode=encoded, **changes):
    """A tiny model's parameters, encoded; `changes` replace leaves by path (with __ for /), or drop them if None."""
    leaves = {path: encode(values) for path, values in tiny_arrays().items()}
    leaves |= {name.replace("__", "/"): leaf for name, leaf in changes.items()}
    return {"decoder": tree({path: leaf for path, leaf in leaves.items() if leaf is not None})}


@pytest.fixture
def read(tmp_path):
    """Read bytes, or a tree, as a checkpoint."""

    def from_content(content, **settings):
        path = tmp_path / "checkpoint"
        path.write_bytes(content if isinstance(content, bytes) else msgpack.packb(content))
        return read_flax_checkpoint(path, **settings)

    return from_content


def by_length(arrays):
    """Flat vector in the order of `tiny_arrays`, which starts with the embedding as ours does."""
    return np.concatenate([np.ravel(values) for values in arrays.values()])


@pytest.mark.parametrize("name", EXPECTED)
def test_agrees_with_flax(name):
    """Log-likelihoods of tokens and of sequences, padded or not, are those that Flax computed."""
    case = EXPECTED[name]
    tokens = np.array(case["tokens"])
    checkpoint = read_flax_checkpoint(FOLDER / name, max_length=tokens.shape[1])
    assert {key: getattr(checkpoint.config, key) for key in case["sizes"]} == case["sizes"]
    assert (checkpoint.step, checkpoint.config.max_length) == (case["step"], tokens.shape[1])
    assert checkpoint.parameters.dtype == np.float32
    assert checkpoint.parameters.shape == (parameter_count(checkpoint.config),)
    ours = token_log_probs(checkpoint.config, checkpoint.parameters, tokens)
    np.testing.assert_allclose(ours[tokens > 0], np.concatenate(case["token_log_probs"]), rtol=RELATIVE)
    sums = [math.fsum(row) for row in case["token_log_probs"]]
    np.testing.assert_allclose(
        sequence_log_probs(checkpoint.config, checkpoint.parameters, tokens), sums, rtol=RELATIVE
    )


def test_expected_numbers_cover_padding():
    """The sequences have every length from one to the maximum, and one has padding in its middle."""
    for case in EXPECTED.values():
        tokens = np.array(case["tokens"])
        assert {*(tokens[:-1] > 0).sum(axis=1)} == {*range(1, tokens.shape[1] + 1)}
        assert (tokens[-1, :-1] == 0).any()
        assert tokens[-1, -1] > 0


SWAPS = [
    ("query", "key"), ("query", "value"), ("value", "out"),
    ("attention_norm/scale", "mlp_norm/scale"), ("attention_norm/bias", "mlp_norm/bias"),
]  # fmt: skip


@pytest.mark.parametrize("swap", SWAPS)
def test_agreement_sees_swapped_arrays(swap):
    """Control: two arrays of one shape in each other's place are far outside the tolerance."""
    case = EXPECTED["train_state_2023"]
    checkpoint = read_flax_checkpoint(FOLDER / "train_state_2023")
    views = named_views(checkpoint.config, checkpoint.parameters)
    first, second = (next(name for name in views if name.endswith(ending)) for ending in swap)
    views[first][...], views[second][...] = views[second].copy(), views[first].copy()
    ours = sequence_log_probs(checkpoint.config, checkpoint.parameters, np.array(case["tokens"]))
    assert np.abs(ours / [math.fsum(row) for row in case["token_log_probs"]] - 1.0).max() > 100 * RELATIVE


def test_agreement_sees_another_order_of_heads():
    """Control: head after head is the order; feature after feature, which fits as well, is not."""
    case = EXPECTED["train_state_2023"]
    checkpoint = read_flax_checkpoint(FOLDER / "train_state_2023")
    heads, width = checkpoint.config.heads, checkpoint.config.embedding_dim
    for name, array in named_views(checkpoint.config, checkpoint.parameters).items():
        if name.endswith(("query", "key")):
            array[...] = array.reshape(width, heads, -1).swapaxes(1, 2).reshape(width, width)
    ours = sequence_log_probs(checkpoint.config, checkpoint.parameters, np.array(case["tokens"]))
    assert np.abs(ours / [math.fsum(row) for row in case["token_log_probs"]] - 1.0).max() > 100 * RELATIVE


@pytest.mark.parametrize("outer", [lambda p: p, lambda p: {"params": p}, lambda p: {"params": {"params": p}}])
def test_order_of_entries_by_hand(read, outer):
    """Entries that count upwards in the order of the flat vector arrive in that order, wherever the parameters lie."""
    checkpoint = read(outer(tiny()), max_length=7)
    np.testing.assert_array_equal(checkpoint.parameters, by_length(tiny_arrays()))
    config = checkpoint.config
    sizes = (config.vocabulary_size, config.embedding_dim, config.layers, config.heads, config.mlp_dim)
    assert sizes == (VOCABULARY, WIDTH, 1, HEADS, MLP)
    assert (config.max_length, checkpoint.step) == (7, None)


ENCODINGS = {
    "float16": lambda values: encoded(values, "float16"),
    "float64": lambda values: encoded(values, "float64"),
    "boxed": lambda values: {"value": encoded(values)},
    "chunked": lambda values: chunked(values, 3),
    "boxed and chunked": lambda values: {"value": chunked(values, 1)},
}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_encodings_by_hand(read, encoding):
    """However an array is written, it is the same array."""
    np.testing.assert_array_equal(read(tiny(ENCODINGS[encoding])).parameters, by_length(tiny_arrays()))


def test_bfloat16_by_hand(read):
    """The upper half of a float32's bits: 1, -2.5, the largest finite number, the smallest subnormal one."""
    bits = np.array([0x3F80, 0xC020, 0x7F7F, 0x0001], dtype="<u2")
    bias = raw_array([4], "bfloat16", bits.tobytes())
    scale = read(tiny(encoderdecoder_norm__bias=bias))
    values = named_views(scale.config, scale.parameters)["final_norm/bias"]
    assert values.tolist() == [1.0, -2.5, (2.0 - 2.0**-7) * 2.0**127, 2.0**-133]


def test_both_generations_have_the_same_parameters(read):
    """The attention's module has two names."""
    leaves = {path.replace("SelfAttention_0", "MultiHeadDotProductAttention_0"): encoded(values)
              for path, values in tiny_arrays().items()}  # fmt: skip
    np.testing.assert_array_equal(read({"decoder": tree(leaves)}).parameters, read(tiny()).parameters)


@pytest.mark.parametrize(
    "step",
    [7, encoded(7, "int32"), encoded(7, "int64", code=3), encoded(7, "uint8")],
    ids=["int", "0-d", "scalar", "u1"],
)
def test_step_by_hand(read, step):
    assert read({"step": step, "params": tiny(), "opt_state": {}}).step == 7


def test_optimiser_is_passed_over(read):
    """What lies beside the parameters may be anything that msgpack can say, in any place."""
    anything = {
        "0": [1, [None, {"a": 2.5}]],
        "1": msgpack.ExtType(77, b"?"),
        "2": b"bytes",
        "3": encoded([1 + 2j], "complex64"),
    }
    state = {"opt_state": anything, "params": tiny(), "rng": encoded([1, 2], "uint32"), "step": 1}
    np.testing.assert_array_equal(read(state).parameters, read(tiny()).parameters)


def test_numbers_beside_arrays_are_read():
    """Every kind of value that Flax writes comes back: arrays, NumPy scalars, complex numbers, numbers, text, None."""
    values = {
        "complex": msgpack.ExtType(2, msgpack.packb([1.5, -2.0])), "scalar": encoded(3, "int16", code=3),
        "truth": encoded([True, False], "bool"), "array": encoded([[1 + 2j]], "complex64"),
        "float": 0.5, "none": None, "text": "τ",
    }  # fmt: skip
    content = msgpack.packb({"kept": values, "other": 1})
    state = read_state(io.BytesIO(content), len(content), keep={"kept"})
    assert state.keys() == {"kept"}
    kept = {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in state["kept"].items()}
    assert kept == {
        "complex": 1.5 - 2.0j, "scalar": 3, "truth": [True, False], "array": [[1 + 2j]],
        "float": 0.5, "none": None, "text": "τ",
    }  # fmt: skip


def test_folder_gives_the_largest_step(tmp_path):
    """By number, not by name; other files in the folder do not count."""
    content = {step: msgpack.packb({"step": step, "params": tiny()}) for step in (9, 10, 100)}
    for step in (100, 9, 10):
        (tmp_path / f"checkpoint_{step}").write_bytes(content[step])
    for other in ("checkpoint_tmp", "checkpoint_200.orbax-checkpoint-tmp-1", "xcheckpoint_300", "checkpoint_400_gda"):
        (tmp_path / other).write_bytes(b"?")
    assert read_flax_checkpoint(tmp_path).step == 100
    assert read_flax_checkpoint(str(tmp_path / "checkpoint_9")).step == 9


def folder_of(*names):
    def make(path):
        for name in names:
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(b"{}")

    return make


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (folder_of(), "must hold a file `checkpoint_<step>`; there is none"),
        (folder_of("checkpoint_tmp", "notes.txt"), "must hold a file `checkpoint_<step>`; there is none"),
        (folder_of("_CHECKPOINT_METADATA", "default/manifest.ocdbt"), "it is a folder of Orbax"),
        (folder_of("checkpoint_3/_METADATA", "checkpoint_3/d/0"), "checkpoint_3: .* it is a folder of Orbax"),
    ],
)
def test_folder_without_a_checkpoint(tmp_path, make, message):
    make(tmp_path)
    with pytest.raises(CheckpointError, match=message):
        read_flax_checkpoint(tmp_path)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_flax_checkpoint(tmp_path / "none")


@pytest.mark.parametrize(("value", "kind"), [(0, ValueError), (-1, ValueError), (2.5, TypeError)])
def test_max_length_is_checked_first(tmp_path, value, kind):
    with pytest.raises(kind, match="`max_length`"):
        read_flax_checkpoint(tmp_path / "none", max_length=value)


def zip_archive():
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("a", "b")
    return content.getvalue()


QUERY = "encoderdecoderblock_0/SelfAttention_0/query/kernel"
FOREIGN = {
    "empty": (b"", "it is empty"),
    "zip": (zip_archive(), "it is a zip archive"),
    "gzip": (b"\x1f\x8b\x08\x00", "it is compressed with gzip"),
    "HDF5": (b"\x89HDF\r\n\x1a\n", "it is an HDF5 file"),
    "JSON": (b'{"params": {}}', "it is JSON"),
    "pickle": (b"\x80\x04\x95\x00", "it is a pickle"),
    "text": (b"Once upon a time", r"begins with b'Once'"),
    "a number": (msgpack.packb(5), "must be a Flax msgpack file, which begins with a map"),
    "a list": (msgpack.packb([tiny()]), "which begins with a map"),
    "an array": (msgpack.packb(encoded([1.0])), "which begins with a map"),
    "empty map": (msgpack.packb({}), "`decoder` is missing"),
    "another map": (msgpack.packb({"weights": {"a": 1}}), "`decoder` is missing"),
    "parameters of something else": ({"params": {"Dense_0": {"kernel": encoded([[1.0]])}}}, "`decoder` is missing"),
    "no parameters": ({"params": None, "step": 3}, "`decoder` is missing"),
    "parameters are a number": ({"decoder": 1.5}, "`decoder` must be an array; got 1.5"),
    "trailing bytes": (msgpack.packb(tiny()) + b"\xc0\xc0", "2 bytes follow after the end"),
    "names that are numbers": (msgpack.packb({1: 2}), "the state has a name that is not text"),
    "a name twice": (b"\x82" + 2 * (msgpack.packb("step") + msgpack.packb(1)), "has the name 'step' twice"),
    "not UTF-8": (b"\x81\xa1\xff\xc0", "is not valid msgpack .*utf-8"),
    "a reserved byte": (b"\x81" + msgpack.packb("step") + b"\xc1", "`step` is not valid msgpack"),
    "a long name": ({"n" * 101: 1}, "the state is not valid msgpack .101 exceeds max_str_len.100"),
    "a list inside": ({"params": [tiny()]}, "`params` is a list"),
    "Orbax's placeholder": (tiny(logitdense__bias="PLACEHOLDER://b"), "'PLACEHOLDER://b'; Orbax keeps it in another"),
    "missing array": (tiny(logitdense__bias=None), "`decoder/logitdense/bias` is missing"),
    "missing arrays": ({"decoder": {}}, "`decoder/Embed_0/embedding`, .* and 14 more are missing"),
    "missing layer": (
        {"decoder": tiny()["decoder"] | {"encoderdecoderblock_2": tiny()["decoder"]["encoderdecoderblock_0"]}},
        "`decoder/encoderdecoderblock_1/LayerNorm_0/scale`.* are missing",
    ),
    "absurd layer": (
        {"decoder": tiny()["decoder"] | {f"encoderdecoderblock_{10**30}": tiny()["decoder"]["encoderdecoderblock_0"]}},
        "`decoder/encoderdecoderblock_1000.* are no part of the LM1B example's model",
    ),
    "learnt positions": (
        tiny(posembed_output__pos_embedding=encoded(np.ones((1, 2, 4)))),
        "`decoder/posembed_output/pos_embedding` is no part of the LM1B example's model",
    ),
    "attention's biases": (
        tiny(encoderdecoderblock_0__SelfAttention_0__query__bias=encoded(np.ones((2, 2)))),
        "SelfAttention_0/query/bias` is no part",
    ),
    "replicated arrays": (
        tiny(Embed_0__embedding=encoded(np.ones((8, 3, 4)))), r"embedding` must have 2 axes; got shape \(8, 3, 4\)"
    ),
    "another width": (tiny(**{QUERY: encoded(np.ones((4, 2, 3)))}), "as wide as the embedding, 4; got 2 heads of 3"),
    "another shape": (
        tiny(logitdense__bias=encoded(np.ones(5))), r"`decoder/logitdense/bias` must have shape \(3,\); got \(5,\)"
    ),
    "another order of axes": (
        tiny(encoderdecoderblock_0__SelfAttention_0__out__kernel=encoded(np.ones((4, 2, 2)))),
        r"out/kernel` must have shape \(2, 2, 4\); got \(4, 2, 2\)",
    ),
    "one token": (
        tiny(Embed_0__embedding=encoded(np.ones((1, 4)))), "none of a model .`vocabulary_size` must be at least 2"
    ),
    "integers": (tiny(logitdense__bias=encoded([1, 2, 3], "int32")), "bias` must be floating point; got int32"),
    "complex numbers": (tiny(logitdense__bias=encoded([1, 2, 3], "complex64")), "floating point; got complex64"),
    "a complex number": (
        tiny(logitdense__bias=msgpack.ExtType(2, msgpack.packb([1.0, 2.0]))), "must be an array; got .1.2j"
    ),
    "NaN": (tiny(logitdense__bias=encoded([1.0, math.nan, 3.0])), "bias` must be finite in float32; got nan"),
    "above float32": (tiny(logitdense__bias=encoded([1, 1e39, 3], "float64")), "must be finite in float32; got inf"),
    "step of many": ({"step": encoded([3, 3], "int32"), "params": tiny()}, "`step` must be a whole number"),
    "step not whole": ({"step": 2.5, "params": tiny()}, "`step` must be a whole number; got float"),
    "step of truth": ({"step": True, "params": tiny()}, "`step` must be a whole number"),
    "step of text": ({"step": "7", "params": tiny()}, "`step` must be a whole number"),
    "step of map": ({"step": {}, "params": tiny()}, "`step` must be a whole number"),
    "unknown extension": (tiny(logitdense__bias=msgpack.ExtType(9, b"")), "extension type 9, which is none of Flax's"),
    "a date": (tiny(logitdense__bias=msgpack.Timestamp(1)), "logitdense/bias` must be an array; got Timestamp"),
    "halves of a complex number": (
        tiny(logitdense__bias=msgpack.ExtType(2, msgpack.packb([1.0, "i"]))), "must be a complex number, two floats"
    ),
    "no fields": (tiny(logitdense__bias=msgpack.ExtType(1, b"")), "logitdense/bias` does not hold an array"),
    "too few fields": (
        tiny(logitdense__bias=msgpack.ExtType(1, msgpack.packb([[3], "float32"]))), "does not hold the 3 fields"
    ),
    "objects": (tiny(logitdense__bias=raw_array([3], "object", bytes(24))), "must have a dtype of numbers; got object"),
    "no dtype": (tiny(logitdense__bias=raw_array([3], 4, bytes(12))), "must have a dtype of numbers; got 4"),
    "no bytes": (tiny(logitdense__bias=raw_array([3], "float32", 12)), "must hold its entries as bytes; got 12"),
    "too few bytes": (
        tiny(logitdense__bias=raw_array([3], "float32", bytes(8))),
        r"declares shape \(3,\) of float32, which takes 12 bytes; it holds 8",
    ),
    "too many bytes": (tiny(logitdense__bias=raw_array([3], "float32", bytes(16))), "takes 12 bytes; it holds 16"),
    "no shape": (tiny(logitdense__bias=raw_array(3, "float32", bytes(12))), "a shape of whole numbers; got 3"),
    "shape of truth": (tiny(logitdense__bias=raw_array([True], "float32", bytes(4))), "a shape of whole numbers"),
    "negative shape": (tiny(logitdense__bias=raw_array([-1, -3], "float32", bytes(12))), "shape of whole numbers"),
    "chunks without shape": (
        tiny(logitdense__bias={"__msgpack_chunked_array__": True, "chunks": {"0": encoded([1.0])}}),
        "bias/shape` must be a map; got None",
    ),
    "chunks without chunks": (
        tiny(logitdense__bias={"__msgpack_chunked_array__": True, "shape": {"0": 3}}), "bias/chunks` must be a map"
    ),
    "no chunk": (
        tiny(logitdense__bias={"__msgpack_chunked_array__": True, "shape": {"0": 0}, "chunks": {}}), "hold 0 entries"
    ),
    "a chunk is missing": (
        tiny(logitdense__bias=chunked(np.ones(3), 1) | {"chunks": {"0": encoded([1.0]), "2": encoded([1.0])}}),
        "`decoder/logitdense/bias/chunks/1` is missing",
    ),
    "chunks are too short": (
        tiny(logitdense__bias=chunked(np.ones(3), 2) | {"chunks": {"0": encoded([1.0])}}),
        r"declares shape \(3,\); its chunks hold 1 entries",
    ),
    "chunks of different kinds": (
        tiny(logitdense__bias=chunked(np.ones(3), 2) | {"chunks": {"0": encoded([1.0]), "1": encoded([1], "int8")}}),
        "chunks/1` must be float32 like the first; got int8",
    ),
    "chunks are tables": (
        tiny(logitdense__bias=chunked(np.ones(3), 3) | {"chunks": {"0": encoded(np.ones((3, 1)))}}),
        "chunks/0` must be an array with one axis",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", FOREIGN)
def test_what_a_wrong_file_is_told(read, tmp_path, case):
    """The message begins with the file's path and says what is missing or wrong."""
    content, message = FOREIGN[case]
    with pytest.raises(CheckpointError, match=message) as caught:
        read(content)
    assert str(caught.value).startswith(f"{tmp_path / 'checkpoint'}: ")


def test_tiny_checkpoint_is_read(read):
    """Control: without a change, the tree of the cases above is a checkpoint."""
    assert isinstance(read(tiny()), FlaxCheckpoint)


NAME, STEP = msgpack.packb("params"), msgpack.packb("step")
MANY = b"\xff\xff\xff\xff"
# Maps and lists that hold one value each, far deeper than any checkpoint; the skipped entry and the one that is read.
BOMBS = {
    **{f"{kind} in {entry}": b"\x81" + msgpack.packb(entry) + opening * 100_000
       for kind, opening in [("maps", b"\x81\xa1a"), ("lists", b"\x91")] for entry in ("params", "opt_state")},
    "entries at the root": b"\xdf" + MANY + NAME + b"\xc0",
    "entries of a map": b"\x81" + NAME + b"\xdf" + MANY + b"\xa1a\xc0",
    "entries of a list": b"\x81" + NAME + b"\xdd" + MANY + b"\xc0",
    "bytes of an array": b"\x81" + NAME + b"\xc9\xff\xff\xff\xf0\x01" + bytes(20),
    "all the bytes": b"\x81" + NAME + b"\xc9" + MANY + b"\x01" + bytes(20),
    "all the bytes, skipped": b"\x82" + msgpack.packb("opt_state") + b"\xc9" + MANY + b"\x01" + b"\xc0" * 20,
    "bytes of a text": b"\x81" + NAME + b"\xdb" + MANY + b"aaaa",
    "bytes of a name": b"\x81\xdb" + MANY + b"aaaa",
    "nested lists of many": b"\x81" + STEP + (b"\xdd" + struct.pack(">I", 60_000)) * 20_000,
    "lists in an array": msgpack.packb({"step": msgpack.ExtType(1, (b"\xdd" + struct.pack(">I", 60_000)) * 20_000)}),
    "deep lists in an array": msgpack.packb({"step": msgpack.ExtType(1, b"\x91" * 100_000)}),
    "shape beyond 64 bits": msgpack.packb(tiny(logitdense__bias=raw_array([2**62, 2**62], "float32", bytes(12)))),
    "shape that overflows to 12": msgpack.packb(tiny(logitdense__bias=raw_array([2**62 + 3], "float32", bytes(12)))),
    "shape that overflows to 0": msgpack.packb(tiny(logitdense__bias=raw_array([2**32, 2**32], "float32", b""))),
    "shape with a zero": msgpack.packb(tiny(logitdense__bias=raw_array([2**63 - 1, 0], "float32", b""))),
    "shape of many axes": msgpack.packb(tiny(logitdense__bias=raw_array([1] * 40_000, "float32", bytes(4)))),
    "shape of chunks": msgpack.packb(tiny(logitdense__bias=chunked([1.0], 1) | {"shape": {"0": 2**40, "1": 2**40}})),
    "chunks": msgpack.packb({"decoder": {"__msgpack_chunked_array__": True, "chunks": {}}})[:-1] + b"\xdf" + MANY,
}  # fmt: skip


def peak_of_a_refusal(read, content):
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError):
            read(content)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("bomb", BOMBS)
def test_declared_sizes_allocate_nothing(read, bomb):
    """Whatever a file declares, it is refused, and memory stays below a few times the file's size."""
    # Threads that other tests left behind are counted too: the least of three is the reader's own.
    peak = min(peak_of_a_refusal(read, BOMBS[bomb]) for _ in range(3))
    # Two thirds of a megabyte cover the unpacker's own buffer and small objects.
    assert peak < 700_000 + 4 * len(BOMBS[bomb])


def test_memory_check_sees_a_trusting_reader():
    """Control: nested lists, unpacked without a limit, take far more than the bound above."""
    bomb = (b"\xdd" + struct.pack(">I", 60_000)) * 200 + bytes(60_000)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="incomplete"):
            msgpack.unpackb(bomb)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak > 5 * (700_000 + 4 * len(bomb))


def test_number_of_entries_is_bounded(read, monkeypatch):
    """Small entries would take many times their bytes as Python's objects: their number has a limit."""
    monkeypatch.setattr(flax_msgpack, "_MOST_ENTRIES", 40)
    assert isinstance(read(tiny()), FlaxCheckpoint)
    crowded = tiny() | {"params": {str(i): {} for i in range(30)}}
    with pytest.raises(CheckpointError, match="takes the number of entries above 40"):
        read(crowded)


def hand_written():
    """A short file with every construct of the format."""
    leaves = tiny(
        lambda values: {"value": encoded(values, "bfloat16")}, logitdense__bias={"value": chunked(np.ones(3), 2)}
    )
    return msgpack.packb({"step": encoded(3, "int32"), "params": leaves, "opt_state": {"0": {"count": 3}, "1": {}}})


SHORT_FILES = {"by hand": hand_written(), "by Flax": (FOLDER / "bare_2023.msgpack").read_bytes()}


def outcome(content):
    """What a damaged file leads to: "refused" with the documented error, or "read" as a sound checkpoint."""
    try:
        checkpoint = checkpoint_from(io.BytesIO(content), len(content), max_length=5)
    except CheckpointError:
        return "refused"
    assert checkpoint.parameters.shape == (parameter_count(checkpoint.config),)
    assert np.isfinite(checkpoint.parameters).all()
    return "read"


@pytest.mark.parametrize("name", SHORT_FILES)
def test_every_truncated_file_is_refused(name):
    """Each proper prefix gets the documented error, and nothing else is raised."""
    content = SHORT_FILES[name]
    assert outcome(content) == "read"
    assert {outcome(content[:length]) for length in range(len(content))} == {"refused"}


@pytest.mark.parametrize("change", [0x01, 0x80, 0xFF])
def test_every_changed_byte_is_survived(change):
    """One changed byte anywhere gives the documented error, or a checkpoint with another number in it."""
    content = SHORT_FILES["by hand"]
    outcomes = set()
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= change
        outcomes.add(outcome(bytes(damaged)))
    assert outcomes == {"read", "refused"}


@given(
    changes=st.lists(st.tuples(st.integers(0, 2**20), st.integers(0, 255)), min_size=1, max_size=8),
    cuts=st.none() | st.tuples(st.integers(0, 2**20), st.integers(0, 2**20)),
)
def test_damaged_files_of_flax_are_survived(changes, cuts):
    """Any bytes changed, any part lost or doubled: the documented error, or a sound checkpoint."""
    damaged = bytearray(SHORT_FILES["by Flax"])
    for place, value in changes:
        damaged[place % len(damaged)] = value
    if cuts is not None:
        damaged = damaged[: cuts[0] % len(damaged)] + damaged[cuts[1] % len(damaged) :]
    assert outcome(bytes(damaged)) in {"read", "refused"}
