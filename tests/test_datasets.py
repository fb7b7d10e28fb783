"""Files in, shards out: the rows that went in are the rows that come out, whatever the files, the
threads and the accidents."""

import errno
import gzip
import io
import json
import os
import pickle
import random
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from base64 import b64encode
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from processes import environment, run
from strategies import random_texts

import harmony
from harmony import DatasetError, Tokenizer, cli, datasets, shards, sources
from harmony.datasets import encode_dataset
from harmony.errors import VocabularyError

FORMATS = ["parquet", "arrow", "npy"]
SMALL_CHUNKS = 4096


@pytest.fixture
def small_chunks(monkeypatch):
    """Many chunks and shards without much text."""
    monkeypatch.setattr(sources, "CHUNK_BYTES", SMALL_CHUNKS)


@pytest.fixture(scope="module")
def texts():
    made = list(random_texts(1_500, seed=11))
    return [*made, "", "x", "long " * 20_000, "<|start|> is text here", *made[:200]]


def as_lines(texts, **more):
    return "".join(
        json.dumps({"id": i, **more, "text": text}) + "\n" for i, text in enumerate(texts)
    )


def write_arrow(path, table, **more):
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table, **more)


def peak_memory(path, out, **arguments):
    """Kilobytes that a process holds at its peak, in which a job runs."""
    program = (
        "import json, sys; from harmony import datasets\n"
        "datasets.encode_dataset(*sys.argv[1:3], **json.loads(sys.argv[3]))\n"
        "print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"
    )
    return int(run(program, str(path), str(out), json.dumps(arguments)))


def write(path, texts):
    """The same rows as any kind of file."""
    table = pa.table({"id": range(len(texts)), "text": texts})
    name = path.name
    if name.endswith(".jsonl"):
        path.write_text(as_lines(texts))
    elif name.endswith(".jsonl.gz"):
        path.write_bytes(gzip.compress(as_lines(texts).encode()))
    elif name.endswith(".jsonl.zst"):
        with pa.CompressedOutputStream(str(path), "zstd") as stream:
            stream.write(as_lines(texts).encode())
    elif name.endswith(".parquet"):
        pq.write_table(table, path, row_group_size=300)
    elif name.endswith(".stream.arrow"):
        with pa.ipc.new_stream(path, table.schema) as writer:
            writer.write_table(table, max_chunksize=200)
    elif name.endswith(".arrow"):
        write_arrow(path, table, max_chunksize=200)
    else:
        pyarrow.feather.write_feather(table, path)
    return path


KINDS = [
    "a.jsonl",
    "a.jsonl.gz",
    "a.jsonl.zst",
    "a.parquet",
    "a.arrow",
    "a.stream.arrow",
    "a.feather",
]


def content(folder):
    return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}


def check(dataset, encoding, texts):
    assert len(dataset) == len(texts)
    expected = [encoding.encode(text, disallowed_special=()) for text in texts]
    assert [row["ids"].tolist() for row in dataset] == expected
    assert [ids.tolist() for ids, _ in dataset.rows()] == expected
    assert dataset.n_tokens == sum(map(len, expected))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file(tmp_path, small_chunks, encoding, texts, kind):
    path = write(tmp_path / kind, texts)
    out = encode_dataset(path, tmp_path / "out", shard_tokens=9_000)
    check(out, encoding, texts)
    assert len(out.manifest["shards"]) > 2


@pytest.mark.parametrize("file_format", FORMATS)
def test_every_format_out(tmp_path, small_chunks, encoding, texts, file_format):
    path = write(tmp_path / "a.jsonl", texts)
    made = encode_dataset(path, tmp_path / "out", format=file_format, shard_tokens=9_000)
    check(made, encoding, texts)
    again = datasets.open(tmp_path / "out")
    check(again, encoding, texts)
    row = again[5]["ids"]
    assert row.dtype == np.uint32
    if file_format != "parquet":
        assert not row.flags.owndata, "a view of the mapped file"
    last = len(texts) - 1
    assert again[-1]["ids"].tolist() == again[last]["ids"].tolist()
    assert [r["ids"].tolist() for r in again[3:5]] == [again[i]["ids"].tolist() for i in (3, 4)]
    picked = again[np.array([7, 0, last])]
    assert [r["ids"].tolist() for r in picked] == [again[i]["ids"].tolist() for i in (7, 0, last)]
    # What iterating over a tensor of torch gives.
    assert again[np.array(7)]["ids"].tolist() == again[7]["ids"].tolist()
    with pytest.raises(IndexError):
        again[len(texts)]
    as_int64 = pickle.loads(pickle.dumps(datasets.open(tmp_path / "out", dtype=np.int64)))
    assert as_int64[5]["ids"].dtype == np.int64
    assert as_int64[5]["ids"].tolist() == row.tolist()


def test_flat_files_are_plain_arrays(tmp_path, small_chunks, encoding, texts):
    path = write(tmp_path / "a.jsonl", texts)
    encode_dataset(path, tmp_path / "out", format="npy", shard_tokens=9_000)
    batch = encoding.encode_batch_to_numpy(texts, disallowed_special=())
    n_rows = 0
    ids = []
    for shard in json.loads((tmp_path / "out" / "manifest.json").read_text())["shards"]:
        ids.append(np.load(tmp_path / "out" / f"{shard['name']}.ids.npy"))
        offsets = np.load(tmp_path / "out" / f"{shard['name']}.offsets.npy")
        expected = batch.offsets[n_rows : n_rows + len(offsets)]
        assert offsets.tolist() == (expected - expected[0]).tolist()
        n_rows += len(offsets) - 1
    assert np.concatenate(ids).tolist() == batch.ids.tolist()


def test_parquet_files_are_read_by_anyone(tmp_path, encoding):
    path = write(tmp_path / "a.jsonl", ["hello world", ""])
    encode_dataset(path, tmp_path / "out")
    table = pq.read_table(tmp_path / "out" / "shard-00000.parquet")
    assert table.to_pydict() == {"ids": [[24912, 2375], []]}
    assert table.schema.field("ids").type == pa.large_list(pa.uint32())


def test_several_files_of_different_kinds(tmp_path, small_chunks, encoding, texts):
    files = [write(tmp_path / kind, texts[i * 50 : i * 50 + 50]) for i, kind in enumerate(KINDS)]
    out = encode_dataset(files, tmp_path / "out", shard_tokens=2_000)
    check(out, encoding, texts[: 50 * len(KINDS)])


@pytest.mark.parametrize("file_format", FORMATS)
def test_the_number_of_threads_changes_nothing(tmp_path, small_chunks, texts, file_format):
    path = write(tmp_path / "a.jsonl", texts)
    for n in (1, 2, 5):
        encode_dataset(
            path, tmp_path / f"out{n}", format=file_format, num_threads=n, shard_tokens=9_000
        )
    assert content(tmp_path / "out1") == content(tmp_path / "out2") == content(tmp_path / "out5")


@pytest.mark.parametrize("kind", KINDS)
def test_files_without_rows(tmp_path, kind):
    path = write(tmp_path / kind, [])
    out = encode_dataset([path, path], tmp_path / "out")
    assert (len(out), out.n_tokens, list(out), out.manifest["shards"]) == (0, 0, [], [])


@pytest.mark.parametrize(
    "text",
    [
        '{"text": "a"}',
        '{"text": "a"}\r\n\r\n  \n{"text": "b", "n": NaN}\n',
        '\ufeff{"text": "a"}\n{"text": "b"}\n',
        '{"text": "\\ud83d\\ude00 \\ud800 \\u0000"}\n',
        '{"text": "twice", "text": "the last counts"}\n',
        '{"a": {"text": 5}, "text": "2024-01-01"}\n{"text": "2024-01-02T00:00:00"}\n',
        '{"text": "' + "a" * 20_000 + '"}\n{"text": "b"}\n',
    ],
)
def test_json_that_is_read_in_two_ways(tmp_path, small_chunks, encoding, text):
    """Arrow reads whole chunks, the standard library single lines: the same rows."""
    path = tmp_path / "a.jsonl"
    path.write_text(text, newline="")
    rows = [json.loads(line)["text"] for line in text.lstrip("\ufeff").split("\n") if line.strip()]
    check(encode_dataset(path, tmp_path / "out"), encoding, rows)


