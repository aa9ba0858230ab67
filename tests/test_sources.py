"""Sources of samples: the same rows come from wherever they lie, and what is wrong with them is said in words."""

import os

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from skdiffusion._utils.sources import ArraySource, ChunkReader, source_of

N, D = 500, 3
X = np.random.default_rng(0).standard_normal((N, D)).astype(np.float32)
FRAME = pd.DataFrame(X, columns=["a", "b", "c"])


@pytest.fixture
def folder(tmp_path):
    """A memmap and a Parquet file of eight row groups."""
    np.save(tmp_path / "x.npy", X)
    pq.write_table(pa.table(FRAME), tmp_path / "x.parquet", row_group_size=70)
    return tmp_path


def chunks(n=64, samples=X):
    return lambda: (samples[i : i + n] for i in range(0, len(samples), n))


SOURCES = {
    "memmap": lambda folder: np.load(folder / "x.npy", mmap_mode="r"),
    "path": lambda folder: folder / "x.parquet",
    "text path": lambda folder: str(folder / "x.parquet"),
    "dataset": lambda folder: ds.dataset(folder / "x.parquet"),
    "dask array": lambda folder: da.from_array(X, chunks=(90, 2)),
    "dask array of unknown chunks": lambda folder: (a := da.from_array(X, chunks=(90, 3)))[a[:, 0] > -99],
    "dask frame": lambda folder: dd.from_pandas(FRAME, npartitions=5),
    "callable": lambda folder: chunks(),
    "callable of frames": lambda folder: chunks(samples=FRAME),
    "callable of polars": lambda folder: chunks(samples=pl.DataFrame(FRAME)),
    "callable of arrow": lambda folder: chunks(samples=pa.table(FRAME)),
}


@pytest.mark.parametrize("name", SOURCES)
def test_every_source_has_the_rows(name, folder, rng):
    source = source_of(SOURCES[name](folder))
    assert source.n_samples == (None if "callable" in name or name[5:] in ("array of unknown chunks", "frame") else N)
    first = next(iter(source.chunks()))
    reader, start, read = ChunkReader(first), 0, []
    for chunk in source.chunks():
        read.append(reader.numbers(chunk, start))
        start += len(chunk)
    np.testing.assert_array_equal(np.concatenate(read), X)
    assert read[0].dtype == np.float32
    np.testing.assert_array_equal(np.asarray(source.whole()), X)
    for _ in range(2):  # parts in random order have their own numbers
        seen = np.full((N, D), np.nan)
        for number, chunk in source.shuffled(rng):
            seen[number : number + len(chunk)] = reader.numbers(chunk, number)
        np.testing.assert_array_equal(seen, X)
    assert reader.names == (["a", "b", "c"] if "array" not in name and name not in ("memmap", "callable") else None)


@pytest.mark.parametrize("X", [X, FRAME, X.tolist(), pl.DataFrame(FRAME), None, 3], ids=lambda X: type(X).__name__)
def test_what_is_in_memory_is_no_source(X):
    assert source_of(X) is None


def test_a_filtered_dataset_keeps_its_filter(folder, rng):
    source = source_of(ds.dataset(folder / "x.parquet").filter(ds.field("a") > 0))
    expected = X[X[:, 0] > 0]
    for read in (source.chunks(), (chunk for _, chunk in source.shuffled(rng)), [source.whole()]):
        np.testing.assert_array_equal(np.concatenate([np.asarray(chunk) for chunk in read]), expected)


def test_parts_are_read_in_random_order_where_the_source_has_one(folder, rng):
    for name in ("path", "dask array"):
        starts = [start for start, _ in source_of(SOURCES[name](folder)).shuffled(rng)]
        assert starts != sorted(starts)
    many = ArraySource(np.zeros((20_000, 2)))
    starts = [start for start, _ in many.shuffled(rng)]
    assert len(starts) == 79
    assert starts != sorted(starts)


