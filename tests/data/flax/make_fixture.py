"""Write this folder's checkpoints with Flax: ``python make_fixture.py 2023`` and ``python make_fixture.py today``.

The first is meant for Flax 0.6 of 2023, the second for a current release. Each adds what it made to ``expected.json``.
The tests read the files only, so that they need neither Flax nor JAX.
"""

import json
import sys
from functools import partial
from pathlib import Path

import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax import serialization
from flax.training import checkpoints, train_state

FOLDER = Path(__file__).parent
SIZES = {"vocabulary_size": 29, "embedding_dim": 12, "layers": 2, "heads": 3, "mlp_dim": 20}
OTHER_SIZES = {"vocabulary_size": 17, "embedding_dim": 8, "layers": 1, "heads": 2, "mlp_dim": 12}
LENGTH = 12
# Arrays of more bytes than this are chunked, in the file of today's release.
CHUNK_BYTES = 500


def sinusoids(length, width):
    """Sines of each position in the first half of the features, cosines in the second."""
    half = width // 2
    frequencies = np.exp(np.arange(half) * (-np.log(10_000.0) / (half - 1)))
    angles = np.arange(length)[:, None] * frequencies
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)


def initialiser(init, names, boxed):
    """Today's example tells each array the logical names of its axes, which puts it into a box."""
    return nn.with_logical_partitioning(init, names) if boxed else init


class Model(nn.Module):
    """The LM1B example's decoder without dropout; names of modules are those of its parameters."""

    sizes: dict
    boxed: bool

    def dense(self, features, axes, name):
        kernel = initialiser(nn.initializers.xavier_uniform(), axes, self.boxed)
        bias = initialiser(nn.initializers.normal(stddev=1e-6), axes[1:], self.boxed)
        return nn.Dense(features, dtype=jnp.float32, kernel_init=kernel, bias_init=bias, name=name)

    def norm(self, name):
        scale, bias = (
            initialiser(init, ("embed",), self.boxed) for init in (nn.initializers.ones, nn.initializers.zeros)
        )
        return nn.LayerNorm(dtype=jnp.float32, scale_init=scale, bias_init=bias, name=name)


class Mlp(Model):
    @nn.compact
    def __call__(self, x):
        hidden = nn.relu(self.dense(self.sizes["mlp_dim"], ("embed", "mlp"), "Dense_0")(x))
        return self.dense(self.sizes["embedding_dim"], ("mlp", "embed"), "Dense_1")(hidden)


class Block(Model):
    @nn.compact
    def __call__(self, x, mask):
        settings = {
            "num_heads": self.sizes["heads"], "qkv_features": self.sizes["embedding_dim"], "use_bias": False,
            "kernel_init": initialiser(nn.initializers.xavier_uniform(), ("embed", "kv"), self.boxed),
            "dtype": jnp.float32, "deterministic": True,
        }  # fmt: skip
        z = self.norm("LayerNorm_0")(x)
        if self.boxed:
            x = x + nn.MultiHeadDotProductAttention(**settings)(z, mask=mask)
        else:
            x = x + nn.SelfAttention(**settings)(z, mask)
        return x + Mlp(self.sizes, self.boxed, name="MlpBlock_0")(self.norm("LayerNorm_1")(x))


class Decoder(Model):
    @nn.compact
    def __call__(self, tokens):
        visible = tokens > 0
        mask = nn.combine_masks(nn.make_attention_mask(visible, visible), nn.make_causal_mask(tokens))
        before = jnp.pad(tokens, ((0, 0), (1, 0)))[:, :-1]
        width = self.sizes["embedding_dim"]
        table = initialiser(nn.initializers.normal(stddev=1.0), ("vocab", "embed"), self.boxed)
        y = nn.Embed(self.sizes["vocabulary_size"], width, embedding_init=table, name="Embed_0")(before)
        y = (y + sinusoids(tokens.shape[1], width)).astype(jnp.float32)
        for i in range(self.sizes["layers"]):
            y = Block(self.sizes, self.boxed, name=f"encoderdecoderblock_{i}")(y, mask)
        y = self.norm("encoderdecoder_norm")(y)
        return self.dense(self.sizes["vocabulary_size"], ("embed", "vocab"), "logitdense")(y)


class LanguageModel(Model):
    @nn.compact
    def __call__(self, tokens):
        return Decoder(self.sizes, self.boxed, name="decoder")(tokens)


def random_sequences(rng, count, vocabulary_size):
    """Sequences of every length, filled up with the padding token 0."""
    tokens = rng.integers(1, vocabulary_size, size=(count, LENGTH))
    ends = 1 + rng.permutation(count) % LENGTH
    return np.where(np.arange(LENGTH) < ends[:, None], tokens, 0)


