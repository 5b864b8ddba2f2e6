"""Encodes documents with a BPE, or trains one on them: tokenizers or tiktoken."""

import json
import os

from common import answer, job, timed

with open(job["documents"]) as file:
    documents = json.load(file)


def byte_of_character():
    """GPT-2's alphabet: the character that stands for each byte in a tokenizer.json."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {**{chr(byte): byte for byte in printable}, **{chr(256 + k): byte for k, byte in enumerate(others)}}


def tiktoken_encoding(path):
    import tiktoken

    with open(path) as file:
        fields = json.load(file)
    special = {token["content"]: token["id"] for token in fields["added_tokens"]}
    byte_of = byte_of_character()
    vocabulary = {token: id for token, id in fields["model"]["vocab"].items() if token not in special}
    return tiktoken.Encoding(
        name="peers",
        # GPT-2's, which a pre-tokenizer of the type ByteLevel has.
        pat_str=r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s""",
        mergeable_ranks={bytes(byte_of[character] for character in token): id for token, id in vocabulary.items()},
        special_tokens=special,
    )


def encoder():
    """From texts to lists of ids."""
    path = os.path.join(job["tokenizer"], "tokenizer.json")
    if job["library"] == "tiktoken":
        encoding = tiktoken_encoding(path)
        return lambda texts: encoding.encode_ordinary_batch(texts, num_threads=job["threads"])
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(path)
    return lambda texts: [encoding.ids for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]


def summary(ids):
    sums = [sum(id * (k + 1) for k, id in enumerate(document)) % 1_000_003 for document in ids[:1000]]
    return {"tokens": [sum(map(len, ids))], "sums": sums}


def train():
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=job["vocabSize"],
        min_frequency=2,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(documents, trainer)
    return tokenizer


if job["task"] == "encode":
    encode = encoder()
    outputs = summary(encode(documents))
    seconds = timed(lambda: encode(documents))
else:
    outputs = {}
    if job["check"]:
        outputs["tokens"] = [sum(len(encoding.ids) for encoding in train().encode_batch(documents[:250]))]
    seconds = timed(train)
answer(seconds, outputs, job["library"])