def test_a_row_of_50_megabytes(tmp_path, encoding):
    texts = ["before", "fifty megabytes " * 3_200_000, "after"]
    path = write(tmp_path / "a.jsonl", texts)
    out = encode_dataset(path, tmp_path / "out", format="npy")
    assert encoding.decode(out[1]["ids"]) == texts[1]
    assert [encoding.decode(out[i]["ids"]) for i in (0, 2)] == ["before", "after"]


def test_other_vocabularies_and_fields(tmp_path, base_tokenizer):
    path = tmp_path / "a.jsonl"
    path.write_text('{"body": "hello", "text": 5}\n')
    out = encode_dataset(path, tmp_path / "out", text_field="body", encoding=base_tokenizer)
    assert out[0]["ids"].tolist() == base_tokenizer.encode("hello")
    assert out.manifest["job"]["encoding"] == "o200k_base"


@pytest.mark.parametrize("complete", [True, False], ids=["finished", "stopped"])
def test_a_job_goes_on_with_the_vocabulary_it_began_with(tmp_path, small_chunks, complete):
    ranks = [bytes([byte]) for byte in range(256)] + [b"he", b"hel", b"hello"]

    def load(folder="v", pattern=r"\w+|\W", special_tokens=(("<|x|>", 300),), name="mine"):
        path = tmp_path / folder / "mine.tiktoken"
        path.parent.mkdir(exist_ok=True)
        lines = [f"{b64encode(token).decode()} {rank}\n" for rank, token in enumerate(ranks)]
        path.write_text("".join(lines))
        return Tokenizer.from_tiktoken_file(
            path, pattern=pattern, special_tokens=dict(special_tokens), name=name
        )

    lines = [*as_lines(["hello hello"] * 3_000).splitlines(), *([] if complete else ["{"])]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(lines))

    def encode(tokenizer):
        return encode_dataset(path, tmp_path / "out", encoding=tokenizer, shard_tokens=2_000)

    if complete:
        encode(load())
    else:
        with pytest.raises(DatasetError, match="Expecting"):
            encode(load())
    before = content(tmp_path / "out")
    assert "shard-00000.parquet" in before
    for tokenizer, differ in [
        (load(pattern=r"\w|\W"), "pattern"),
        (load(special_tokens=[("<|x|>", 301)]), "special_tokens"),
        (load(special_tokens=[]), "special_tokens"),
        (load(name="yours"), "encoding"),
        (None, "encoding, sha256, pattern, special_tokens"),
    ]:
        with pytest.raises(DatasetError, match=rf"another job \({differ} differ"):
            encode(tokenizer)
        assert content(tmp_path / "out") == before
    if complete:
        assert encode(load("elsewhere"))[0]["ids"].tolist() == [258, 32, 258]
    else:
        with pytest.raises(DatasetError, match="Expecting"):
            encode(load("elsewhere"))


# Bad rows

BAD_LINES = {
    "{": "Expecting",
    "[1]": "no object",
    '{"text": 5}': "holds int, not text",
    '{"text": null}': "holds null, not text",
    '{"other": "x"}': "no field 'text'",
    '{"text": "a"} {"text": "b"}': "Extra data",
    '{"text": "a\tb"}': "Invalid control character",
    "[" * 100_000: "nested too deeply",
}


@pytest.mark.parametrize("bad, problem", BAD_LINES.items(), ids=range(len(BAD_LINES)))
def test_bad_lines(tmp_path, small_chunks, encoding, bad, problem):
    good = [f"text {i}" for i in range(1_000)]
    lines = as_lines(good).splitlines()
    lines[700:700] = [bad]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(DatasetError, match=problem) as caught:
        encode_dataset(path, tmp_path / "stop", shard_tokens=500)
    assert (caught.value.file, caught.value.row) == (str(path), 701)
    assert f"{path}, row 701: " in str(caught.value)
    check(encode_dataset(path, tmp_path / "skip", on_bad_row="skip"), encoding, good)
    collected = encode_dataset(path, tmp_path / "collect", on_bad_row="collect", shard_tokens=500)
    check(collected, encoding, good)
    assert collected.n_rejected == 1
    (reject,) = [json.loads(x) for x in (tmp_path / "collect" / "rejects.jsonl").open()]
    assert reject["file"] == str(path)
    assert reject["row"] == 701
    assert problem in reject["error"]
    assert reject["content"] == bad[:10_000]


@pytest.mark.parametrize(
    "lines, n_good, problem",
    [
        ("null", 0, "no object"),
        ("\ufeffnull\n", 0, "no object"),
        (" \tnull\n", 0, "no object"),
        ('null{"text": "a"}\n{"text": "b"}\n', 1, "Extra data"),
    ],
)
def test_a_file_that_begins_with_null(tmp_path, lines, n_good, problem):
    """In a process of its own: Arrow crashes on it."""
    path = tmp_path / "a.jsonl"
    path.write_text(lines)
    program = (
        "import sys; from harmony import datasets\n"
        "datasets.encode_dataset(*sys.argv[1:], on_bad_row='collect')"
    )
    run(program, str(path), str(tmp_path / "out"))
    assert len(datasets.open(tmp_path / "out")) == n_good
    (reject,) = [json.loads(x) for x in (tmp_path / "out" / "rejects.jsonl").open()]
    assert problem in reject["error"]


def test_bytes_that_are_no_utf8(tmp_path, encoding):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "good"}\n{"text": "b\xffd"}\n{"text": "also good"}\n')
    out = encode_dataset(path, tmp_path / "out", on_bad_row="skip")
    check(out, encoding, ["good", "also good"])