def test_a_memmap_that_was_cut_off_is_an_error(tmp_path):
    """Reading pages that are gone would end the process. A view knows where it ends."""
    np.save(tmp_path / "x.npy", np.zeros((100_000, 4)))
    X = np.load(tmp_path / "x.npy", mmap_mode="r")
    whole, early = source_of(X), source_of(X[1000:2000])
    assert len(np.concatenate(list(whole.chunks()))) == 100_000
    os.truncate(tmp_path / "x.npy", 1_000_000)
    for read in (lambda: list(whole.chunks()), whole.whole):
        with pytest.raises(ValueError, match="cut off: it has 1000000 bytes, and the samples end at 3200128"):
            read()
    np.testing.assert_array_equal(next(early.chunks()), np.zeros((1000, 4)))


def test_a_memmap_whose_name_is_gone_is_read(folder):
    X_mapped = np.load(folder / "x.npy", mmap_mode="r")
    os.unlink(folder / "x.npy")
    np.testing.assert_array_equal(np.concatenate(list(source_of(X_mapped).chunks())), X)


def test_memmaps_with_an_offset(tmp_path):
    file = tmp_path / "x.bin"
    file.write_bytes(b"h" * 5000 + X.tobytes())
    mapped = np.memmap(file, dtype=np.float32, mode="r", offset=5000, shape=X.shape)
    for view in (mapped, np.asarray(mapped), mapped[7:], mapped[:, 1:]):
        np.testing.assert_array_equal(np.concatenate(list(source_of(view).chunks())), np.asarray(view))
    os.truncate(file, 5000 + X.nbytes - 1)
    for view in (mapped, np.asarray(mapped), mapped[7:], mapped[:, 1:]):
        with pytest.raises(ValueError, match="cut off"):
            list(source_of(view).chunks())
    list(source_of(mapped[:-1]).chunks())


def test_bad_parquet_files(folder):
    with pytest.raises(FileNotFoundError, match="The Parquet path '.*nowhere.parquet' of X was not found"):
        source_of(folder / "nowhere.parquet")
    (folder / "no.parquet").write_bytes(b"these are no columns")
    with pytest.raises(ValueError, match="could not be read"):
        source_of(folder / "no.parquet")
    source = source_of(folder / "x.parquet")
    os.truncate(folder / "x.parquet", 3000)
    with pytest.raises(ValueError, match="could not be read"):
        list(source.chunks())


@pytest.mark.parametrize("made", [3, "text", FRAME, pl.DataFrame(FRAME)], ids=lambda made: type(made).__name__)
def test_callables_that_return_no_chunks(made):
    with pytest.raises(TypeError, match="must return an iterator of chunks"):
        list(source_of(lambda: made).chunks())


BAD_CHUNKS = {
    "another name": (FRAME, FRAME.rename(columns={"b": "x"}), r"lacks \['b'\] and has \['x'\]"),
    "one less": (FRAME, FRAME[["a", "b"]], r"lacks \['c'\] and has \[\]"),
    "another order": (FRAME, FRAME[["b", "a", "c"]], "another order"),
    "another library": (FRAME, pl.DataFrame(FRAME), "is of polars, the first one of pandas"),
    "an array": (FRAME, X, "is of NumPy, the first one of pandas"),
    "fewer features": (X, X[:, :2], r"has the shape \(500, 2\), the first one 3 features"),
    "one dimension": (X, X[:, 0], r"has the shape \(500,\)"),
    "complex numbers": (X, 1j * X, "holds no real numbers"),
    "text": (X, X.astype(str), "holds no real numbers"),
}


@pytest.mark.parametrize(("first", "chunk", "message"), BAD_CHUNKS.values(), ids=list(BAD_CHUNKS))
def test_chunks_of_other_columns(first, chunk, message):
    with pytest.raises(ValueError, match=f"from sample 70 on.*{message}"):
        ChunkReader(first).numbers(chunk, 70)
    with pytest.raises(ValueError, match="shape"):
        ChunkReader(X[0])