def token_log_probs(model, params, tokens):
    logits = model.apply({"params": params}, jnp.asarray(tokens))
    return jnp.take_along_axis(nn.log_softmax(logits), jnp.asarray(tokens)[..., None], axis=-1)[..., 0]


def mean_loss(params, model, tokens):
    weights = tokens > 0
    return -(token_log_probs(model, params, tokens) * weights).sum() / weights.sum()


def trained(sizes, boxed, seed, steps=10):
    """A model after some steps, so that no array is as it was initialised: yields the state of each step from 0."""
    rng = np.random.default_rng(seed)
    model = LanguageModel(sizes, boxed)
    params = model.init(jax.random.PRNGKey(seed), jnp.ones((1, LENGTH), jnp.int32))["params"]
    params = flax.core.unfreeze(params)
    optimiser = optax.adamw(0.05, b1=0.9, b2=0.98, eps=1e-9, weight_decay=0.1)
    state = train_state.TrainState.create(apply_fn=model.apply, params=params, tx=optimiser)
    gradient = jax.jit(partial(jax.grad(mean_loss), model=model))
    yield state
    for _ in range(steps):
        batch = jnp.asarray(random_sequences(rng, 32, sizes["vocabulary_size"]))
        state = state.apply_gradients(grads=gradient(state.params, tokens=batch))
        yield state


def expected(sizes, boxed, params, seed, step):
    """What the tests compare with: log-likelihoods as Flax has them in float32, token by token."""
    tokens = random_sequences(np.random.default_rng([seed, 1]), LENGTH, sizes["vocabulary_size"])
    # One more sequence has padding in its middle.
    broken = np.arange(LENGTH) % (sizes["vocabulary_size"] - 1) + 1
    broken[[3, 7]] = 0
    tokens = np.concatenate([tokens, broken[None]])
    values = np.asarray(token_log_probs(LanguageModel(sizes, boxed), params, tokens), dtype=np.float64)
    rows = zip(values, tokens, strict=True)
    return {
        "made_with": {"flax": flax.__version__, "jax": jax.__version__, "numpy": np.__version__},
        "sizes": sizes,
        "step": step,
        "tokens": tokens.tolist(),
        "token_log_probs": [row[kept > 0].tolist() for row, kept in rows],
    }


def make_2023():
    flax.config.update("flax_use_orbax_checkpointing", False)
    states = dict(enumerate(trained(SIZES, False, seed=1)))
    for step in (9, 10):
        checkpoints.save_checkpoint(str(FOLDER / "train_state_2023"), states[step], step, keep=2, overwrite=True)
    *_, other = trained(OTHER_SIZES, False, seed=2)
    (FOLDER / "bare_2023.msgpack").write_bytes(serialization.to_bytes(other.params))
    # Orbax as Flax used it in 2023: a folder, in which one file of Flax's format has all arrays.
    flax.config.update("flax_use_orbax_checkpointing", True)
    checkpoints.save_checkpoint(str(FOLDER / "orbax_2023"), other, 10, overwrite=True)
    return {
        "train_state_2023": expected(SIZES, False, states[10].params, 1, 10),
        "train_state_2023/checkpoint_9": expected(SIZES, False, states[9].params, 1, 9),
        "orbax_2023": expected(OTHER_SIZES, False, other.params, 2, 10),
        "bare_2023.msgpack": expected(OTHER_SIZES, False, other.params, 2, None),
    }


def make_today():
    *_, state = trained(SIZES, True, seed=3)
    serialization.MAX_CHUNK_SIZE = CHUNK_BYTES
    (FOLDER / "chunked_train_state_today.msgpack").write_bytes(serialization.to_bytes(state))
    serialization.MAX_CHUNK_SIZE = 2**30
    *_, other = trained(SIZES, True, seed=4)
    halved = jax.tree_util.tree_map(lambda array: array.astype(jnp.bfloat16), other.params)
    (FOLDER / "bfloat16_today.msgpack").write_bytes(serialization.to_bytes({"params": halved}))
    return {
        "chunked_train_state_today.msgpack": expected(SIZES, True, state.params, 3, 10),
        "bfloat16_today.msgpack": expected(SIZES, True, halved, 4, None),
    }


def main():
    made = {"2023": make_2023, "today": make_today}[sys.argv[1]]()
    path = FOLDER / "expected.json"
    known = json.loads(path.read_text("utf-8")) if path.exists() else {}
    lines = (f"{json.dumps(name)}: {json.dumps(entry)}" for name, entry in sorted({**known, **made}.items()))
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