NOT_UTF8 = pa.array([b"good", b"b\xffd", None, b"also good"])
VIEWS = NOT_UTF8.cast(pa.binary_view()).view(pa.string_view())
COLUMNS = {
    "a.parquet": NOT_UTF8.view(pa.string()),
    "large.arrow": NOT_UTF8.cast(pa.large_binary()).view(pa.large_string()),
    "views.arrow": VIEWS,
    "dictionary.arrow": pa.DictionaryArray.from_arrays([0, 1, 2, 3], NOT_UTF8.view(pa.string())),
    "dictionary_of_views.arrow": pa.DictionaryArray.from_arrays([0, 1, None, 3], VIEWS),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_a_text_that_is_no_utf8_is_one_bad_row(tmp_path, encoding, name):
    table = pa.table({"text": COLUMNS[name]})
    if name.endswith("arrow"):
        write_arrow(tmp_path / name, table)
    else:
        pq.write_table(table, tmp_path / name)
    out = encode_dataset(tmp_path / name, tmp_path / "out", on_bad_row="collect")
    check(out, encoding, ["good", "also good"])
    rejects = [json.loads(line) for line in (tmp_path / "out" / "rejects.jsonl").open()]
    assert [reject["row"] for reject in rejects] == [2, 3]
    assert "utf-8" in rejects[0]["error"]
    assert rejects[0]["content"] == '{"text": "b\ufffdd"}'
    assert "null" in rejects[1]["error"]


def load_bytes(path, pattern, name):
    path.write_bytes(b"".join(b"%s %d\n" % (b64encode(bytes([i])), i) for i in range(256)))
    return harmony.Tokenizer.from_tiktoken_file(path, pattern=pattern, special_tokens={}, name=name)


@pytest.mark.parametrize("kind", ["a.jsonl", "a.parquet"])
def test_texts_that_a_pattern_does_not_cover(tmp_path, small_chunks, kind):
    """They are bad rows of their file, wherever in a chunk they are."""
    lower = load_bytes(tmp_path / "bytes.tiktoken", r"[a-z]+|\s+", "lower")
    texts = ["hello world"] * 1_000
    texts[700:702] = ["ABC", "aBc"]
    path = write(tmp_path / kind, texts)
    with pytest.raises(DatasetError, match=f"{path}, row 701: the pattern of lower") as caught:
        encode_dataset(path, tmp_path / "stop", encoding=lower)
    assert (caught.value.file, caught.value.row) == (str(path), 701)
    kept = encode_dataset(path, tmp_path / "kept", encoding=lower, on_bad_row="collect")
    check(kept, lower, texts[:700] + texts[702:])
    rejects = [json.loads(line) for line in (tmp_path / "kept" / "rejects.jsonl").open()]
    assert [(reject["file"], reject["row"]) for reject in rejects] == [
        (str(path), 701),
        (str(path), 702),
    ]
    assert "leaves 'Bc' unmatched" in rejects[1]["error"]
    assert '"aBc"' in rejects[1]["content"]


def test_a_damaged_vocabulary_is_no_fault_of_a_row(tmp_path, monkeypatch):
    tokenizer = load_bytes(tmp_path / "bytes.tiktoken", r"(?s:.+)", "bytes")

    def contradict(*_):
        raise VocabularyError("the rank tables contradict themselves")

    monkeypatch.setattr(tokenizer, "_split", contradict)
    path = write(tmp_path / "a.jsonl", ["a", "b"])
    with pytest.raises(VocabularyError, match="contradict"):
        encode_dataset(path, tmp_path / "out", encoding=tokenizer, on_bad_row="skip")


OTHER_FIELDS = [
    *['"\xff"', "1" * 5_000, '{"deep": ' * 50 + "1" + "}" * 50, "[" * 100_000 + "]" * 100_000],
    *["Inf", "-Inf", "Infinity", "NaN", "-NaN", "1e999"],
]


@pytest.mark.parametrize("other", OTHER_FIELDS, ids=range(len(OTHER_FIELDS)))
def test_a_row_is_good_or_bad_by_itself(tmp_path, other):
    """Arrow reads a chunk of good rows at once, Python the rows of any other."""
    row = f'{{"text": "a", "other": {other}}}\n'.encode("latin-1")
    rejected = []
    for name, rows in (("alone", row), ("with", row + b'{"text": 3}\n')):
        (tmp_path / f"{name}.jsonl").write_bytes(rows)
        done = encode_dataset(tmp_path / f"{name}.jsonl", tmp_path / name, on_bad_row="skip")
        rejected.append(done.n_rejected)
    assert rejected[1] == rejected[0] + 1
    assert rejected[0] == (other == OTHER_FIELDS[0]), "bytes that are not UTF-8 are bad anywhere"


@pytest.mark.parametrize("encoding_of_file", ["utf-16-le", "utf-16-be", "utf-32"])
def test_json_in_another_encoding_is_refused(tmp_path, encoding_of_file):
    (tmp_path / "a.jsonl").write_bytes(as_lines(["a", "b"]).encode(encoding_of_file))
    with pytest.raises(DatasetError, match="row 1"):
        encode_dataset(tmp_path / "a.jsonl", tmp_path / "out")


def test_surrogates_as_bytes_are_no_utf8(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'{"text":"ok"}\n{"text":"x\xed\xa0\x80y"}\n')
    with pytest.raises(DatasetError, match=r"row 2.*utf-8"):
        encode_dataset(tmp_path / "a.jsonl", tmp_path / "out")


def test_a_byte_order_mark(tmp_path, encoding):
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + as_lines(["a", "b"]).encode())
    check(encode_dataset(tmp_path / "a.jsonl", tmp_path / "out"), encoding, ["a", "b"])
    (tmp_path / "b.jsonl").write_bytes(b"\xef\xbb\xbf\r\n" + as_lines(["a", "b"]).encode())
    check(encode_dataset(tmp_path / "b.jsonl", tmp_path / "blank"), encoding, ["a", "b"])
    (tmp_path / "c.jsonl").write_bytes(b"\xef\xbb\xbf")
    check(encode_dataset(tmp_path / "c.jsonl", tmp_path / "empty"), encoding, [])


def test_other_columns_of_text(tmp_path, encoding):
    rows = ["one", "two", "one"]
    for kind in (pa.large_string(), pa.binary(), pa.dictionary(pa.int32(), pa.string())):
        table = pa.table({"text": pa.array(rows).cast(kind)})
        path = tmp_path / f"{kind.id}.arrow"
        write_arrow(path, table)
        check(encode_dataset(path, tmp_path / f"out{kind.id}"), encoding, rows)
    pq.write_table(pa.table({"text": [1, 2]}), tmp_path / "n.parquet")
    with pytest.raises(DatasetError, match="row 1: the field 'text' holds int, not text"):
        encode_dataset(tmp_path / "n.parquet", tmp_path / "out")


@pytest.mark.parametrize("field", ["caf\udce9", "\ud800", "a\0b", "", "a.b", "\ufeff"])
def test_fields_with_odd_names(tmp_path, encoding, field):
    """A byte of the command line that is not UTF-8 is a lone surrogate, which JSON can write."""
    (tmp_path / "a.jsonl").write_text(json.dumps({field[:1]: "x", field: "good"}) + "\n{}\n")
    options = {"text_field": field, "on_bad_row": "skip"}
    done = encode_dataset(tmp_path / "a.jsonl", tmp_path / "out", **options)
    check(done, encoding, ["good"])
    assert done.n_rejected == 1
    check(encode_dataset(tmp_path / "a.jsonl", tmp_path / "out", **options), encoding, ["good"])


# What can be wrong with files and folders


def test_files_that_cannot_be_read(tmp_path, texts):
    good = write(tmp_path / "a.jsonl", texts[:10])
    for name, problem in (
        ("missing.jsonl", "No such file"),
        ("folder.jsonl", "directory"),
        ("a.csv", "unknown kind of file"),
        ("broken.parquet", "damaged"),
        ("cut.parquet", "damaged"),
        ("broken.arrow", "damaged"),
        ("wrong.parquet", "no column 'text'; there are body, n"),
    ):
        path = tmp_path / name
        if name.startswith("folder"):
            path.mkdir()
        elif name == "cut.parquet":
            whole = write(tmp_path / "whole.parquet", texts).read_bytes()
            path.write_bytes(whole[: len(whole) // 2])
        elif name.startswith("broken"):
            path.write_bytes(b"this is nothing" * 100)
        elif name == "wrong.parquet":
            pq.write_table(pa.table({"body": ["x"], "n": [1]}), path)
        elif name == "a.csv":
            path.write_text("text\n")
        with pytest.raises(DatasetError, match=problem) as caught:
            encode_dataset([good, path], tmp_path / "out")
        assert caught.value.file == str(path)
        assert not (tmp_path / "out").exists(), "found before anything is written"
    with pytest.raises(DatasetError, match="no input files"):
        encode_dataset([], tmp_path / "out")


@pytest.mark.parametrize("kind", ["a.jsonl.gz", "a.jsonl.zst", "a.parquet", "a.stream.arrow"])
def test_damage_in_the_middle_leaves_finished_shards(tmp_path, small_chunks, encoding, kind):
    texts = list(random_texts(6_000, seed=4))
    path = write(tmp_path / kind, texts)
    whole = path.read_bytes()
    if kind == "a.parquet":
        middle = len(whole) // 2
        path.write_bytes(whole[:middle] + b"\xff" * 3000 + whole[middle + 3000 :])
    else:
        path.write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(DatasetError, match=r"damaged|row") as caught:
        encode_dataset(path, tmp_path / "out", shard_tokens=3_000)
    assert caught.value.file == str(path)
    names = [name for name in content(tmp_path / "out") if name.startswith("shard")]
    assert names, "what came before the damage is there"
    for name in names:
        pq.read_table(tmp_path / "out" / name)
    with pytest.raises(DatasetError, match="not finished"):
        datasets.open(tmp_path / "out")
    path.write_bytes(whole)
    with pytest.raises(DatasetError, match="inputs differ"):
        encode_dataset(path, tmp_path / "out", shard_tokens=3_000)


def test_feather_of_the_first_version(tmp_path):
    path = tmp_path / "a.feather"
    path.write_bytes(b"FEA1" + bytes(100) + b"FEA1")
    with pytest.raises(DatasetError, match=r"Feather V1, .* write it anew as V2") as caught:
        encode_dataset(path, tmp_path / "out")
    assert caught.value.file == str(path)


def int32(*numbers):
    return np.array(numbers, np.int32).tobytes()


def int64(*numbers):
    return np.array(numbers, np.int64).tobytes()


WORDS = ["abc", "defgh", "ij"]
DICTIONARY = pa.DictionaryArray.from_arrays(pa.array([0, 1, 2, 2], pa.int32()), WORDS)
FAR = 1 << 30

DAMAGES = {
    "offsets of text": (pa.array(WORDS), int32(0, 3, 8, 10), int32(0, 3, FAR, 10)),
    "offsets that decrease": (pa.array(WORDS), int32(0, 3, 8, 10), int32(0, 8, 3, 10)),
    "large offsets": (
        pa.array(WORDS, pa.large_string()),
        int64(0, 3, 8, 10),
        int64(0, 3, 8, 10**12),
    ),
    "offsets of a dictionary": (
        DICTIONARY,
        int32(0, 3, 8, 10),
        int32(0, FAR, FAR + 8, FAR + 16),
    ),
    "length of a dictionary": (
        DICTIONARY,
        int32(1) + int64(3, 0),  # one column, its length, its nulls
        int32(1) + int64(10**7, 0),
    ),
    "indices of a dictionary": (DICTIONARY, int32(0, 1, 2, 2), int32(0, 1, FAR, 2)),
    "offsets of lists": (
        pa.array([[{"role": "user", "content": text} for text in WORDS[:n]] for n in (1, 2)]),
        int32(0, 1, 3),
        int32(0, 1, FAR),
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_arrow_files_that_lead_out_of_themselves(tmp_path, damage):
    """In a process of its own: reading what they point to would end it."""
    column, sound, damaged = DAMAGES[damage]
    is_text = not pa.types.is_list(column.type)
    path = tmp_path / "a.arrow"
    write_arrow(path, pa.table({"text" if is_text else "messages": column}))
    whole = path.read_bytes()
    assert whole.count(sound) == 1
    path.write_bytes(whole.replace(sound, damaged))
    program = (
        "import sys; from harmony import DatasetError, datasets\n"
        "try: datasets.encode_dataset(*sys.argv[1:3], conversations=sys.argv[3] or None)\n"
        "except DatasetError as error: print(error)"
    )
    said = run(program, str(path), str(tmp_path / "out"), "" if is_text else "chat")
    assert said.startswith(f"{path}: the file is damaged")


def test_parquet_files_with_a_damaged_footer(tmp_path):
    """Every byte of the footer in turn, in a process of its own: Arrow ends it over some columns
    that it is asked about before they are read."""
    path = tmp_path / "a.parquet"
    table = pa.table({"text": WORDS * 3, "other": [[1, None]] * 9})
    pq.write_table(table, path, store_schema=False)
    program = (
        "import sys; from harmony import DatasetError, sources\n"
        "path, columns = sys.argv[1], sys.argv[2:]\n"
        "whole = bytearray(open(path, 'rb').read())\n"
        "n_bytes, n_damaged = int.from_bytes(whole[-8:-4], 'little'), 0\n"
        "for at in range(len(whole) - 8 - n_bytes, len(whole) - 8):\n"
        "    whole[at] ^= 2\n"
        "    open(path, 'wb').write(whole)\n"
        "    whole[at] ^= 2\n"
        "    try: list(sources.Source([path], columns).chunks(sources.Position(0)))\n"
        "    except DatasetError: n_damaged += 1\n"
        "print(n_damaged)"
    )
    assert int(run(program, str(path), "text", "other")) > 100


@pytest.mark.parametrize("kind", ["arrow", "parquet"])
def test_a_column_whose_name_is_no_utf8(tmp_path, kind):
    path = tmp_path / f"a.{kind}"
    table = pa.table({"text": ["a"], "other": ["b"]})
    if kind == "arrow":
        write_arrow(path, table)
    else:
        pq.write_table(table, path)
    path.write_bytes(path.read_bytes().replace(b"other", b"oth\xffr"))
    with pytest.raises(DatasetError, match="the file is damaged") as caught:
        encode_dataset(path, tmp_path / "out")
    assert caught.value.file == str(path)


def test_folders_that_hold_something_else(tmp_path, texts):
    path = write(tmp_path / "a.jsonl", texts[:10])
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.doc").write_text("x")
    with pytest.raises(DatasetError, match="not empty"):
        encode_dataset(path, tmp_path / "full")
    assert content(tmp_path / "full") == {"thesis.doc": b"x"}
    encode_dataset(path, tmp_path / "out")
    before = content(tmp_path / "out")
    with pytest.raises(DatasetError, match=r"another job \(format differ"):
        encode_dataset(path, tmp_path / "out", format="npy")
    path.write_text('{"text": "changed"}\n')
    with pytest.raises(DatasetError, match=r"another job \(inputs differ"):
        encode_dataset(path, tmp_path / "out")
    assert content(tmp_path / "out") == before
    write(path, texts[:10])
    (tmp_path / "out" / "shard-00000.parquet").write_bytes(b"")
    with pytest.raises(DatasetError, match="missing or was changed"):
        encode_dataset(path, tmp_path / "out")
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError, match="File exists"):
        encode_dataset(path, tmp_path / "file")


def refuse(*_, **__):
    raise PermissionError(errno.EACCES, "Permission denied")


@pytest.mark.parametrize("refused", ["os.open", "os.fsync", "os.truncate", "fcntl.flock"])
def test_folders_that_cannot_be_used(tmp_path, small_chunks, monkeypatch, texts, refused):
    """Whatever the system refuses there. (It refuses an administrator little.)"""
    path = tmp_path / "a.jsonl"
    path.write_text("{\n" + as_lines(texts) + "{\n")
    out = tmp_path / "out"
    give_up(path, out, on_bad_row="collect")
    with (out / "rejects.jsonl").open("a") as file:
        file.write("more")
    monkeypatch.setattr(refused, refuse)
    with pytest.raises(DatasetError, match="Permission denied") as caught:
        encode_dataset(path, out, shard_tokens=3_000, on_bad_row="collect")
    assert caught.value.file == str(out)


@pytest.mark.parametrize("method", ["iterdir", "unlink", "exists"])
def test_folders_that_cannot_be_looked_into(tmp_path, monkeypatch, method):
    path = write(tmp_path / "a.jsonl", ["a"])
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".tmp-manifest.json").write_text("")
    monkeypatch.setattr(Path, method, refuse)
    with pytest.raises(DatasetError, match="Permission denied") as caught:
        encode_dataset(path, tmp_path / "out")
    assert caught.value.file == str(tmp_path / "out")


def test_reading_what_is_no_data_set(tmp_path):
    with pytest.raises(DatasetError, match="No such file"):
        datasets.open(tmp_path)
    (tmp_path / "manifest.json").write_text("[]")
    with pytest.raises(DatasetError, match="no manifest"):
        datasets.open(tmp_path)
    (tmp_path / "manifest.json").write_text('{"version": 99}')
    with pytest.raises(DatasetError, match="version 99"):
        datasets.open(tmp_path)


def conversations_of(path, n_rows):
    messages = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]
    path.write_text((json.dumps({"messages": messages}) + "\n") * n_rows)
    return path


@pytest.mark.parametrize("file_format", FORMATS)
def test_damaged_shards(tmp_path, file_format):
    """Each file of a shard is named when it is not what it was."""
    for name, n_rows in (("out", 3), ("other", 4)):
        path = conversations_of(tmp_path / f"{name}.jsonl", n_rows)
        encode_dataset(path, tmp_path / name, conversations="chat", format=file_format)
    n_files = 0
    for file in (tmp_path / "out").glob("shard-*"):
        n_files += 1
        whole = file.read_bytes()
        other = (tmp_path / "other" / file.name).read_bytes()
        for damaged in (b"", whole[: len(whole) // 2], whole[:-4], bytes(len(whole)), other):
            file.write_bytes(damaged)
            with pytest.raises(DatasetError, match="the file is damaged or incomplete") as caught:
                datasets.open(tmp_path / "out")[0]
            assert caught.value.file == str(file)
        file.unlink()
        with pytest.raises(DatasetError, match="No such file") as caught:
            datasets.open(tmp_path / "out")[0]
        assert caught.value.file == str(file)
        file.write_bytes(whole)
    assert n_files == (3 if file_format == "npy" else 1)
    assert len(list(datasets.open(tmp_path / "out"))) == 3


def test_a_header_that_numpy_cannot_parse(tmp_path):
    path = conversations_of(tmp_path / "a.jsonl", 3)
    encode_dataset(path, tmp_path / "out", conversations="chat", format="npy")
    file = tmp_path / "out" / "shard-00000.offsets.npy"
    whole = file.read_bytes()
    for sound, damaged in (
        (b"}", b"{"),
        (b"'descr'", b"'descr("),
        (b"<i8", b"<i4"),
        (b"4,", b"2,"),
    ):
        assert whole.count(sound) == 1
        file.write_bytes(whole.replace(sound, damaged))
        with pytest.raises(DatasetError, match="the file is damaged or incomplete") as caught:
            list(datasets.open(tmp_path / "out").rows())
        assert caught.value.file == str(file)


@pytest.mark.parametrize("file_format", ["arrow", "parquet"])
def test_a_shard_with_other_columns(tmp_path, file_format):
    path = conversations_of(tmp_path / "a.jsonl", 3)
    encode_dataset(path, tmp_path / "out", conversations="chat", format=file_format)
    file = tmp_path / "out" / f"shard-00000.{file_format}"
    ids = pa.array([[1], [2], [3]], pa.large_list(pa.uint32()))
    for table in (pa.table({"ids": ids}), pa.table({"ids": ids, "loss_mask": ["a", "b", "c"]})):
        if file_format == "arrow":
            write_arrow(file, table)
        else:
            pq.write_table(table, file)
        with pytest.raises(DatasetError, match="the file is damaged or incomplete") as caught:
            list(datasets.open(tmp_path / "out"))
        assert caught.value.file == str(file)


def test_offsets_of_a_shard_that_decrease(tmp_path):
    path = conversations_of(tmp_path / "a.jsonl", 3)
    done = encode_dataset(path, tmp_path / "out", conversations="chat", format="arrow")
    length = len(done[0]["ids"])
    file = tmp_path / "out" / "shard-00000.arrow"
    whole = file.read_bytes()
    file.write_bytes(whole.replace(int64(0, length, 2 * length), int64(0, 2 * length, length)))
    with pytest.raises(DatasetError, match="the file is damaged or incomplete") as caught:
        datasets.open(tmp_path / "out")[1]
    assert caught.value.file == str(file)


def test_two_jobs_cannot_share_a_folder(tmp_path, small_chunks, texts):
    path = write(tmp_path / "a.jsonl", texts)
    seen = []

    def second_job(_):
        if not seen:
            with pytest.raises(DatasetError, match="another job is writing here") as caught:
                encode_dataset(path, tmp_path / "out")
            seen.append(caught.value)

    encode_dataset(path, tmp_path / "out", progress=second_job)
    assert seen


def test_a_process_that_lives_on_does_not_keep_the_lock(tmp_path):
    """One that is forked while the job runs, as a data loader's may be, has the folder open."""
    path = write(tmp_path / "a.jsonl", ["a"])
    program = (
        "import signal, sys, os; from harmony import datasets\n"
        "children = []\n"
        "def fork(_):\n"
        "    child = os.fork()\n"
        "    if not child: signal.pause()\n"
        "    children.append(child)\n"
        "try:\n"
        "    datasets.encode_dataset(*sys.argv[1:], num_threads=1, progress=fork)\n"
        "    datasets.encode_dataset(*sys.argv[1:])\n"
        "finally:\n"
        "    for child in children: os.kill(child, signal.SIGKILL)\n"
        "print(len(children))"
    )
    assert run(program, str(path), str(tmp_path / "out")) == "1\n"


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_data_set_is_where_it_was_opened(tmp_path, monkeypatch, encoding, file_format):
    """Whatever the working directory is when a row is read, or a pickle."""
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    done = encode_dataset(write(Path("a.jsonl"), ["mine"]), "web", format=file_format)
    encode_dataset(write(Path("b.jsonl"), ["foreign"]), "other/web", format=file_format)
    pickled = pickle.dumps(datasets.open("web"))
    monkeypatch.chdir(tmp_path / "other")
    check(done, encoding, ["mine"])
    check(pickle.loads(pickled), encoding, ["mine"])


@pytest.mark.parametrize(
    "arguments",
    [
        {"format": "csv"},
        {"on_bad_row": "ignore"},
        {"shard_tokens": 0},
        {"num_threads": 0},
        {"conversations": "xml"},
        {"conversations": "harmony", "train_on": "everything"},
    ],
)
def test_arguments_that_make_no_sense(tmp_path, arguments):
    path = write(tmp_path / "a.jsonl", ["x"])
    with pytest.raises(ValueError, match="must be"):
        encode_dataset(path, tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


def test_shards_are_as_large_as_an_integer_says(tmp_path):
    path = write(tmp_path / "a.jsonl", ["x"])
    for wrong in (1.5, "1", None):
        with pytest.raises(TypeError, match="integer"):
            encode_dataset(path, tmp_path / "out", shard_tokens=wrong)
    assert not (tmp_path / "out").exists()
    encode_dataset(path, tmp_path / "out", shard_tokens=np.int64(7))
    assert encode_dataset(path, tmp_path / "out", shard_tokens=7).n_tokens == 1


def test_a_field_needs_a_name(tmp_path):
    path = write(tmp_path / "a.jsonl", ["x"])
    with pytest.raises(TypeError, match="text_field must be str, not NoneType"):
        encode_dataset(path, tmp_path / "out", text_field=None)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("more", [{"train_on": "final_only"}, {"config": "keep"}])
def test_arguments_for_conversations_alone(tmp_path, more):
    path = write(tmp_path / "a.jsonl", ["x"])
    with pytest.raises(ValueError, match="are for conversations, and these are texts"):
        encode_dataset(path, tmp_path / "out", **more)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("conversations", [None, "chat"])
def test_an_encoding_is_no_name(tmp_path, conversations):
    path = write(tmp_path / "a.jsonl", ["x"])
    with pytest.raises(TypeError, match="encoding must be a Tokenizer, not str"):
        encode_dataset(path, tmp_path / "out", encoding="o200k_base", conversations=conversations)


def test_rows_are_not_picked_by_bools(tmp_path):
    done = encode_dataset(write(tmp_path / "a.jsonl", ["a", "b"]), tmp_path / "out")
    for mask in ([True, False], np.array([True, False])):
        with pytest.raises(TypeError):
            done[mask]


def test_the_manifest_says_nothing_of_this_run(tmp_path, texts):
    path = write(tmp_path / "a.jsonl", texts)
    out = encode_dataset(path, tmp_path / "out", num_threads=2)
    assert set(out.manifest) == {"version", "complete", "job", "shards", "rejected"}
    assert set(out.manifest["job"]) == {
        *["rows", "text_field", "encoding", "format", "on_bad_row", "shard_tokens", "inputs"]
    }
    assert set(out.manifest["shards"][0]) == {
        *["name", "rows", "tokens", "rejected", "rejects_bytes", "files", "end"]
    }
    assert set(out.manifest["job"]["inputs"][0]) == {"file", "bytes", "fingerprint"}


def test_progress(tmp_path, small_chunks, texts):
    path = write(tmp_path / "a.jsonl", texts)
    seen = []
    out = encode_dataset(path, tmp_path / "out", progress=seen.append)
    assert seen[0].rows < seen[-1].rows
    assert [p.rows for p in seen] == sorted(p.rows for p in seen)
    assert seen[-1].rows == len(out)
    assert seen[-1].tokens == out.n_tokens
    assert seen[-1].bytes_read == seen[-1].bytes_total == path.stat().st_size
    with pytest.raises(AttributeError):
        seen[-1].rows = 0


@pytest.mark.parametrize("kind", ["a.parquet", "a.arrow", "a.stream.arrow", "a.feather"])
def test_progress_within_a_batch(tmp_path, small_chunks, texts, kind):
    """Most files have one row group, or one batch."""
    path = tmp_path / kind
    table = pa.table({"text": [f"{i} " * 100 for i in range(1_000)]})
    if kind == "a.parquet":
        pq.write_table(table, path)
    elif kind == "a.feather":
        pyarrow.feather.write_feather(table, path, compression="lz4")
    else:
        with (pa.ipc.new_stream if "stream" in kind else pa.ipc.new_file)(
            path, table.schema
        ) as file:
            file.write_table(table)
    seen = []
    encode_dataset(path, tmp_path / "out", progress=seen.append)
    assert len(seen) > 20
    for progress in seen:
        assert abs(progress.bytes_read / progress.bytes_total - progress.rows / 1_000) < 0.01


# Accidents

JOB = """
import sys
from harmony import datasets, sources
sources.CHUNK_BYTES = 4096
datasets.encode_dataset(
    sys.argv[1], sys.argv[2], format=sys.argv[3], shard_tokens=3000, on_bad_row="collect"
)
"""


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """A file with bad rows here and there, and what an undisturbed run makes of it."""
    folder = tmp_path_factory.mktemp("job")
    lines = as_lines(random_texts(4_000, seed=8)).splitlines()
    lines[100::397] = ["{"] * len(lines[100::397])
    path = folder / "a.jsonl"
    path.write_text("\n".join(lines))
    expected = {}
    for file_format in FORMATS:
        run(JOB, str(path), str(folder / file_format), file_format)
        expected[file_format] = content(folder / file_format)
    return path, expected


@pytest.mark.parametrize("moment", range(10))
def test_killed_and_continued(tmp_path, job, moment):
    """Ten moments from the first shard to the last; the formats take turns."""
    path, expected = job
    file_format = FORMATS[moment % 3]
    out = tmp_path / "out"
    arguments = [sys.executable, "-c", JOB, str(path), str(out), file_format]
    n_files = moment * (len(expected[file_format]) - 1) // 10
    process = subprocess.Popen(arguments, env=environment())
    while process.poll() is None:
        if out.exists() and len(list(out.iterdir())) > n_files:
            time.sleep(0.003 * (moment % 4))
            process.kill()
            break
    process.wait()
    for _ in range(2):  # and once more, when there is nothing left to do
        run(JOB, str(path), str(out), file_format)
        assert content(out) == expected[file_format]


class GivenUp(Exception):
    pass


def give_up(path, out, shard_tokens=3_000, **options):
    """A job that ends when its first shards are done."""

    def report(_):
        if len(list(out.glob("shard-*"))) == 3:
            raise GivenUp

    with pytest.raises(GivenUp):
        encode_dataset(path, out, shard_tokens=shard_tokens, progress=report, **options)


@pytest.mark.parametrize("left", [None, b"", b'{"file": "'])
def test_bad_rows_that_were_collected_are_not_lost(tmp_path, small_chunks, texts, left):
    """A job does not go on without them, as it does not without a shard."""
    path = tmp_path / "a.jsonl"
    path.write_text("{\n" + as_lines(texts))
    options = {"shard_tokens": 3_000, "on_bad_row": "collect"}
    encode_dataset(path, tmp_path / "whole", **options)
    out = tmp_path / "out"
    give_up(path, out, **options)
    rejects = out / "rejects.jsonl"
    whole = rejects.read_bytes()
    rejects.unlink()
    if left is not None:
        rejects.write_bytes(left)
    with pytest.raises(DatasetError, match="missing or was changed") as caught:
        encode_dataset(path, out, **options)
    assert caught.value.file == str(rejects)
    rejects.write_bytes(whole)
    encode_dataset(path, out, **options)
    assert content(out) == content(tmp_path / "whole")


@pytest.mark.parametrize("kind", KINDS)
def test_continued_with_chunks_of_another_size(tmp_path, monkeypatch, encoding, texts, kind):
    """No row is lost, and none is there twice."""
    path = write(tmp_path / kind, texts)
    monkeypatch.setattr(sources, "CHUNK_BYTES", SMALL_CHUNKS)
    give_up(path, tmp_path / "out")
    monkeypatch.setattr(sources, "CHUNK_BYTES", 3 * SMALL_CHUNKS)
    check(encode_dataset(path, tmp_path / "out", shard_tokens=3_000), encoding, texts)


def test_other_content_of_the_same_size_is_another_job(tmp_path, small_chunks, encoding, texts):
    path = write(tmp_path / "a.jsonl", texts)
    lines = path.read_bytes().splitlines(keepends=True)
    give_up(path, tmp_path / "out")
    before = content(tmp_path / "out")
    path.write_bytes(b"".join(reversed(lines)))
    with pytest.raises(DatasetError, match=r"another job \(inputs differ\)"):
        encode_dataset(path, tmp_path / "out", shard_tokens=3_000)
    assert content(tmp_path / "out") == before
    path.write_bytes(b"".join(lines))
    check(encode_dataset(path, tmp_path / "out", shard_tokens=3_000), encoding, texts)
    path.write_bytes(b"".join(reversed(lines)))
    with pytest.raises(DatasetError, match=r"another job \(inputs differ\)"):
        encode_dataset(path, tmp_path / "out", shard_tokens=3_000)


def append(path):
    with path.open("ab") as file:
        file.write(path.read_bytes())


CHANGES = {
    "shorter": lambda path: os.truncate(path, path.stat().st_size // 2),
    "longer": append,
    "written anew": lambda path: os.utime(path, ns=(0, path.stat().st_mtime_ns + 1)),
    "gone": Path.unlink,
}


@pytest.mark.parametrize("num_threads", [1, 2])
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("kind", ["a.jsonl", "a.jsonl.gz", "a.stream.arrow"])
def test_a_file_that_changes_while_it_is_read(
    tmp_path, small_chunks, encoding, texts, kind, change, num_threads
):
    """No data set of it is finished, nor a shard with what was read of it since."""
    path = write(tmp_path / kind, texts)
    whole = path.read_bytes()
    options = {"num_threads": num_threads, "shard_tokens": 3_000}
    seen = []

    def report(progress):
        if not seen:
            # Not cut short in its place: that ends whoever has it mapped.
            if change == "shorter":
                path.unlink()
                path.write_bytes(whole)
            CHANGES[change](path)
        seen.append(progress)

    with pytest.raises(DatasetError, match=r"changed while it was read|No such file") as caught:
        encode_dataset(path, tmp_path / "out", progress=report, **options)
    assert caught.value.file == str(path)
    assert seen[-1].rows < len(texts)
    with pytest.raises(DatasetError, match="not finished"):
        datasets.open(tmp_path / "out")
    path.write_bytes(whole)
    check(encode_dataset(path, tmp_path / "out", **options), encoding, texts)


def test_fingerprints_of_files(tmp_path):
    """Of a large file they see the head, the tail and much between them, and read no more."""
    made = random.Random(3).randbytes(5_000_000)
    path = tmp_path / "a.jsonl"

    def fingerprint(content):
        path.write_bytes(content)
        return sources.Source([str(path)], ["text"]).fingerprints[0]

    changed = [made[:at] + bytes([made[at] ^ 1]) + made[at + 1 :] for at in (0, len(made) - 1)]
    others = [made[::-1], made[1:] + made[:1], made + b"\n", made[:-1], *changed]
    small = [b"", b"{", b"}", made[:50_000] + b"0" + made[50_001:100_000], made[:100_000]]
    seen = {fingerprint(content) for content in (made, *others, *small)}
    assert len(seen) == 1 + len(others) + len(small)
    assert fingerprint(made) in seen

    class Counted(io.BytesIO):
        n_bytes = 0

        def read(self, size):
            self.n_bytes += size
            return super().read(size)

    file = Counted(made)
    assert sources._fingerprint(file, len(made)) == fingerprint(made)
    assert file.n_bytes <= 1 << 20


@pytest.mark.parametrize("kind", ["a.jsonl", "a.jsonl.gz"])
def test_a_place_inside_of_a_line_is_no_beginning(tmp_path, kind):
    path = tmp_path / kind
    text = b'{"text": "a"}\n{"text": "b"}'
    path.write_bytes(gzip.compress(text) if kind.endswith("gz") else text)
    source = sources.Source([str(path)], ["text"])

    def rows_from(offset):
        return b"".join(chunk.rows for chunk in source.chunks(sources.Position(0, 1, offset)))

    assert rows_from(14) == text[14:]
    assert rows_from(len(text)) == b"", "the last line may have no end"
    for offset in (1, 13, 15, len(text) - 1, len(text) + 1):
        with pytest.raises(DatasetError, match="the file was changed") as caught:
            rows_from(offset)
        assert caught.value.file == str(path)


def test_ctrl_c_and_continued(tmp_path, job):
    path, expected = job
    out = tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, "-c", JOB, str(path), str(out), "arrow"],
        env=environment(),
        stderr=subprocess.PIPE,
    )
    while len(list(out.glob("shard*"))) < 2:
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert b"KeyboardInterrupt" in process.communicate(timeout=60)[1]
    assert 2 <= len(list(out.glob("shard*"))) < len(expected["arrow"]) - 2
    assert not list(out.glob(".tmp-*"))
    run(JOB, str(path), str(out), "arrow")
    assert content(out) == expected["arrow"]


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_full_disk(tmp_path, small_chunks, encoding, file_format):
    """No file may grow beyond a limit: what a full disk does to a write."""
    texts = list(random_texts(3_000, seed=2))
    texts.append(" ".join(random_texts(12_000, seed=3)))
    path = write(tmp_path / "a.jsonl", texts)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, hard))
    try:
        with pytest.raises(DatasetError, match="too large") as caught:
            encode_dataset(
                path, tmp_path / "out", format=file_format, shard_tokens=4_000, num_threads=2
            )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.file == str(tmp_path / "out")
    assert not list((tmp_path / "out").glob(".tmp-*"))
    assert list((tmp_path / "out").glob("shard-00000*"))
    out = encode_dataset(path, tmp_path / "out", format=file_format, shard_tokens=4_000)
    check(out, encoding, texts)


def test_memory_is_bounded(tmp_path):
    """The peak does not follow the input: five times as much, the same."""
    texts = list(random_texts(3_000, seed=6))
    lines = as_lines(["".join(texts[i : i + 60]) for i in range(0, len(texts), 60)]).encode()
    sizes, peaks = [], []
    for n_bytes in (15_000_000, 75_000_000):
        path = tmp_path / "a.jsonl"
        path.write_bytes(lines * (n_bytes // len(lines)))
        sizes.append(path.stat().st_size / 1024)
        peaks.append(peak_memory(path, tmp_path / f"out{n_bytes}", format="npy", num_threads=2))
    assert peaks[1] - peaks[0] < (sizes[1] - sizes[0]) / 3, peaks


@pytest.mark.parametrize("on_bad_row", ["skip", "collect"])
def test_bad_rows_are_not_kept_in_memory(tmp_path, on_bad_row):
    path = tmp_path / "a.jsonl"
    line = json.dumps({"body": "word " * 1_900}) + "\n"
    peaks = []
    for n_rows in (1_000, 9_000):
        path.write_text(line * n_rows)
        out = tmp_path / f"out{n_rows}"
        peaks.append(peak_memory(path, out, num_threads=1, on_bad_row=on_bad_row))
        assert datasets.open(out).n_rejected == n_rows
    assert peaks[1] - peaks[0] < 8_000 * len(line) / 1024 / 3, peaks


@pytest.mark.parametrize("file_format", ["parquet", "arrow"])
def test_empty_rows_are_not_kept_in_memory(tmp_path, small_chunks, monkeypatch, file_format):
    """A block is written when it has enough rows, if they have no ids."""
    monkeypatch.setattr(shards, "_BLOCK_IDS", 1_000)
    path = tmp_path / "a.jsonl"
    path.write_text(as_lines([""] * 10_000))
    done = encode_dataset(path, tmp_path / "out", format=file_format)
    assert [len(row["ids"]) for row in done] == [0] * 10_000
    file = tmp_path / "out" / f"shard-00000.{file_format}"
    if file_format == "parquet":
        n_blocks = pq.ParquetFile(file).num_row_groups
    else:
        n_blocks = pa.ipc.open_file(pa.memory_map(str(file))).num_record_batches
    assert 5 < n_blocks <= 10


@pytest.mark.parametrize("kind", ["parquet", "dictionary.parquet", "dictionary.arrow"])
def test_chunks_of_rows_that_repeat(tmp_path, small_chunks, kind):
    """They are small in the file; what counts is what they take when they are read."""
    texts = ["word " * 200, "other " * 100, "x"] * 500
    column = pa.array(texts)
    table = pa.table({"text": column.dictionary_encode() if "dictionary" in kind else column})
    path = tmp_path / f"a.{kind}"
    if kind.endswith("arrow"):
        write_arrow(path, table)
    else:
        pq.write_table(table, path)
    source = sources.Source([str(path)], ["text"])
    chunks = list(source.chunks(sources.Position()))
    assert len(chunks) > 100
    read = [chunk.rows.column(0).to_pylist() for chunk in chunks]
    assert [text.decode() for rows in read for text in rows] == texts
    assert max(sum(map(len, rows)) for rows in read) < 2 * SMALL_CHUNKS
    again = list(source.chunks(chunks[40].end))
    assert [(c.first_row, c.end) for c in again] == [(c.first_row, c.end) for c in chunks[41:]]


def test_a_column_with_dots_in_its_name(tmp_path, small_chunks, monkeypatch):
    """A row group of it is read piece by piece, as that of any other column."""
    sizes = []

    def counted(batch, *position):
        sizes.append(batch.nbytes)
        return chunks_of(batch, *position)

    chunks_of = sources._chunks_of
    monkeypatch.setattr(sources, "_chunks_of", counted)
    texts = [f"{i} " * 100 for i in range(2_000)]
    pq.write_table(pa.table({"page.text": texts}), tmp_path / "a.parquet", use_dictionary=False)
    source = sources.Source([str(tmp_path / "a.parquet")], ["page.text"])
    chunks = list(source.chunks(sources.Position()))
    read = [text for chunk in chunks for text in chunk.rows.column(0).to_pylist()]
    assert [text.decode() for text in read] == texts
    assert max(sizes) < 2 * SMALL_CHUNKS


@pytest.mark.parametrize("kind", ["lists.arrow", "lists.parquet", "dictionary.arrow"])
def test_what_a_batch_holds_is_checked_once(tmp_path, small_chunks, monkeypatch, kind):
    """Not for each chunk: a part of a batch holds all that its lists and dictionaries do."""
    checked = []

    def counted(batch):
        checked.append(batch.get_total_buffer_size())
        return readable(batch)

    readable = sources.readable
    monkeypatch.setattr(sources, "readable", counted)
    texts = [f"{i} " * 100 for i in range(500)]
    column = pa.array(texts).dictionary_encode()
    if kind.startswith("lists"):
        column = pa.array([[{"role": "user", "content": text}] for text in texts])
    table = pa.table({"messages": column})
    if kind.endswith("arrow"):
        write_arrow(tmp_path / kind, table)
    else:
        pq.write_table(table, tmp_path / kind)
    source = sources.Source([str(tmp_path / kind)], ["messages"])
    chunks = list(source.chunks(sources.Position()))
    assert sum(chunk.rows.num_rows for chunk in chunks) == len(texts)
    assert len(chunks) > 20
    assert 0 < sum(checked) < 2 * table.nbytes


def open_files(folder):
    """How many files of a folder this process has open; others may come and go."""
    links = Path("/proc/self/fd").iterdir()
    return sum(os.path.realpath(link).startswith(f"{folder}{os.sep}") for link in links)


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_data_set_of_many_shards_holds_few_files(tmp_path, encoding, file_format):
    texts = [f"row {i}" for i in range(100)]
    paths = []
    for i, text in enumerate(texts):
        paths.append(tmp_path / f"{i}.jsonl")
        paths[-1].write_text(as_lines([text]))
    done = encode_dataset(paths, tmp_path / "out", format=file_format, shard_tokens=1)
    assert len(done.manifest["shards"]) == 100
    dataset = datasets.open(tmp_path / "out")
    check(dataset, encoding, texts)
    kept = datasets._KEPT_PARQUET if file_format == "parquet" else 2 * datasets._KEPT_MAPPED
    assert 0 < open_files(tmp_path) <= kept
    del dataset
    assert open_files(tmp_path) == 0


def test_ids_that_do_not_fit(tmp_path, base_tokenizer):
    wide = base_tokenizer.decode([131903])
    path = tmp_path / "a.jsonl"
    path.write_text(as_lines(["a", wide]))
    done = encode_dataset(path, tmp_path / "out")
    assert max(done[1]["ids"]) > 65_535
    narrow = datasets.open(tmp_path / "out", dtype="uint16")
    assert narrow[0]["ids"].tolist() == done[0]["ids"].tolist()
    with pytest.raises(OverflowError, match="row 1 does not fit into uint16"):
        narrow[1]


def test_a_row_that_python_cannot_hold(tmp_path):
    """It is a bad row; those around it are not."""
    fields = [("role", pa.string()), ("content", pa.string()), ("at", pa.timestamp("s"))]
    rows = [[{"role": "user", "content": "good", "at": at}] for at in (0, 10**15, 0)]
    table = pa.table({"messages": pa.array(rows, pa.list_(pa.struct(fields)))})
    write_arrow(tmp_path / "a.arrow", table)
    with pytest.raises(DatasetError) as caught:
        encode_dataset(tmp_path / "a.arrow", tmp_path / "stop", conversations="chat")
    assert caught.value.row == 2
    more = {"conversations": "chat", "on_bad_row": "skip"}
    done = encode_dataset(tmp_path / "a.arrow", tmp_path / "skip", **more)
    assert (len(done), done.n_rejected) == (2, 1)


def test_a_folder_with_temporary_files_of_others(tmp_path, texts):
    path = write(tmp_path / "a.jsonl", texts[:3])
    for name in (".tmp-mine", ".tmp-shard-cache/x", "thesis"):
        folder = tmp_path / name.strip(".").partition("/")[0]
        file = folder / name
        file.parent.mkdir(parents=True)
        file.write_text("precious")
        with pytest.raises(DatasetError, match="not empty"):
            encode_dataset(path, folder)
        assert file.read_text() == "precious"


def test_a_column_that_is_there_twice(tmp_path):
    table = pa.table([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])
    write_arrow(tmp_path / "a.arrow", table)
    with pytest.raises(DatasetError, match="several columns 'text'"):
        encode_dataset(tmp_path / "a.arrow", tmp_path / "out")


def test_pipes_and_devices_are_no_files(tmp_path):
    """To open a pipe would wait for somebody to write."""
    os.mkfifo(tmp_path / "pipe.jsonl")
    (tmp_path / "device.jsonl").symlink_to("/dev/null")
    for name in ("pipe.jsonl", "device.jsonl"):
        with pytest.raises(DatasetError, match="no file that can be read again") as caught:
            encode_dataset(tmp_path / name, tmp_path / "out")
        assert caught.value.file == str(tmp_path / name)


def test_a_name_that_is_no_utf8(tmp_path):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.jsonl")
    with open(path, "w") as file:
        file.write(as_lines(["a"]))
    with pytest.raises(DatasetError, match="not UTF-8; rename it"):
        encode_dataset(path, tmp_path / "out")


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_folder_whose_name_is_no_utf8(tmp_path, file_format):
    """It is refused before anything is written, but for files that Arrow has no part in."""
    path = write(tmp_path / "a.jsonl", ["a"])
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    encode_dataset(path, tmp_path / "out", format=file_format)
    if file_format == "npy":
        assert len(encode_dataset(path, folder, format="npy")[0]["ids"]) == 1
        return
    with pytest.raises(DatasetError, match="not UTF-8; rename it") as caught:
        encode_dataset(path, folder, format=file_format)
    assert caught.value.file == str(folder)
    assert not folder.exists()
    (tmp_path / "out").rename(folder)
    with pytest.raises(DatasetError, match="not UTF-8; rename it"):
        datasets.open(folder)[0]


def test_a_manifest_without_its_parts(tmp_path):
    path = write(tmp_path / "a.jsonl", ["a"])
    shard = encode_dataset(path, tmp_path / "out").manifest["shards"][0]
    file = tmp_path / "out" / "manifest.json"
    whole = file.read_text()
    damaged = ['{"version": 1}', "[" * 100_000]
    for key in ("job", "shards", "complete", "rejected"):
        manifest = json.loads(whole)
        del manifest[key]
        damaged.append(json.dumps(manifest))
    for key in shard:
        for other in (None, "", [1], {"x": "y"}):
            if (key, other) != ("name", ""):
                manifest = json.loads(whole)
                manifest["shards"][0][key] = other
                damaged.append(json.dumps(manifest))
    for text in damaged:
        file.write_text(text)
        for call in (datasets.open, lambda folder: encode_dataset(path, folder)):
            with pytest.raises(DatasetError, match="no manifest of a data set"):
                call(tmp_path / "out")


# The command


def invoke(*arguments):
    return CliRunner().invoke(cli.main, ["encode-dataset", *map(str, arguments)])


def test_the_command(tmp_path, encoding, texts):
    path = write(tmp_path / "a.jsonl", texts)
    done = invoke(path, "--out", tmp_path / "out", "--format", "npy", "--num-threads", 2)
    assert done.exit_code == 0, done.output
    assert f"{len(texts):,} rows" in done.output
    check(datasets.open(tmp_path / "out"), encoding, texts)


def test_the_progress_bar(tmp_path, small_chunks, texts):
    path = write(tmp_path / "a.jsonl", texts)
    arguments = ["encode-dataset", str(path), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(cli.main, arguments, env={"FORCE_COLOR": "1", "COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", done.output)
    assert f"100%  {len(texts):,} rows" in shown
    assert re.search(r"[\d,]+ tokens  \d+ MB/s", shown)


def test_the_speed_is_that_of_this_run(monkeypatch, capsys):
    """Neither the bytes nor the time of the first report count: earlier runs may be in it."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    with cli._progress_bar() as show:
        show(datasets.Progress(100_000_000, bytes_read=50_000_000, seconds=4.0))
        show(datasets.Progress(100_000_000, bytes_read=80_000_000, seconds=5.0))
    assert "30 MB/s" in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().err)


def test_the_command_names_what_is_wrong(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a"}\n{"text": 5}\n')
    done = invoke(path, "--out", tmp_path / "out")
    assert done.exit_code == 1
    assert f"harmony: error: {path}, row 2: the field 'text' holds int" in " ".join(
        done.output.split()
    ).replace("encode-dataset: ", "")
    done = invoke(path, "--out", tmp_path / "out2", "--on-bad-row", "skip")
    assert done.exit_code == 0
    assert "1 rows, 1 tokens, 1 bad rows left out" in done.output
    done = invoke(path, "--out", tmp_path / "out3", "--text-field", "")
    assert done.exit_code == 1
    assert "row 1: there is no field ''" in done.output
    done = invoke(path, "--out", tmp_path / "out", "--text-field", "x", "--conversations")
    assert done.exit_code == 2
    assert "exclude each other" in done.output


def test_ctrl_c_ends_the_command(tmp_path, small_chunks, texts, monkeypatch):
    path = write(tmp_path / "a.jsonl", texts)

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(datasets.ShardWriter, "write", interrupt)
    done = invoke(path, "--out", tmp_path / "out")
    assert done.exit_code == 130
    assert "the same command goes on" in done.output
    monkeypatch.undo()
    assert invoke(path, "--out", tmp_path / "out").exit_code == 0


@pytest.mark.parametrize(
    "error, problem",
    [(MemoryError(), "not enough memory"), (pa.ArrowMemoryError("malloc failed"), "malloc failed")],
)
def test_no_file_is_to_blame_for_too_little_memory(tmp_path, monkeypatch, error, problem):
    path = write(tmp_path / "a.jsonl", ["a"])

    def write_block(*_):
        raise error

    monkeypatch.setattr(datasets.ShardWriter, "write", write_block)
    with pytest.raises(MemoryError):
        encode_dataset(path, tmp_path / "out")
    done = invoke(path, "--out", tmp_path / "out")
    assert done.exit_code == 1
    assert done.output.startswith("harmony: error: encode-dataset: ")
    assert problem in done.output
    assert "damaged" not in done.output


def test_a_job_that_fails_leaves_no_work_behind(tmp_path, small_chunks, encoding):
    """Its threads are parked: the next jobs use them and start no others."""
    path = tmp_path / "a.jsonl"
    path.write_text("{\n" + as_lines(["x" * 1000] * 2_000))
    for number in range(5):
        with pytest.raises(DatasetError):
            encode_dataset(path, tmp_path / str(number), num_threads=3)
        names = {t.name for t in threading.enumerate() if t.name.startswith("harmony")}
        if number == 0:
            before = names
    # A thread that is still at its last chunk when the next job begins is not parked yet.
    assert len(names - before) <= 3
    assert encoding.encode_batch(["a"]) == [[64]]
