"""Tables as people save them: what is read, what it is taken for, and what is refused."""

import io
import os
import zipfile

import numpy as np
import pandas
import pytest
import torch

from engines.hubness import data, read_points, survey
from engines.hubness.files import Reading

READ = [
    ("comma.csv", "1.5,2\n3,4\n", [[1.5, 2], [3, 4]], {"separator": "comma"}),
    ("semicolon.csv", "1,5;2\n3;4,25\n", [[1.5, 2], [3, 4.25]], {"separator": "semicolon", "decimal_comma": True}),
    ("tab.tsv", "1,5\t2\n3\t4,25\n", [[1.5, 2], [3, 4.25]], {"separator": "tab", "decimal_comma": True}),
    ("quoted.csv", '"1,5","2"\n"3","4"\n', [[1.5, 2], [3, 4]], {"decimal_comma": True}),
    ("blank.txt", "  1.5   2\n\n 3.0   4\n\n", [[1.5, 2], [3, 4]], {"separator": "space", "blank": 1}),
    ("minus.csv", "−1.5,2\n3,−4e2\n", [[-1.5, 2], [3, -400]], {}),
    ("crlf.csv", "\ufeffx;y\r\n1;2\r\n3;4\r\n", [[1, 2], [3, 4]], {"heading": ("x", "y")}),
    ("one.csv", "1.5\n2\n", [[1.5], [2]], {"separator": ""}),
    ("comment.csv", "# made by hand\n1.5,2\n3,4\n", [[1.5, 2], [3, 4]], {"comments": 1}),
    ("trailing.csv", "a,b,\n1,2,\n3,4,\n", [[1, 2], [3, 4]], {"empty": 1, "heading": ("a", "b", "")}),
    ("numbers.csv", "0,1,2\n1.5,2,3\n4,5,6\n", [[1.5, 2, 3], [4, 5, 6]], {"heading": ("0", "1", "2")}),
    ("doubtful.csv", "0,1,2\n1,2,3\n", [[0, 1, 2], [1, 2, 3]], {"doubtful": "heading"}),
    ("index.csv", "0,1.5,3\n1,2,4\n2,3,5\n", [[1.5, 3], [2, 4], [3, 5]], {"index": "1"}),
    ("counted.csv", "0,5,3\n1,2,4\n2,3,5\n", [[0, 5, 3], [1, 2, 4], [2, 3, 5]], {"doubtful": "index"}),
    ("years.csv", "name,2019,2021\na,1,2\nb,3,4\n", [[1, 2], [3, 4]], {"labels": ("name",)}),
    ("r.txt", '"a" "b c"\n"one" 1.5 2\n"two" 3 4\n', [[1.5, 2], [3, 4]], {"heading": ("", "a", "b c")}),
]


@pytest.mark.parametrize(("name", "written", "points", "taken"), READ, ids=[entry[0] for entry in READ])
def test_what_a_table_is_taken_for_is_told(tmp_path, name, written, points, taken):
    (tmp_path / name).write_text(written, encoding="utf-8", newline="")
    found = read_points(str(tmp_path / name))
    np.testing.assert_array_equal(found.points, points)
    told = {field: value for field, value in vars(found.reading).items() if value != getattr(Reading, field, None)}
    assert (found.reading.rows, found.reading.columns) == np.shape(points)
    assert taken.items() <= (told | {"separator": found.reading.separator}).items()
    unsaid = told.keys() - taken.keys() - {"rows", "columns", "separator", "heading", "labels", "copies", "blank"}
    assert not unsaid, told
    assert str(len(points)) in found.note


FRAME = pandas.DataFrame({"x": [1.5, 2.0, 3.25], "y": [4.0, 5.5, 6.0]}, index=["a", "b", "c"])


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("index", [True, False])
@pytest.mark.parametrize("names", [["x", "y"], [0, 1]])
@pytest.mark.parametrize("rows", [["a", "b", "c"], [0, 1, 2], [7, 3, 5]])
def test_a_frame_of_pandas_comes_back(tmp_path, separator, index, names, rows):
    if not index and names == [0, 1]:
        pytest.skip("0, 1 over two columns of fractions may as well be a point")
    frame = FRAME.set_axis(names, axis=1).set_axis(rows, axis=0)
    frame.to_csv(tmp_path / "f.csv", sep=separator, index=index, decimal="," if separator == ";" else ".")
    found = read_points(str(tmp_path / "f.csv"))
    np.testing.assert_array_equal(found.points, FRAME.to_numpy())
    assert found.labels == (tuple(map(str, rows)) if index else ())
    assert found.reading.heading[-2:] == tuple(map(str, names))


WORDS = {"the": [0.5, 1, 2], ",": [3, 4, 5], '"': [6, 7, 8.5], "12": [1, 1, 1], "#": [2, 2, 2], "new york": [9, 8, 7]}


@pytest.mark.parametrize("first", [f"{len(WORDS)} 3\n", ""], ids=["word2vec", "GloVe"])
def test_word_vectors_keep_every_word(tmp_path, first):
    lines = "".join(f"{word} {' '.join(map(str, vector))}\n" for word, vector in WORDS.items())
    (tmp_path / "w.txt").write_text(first + lines)
    found = read_points(str(tmp_path / "w.txt"))
    assert found.labels == tuple(WORDS)
    np.testing.assert_array_equal(found.points, list(WORDS.values()))
    assert found.reading.announced == ((6, 3) if first else ())


@pytest.mark.parametrize("names", ["word2vec", "text"])
def test_a_hub_of_a_file_is_named_by_its_label(tmp_path, names):
    random = np.random.RandomState(0)
    rows = [f"w{i} " + " ".join(map(str, v)) for i, v in enumerate(random.normal(size=(40, 30)))]
    (tmp_path / "w.txt").write_text("\n".join(rows))
    result = survey("file", k=3, path=str(tmp_path / "w.txt"))
    assert result.hub_texts == tuple(f"w{i}" for i in result.hubs)
    assert result.n == 40 and (result.chosen == np.arange(40)).all()


def test_of_a_long_file_the_rows_that_are_counted_are_told(tmp_path):
    table = np.random.RandomState(0).normal(size=(500, 3))
    np.save(tmp_path / "p.npy", table)
    result = survey("file", points=100, k=3, path=str(tmp_path / "p.npy"), seed=1)
    assert (result.n, result.reading.rows) == (100, 500)
    assert len(set(result.chosen)) == 100 and result.counts.sum() == 300


def test_of_an_npz_the_array_can_be_chosen_and_labels_are_found(tmp_path):
    first, second = np.random.RandomState(0).normal(size=(2, 6, 4))
    words = np.array(list("abcdef"))
    np.savez(tmp_path / "p.npz", first=first, second=second[:, :2], words=words, codes=np.arange(12).reshape(6, 2))
    found = read_points(str(tmp_path / "p.npz"))
    np.testing.assert_array_equal(found.points, first)
    assert found.reading.array == "first" and found.labels == tuple("abcdef")
    assert {name.split()[0] for name in found.reading.others} == {"second", "codes"}
    np.testing.assert_array_equal(read_points(str(tmp_path / "p.npz"), "second").points, second[:, :2])
    with pytest.raises(ValueError, match=r"no array third.*first"):
        read_points(str(tmp_path / "p.npz"), "third")
    with pytest.raises(ValueError, match="words holds str"):
        read_points(str(tmp_path / "p.npz"), "words")


@pytest.mark.parametrize("kind", [">f8", ">f4", "<f2", ">i2", "|b1", "<u4"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_of_any_order_and_kind(tmp_path, kind, order):
    table = np.asarray(np.arange(24).reshape(8, 3) % 7, dtype=kind, order=order)
    np.save(tmp_path / "p.npy", table)
    found = read_points(str(tmp_path / "p.npy")).points
    assert found.dtype == np.float64 and found.dtype.isnative
    np.testing.assert_array_equal(found, table.astype(float))
    assert torch.from_numpy(found).sum() == table.astype(float).sum()


@pytest.mark.parametrize("kind", [".npy", ".npz", ".csv", "heading.csv", ";.csv", ".NPY"])
def test_files_of_points_are_read(tmp_path, kind):
    table = np.random.RandomState(0).normal(size=(30, 4)).round(6)
    path = tmp_path / f"points{kind[-4:]}"
    if kind.lower() == ".npy":
        with path.open("wb") as file:
            np.save(file, table)
    elif kind == ".npz":
        np.savez(path, label=np.arange(3), table=table)
    else:
        separator = ";" if kind.startswith(";") else ","
        np.savetxt(path, table, delimiter=separator, header="a,b,c,d" if "heading" in kind else "", comments="")
    np.testing.assert_allclose(read_points(str(path)).points, table)
    result = survey("file", k=3, path=str(path))
    assert result.counts.sum() == 90 and result.reading.copies == 0


def test_a_file_of_pictures_is_flattened(tmp_path):
    np.save(tmp_path / "p.npy", np.zeros((7, 4, 5), np.uint8))
    assert read_points(str(tmp_path / "p.npy")).points.shape == (7, 20)


def test_duplicates_are_pointed_out(tmp_path):
    table = np.repeat(np.arange(10.0)[:, None], 2, axis=1)
    np.save(tmp_path / "p.npy", np.concatenate([table, table[:4]]))
    assert survey("file", k=2, path=str(tmp_path / "p.npy")).reading.copies == 4


class Trap:
    def __reduce__(self):
        return (pytest.fail, ("unpickled",))


def pickled(path):
    np.save(path / "p.npy", np.array([Trap(), 1], dtype=object), allow_pickle=True)
    return path / "p.npy"


def pickled_npz(path):
    np.savez(path / "p.npz", a=np.array([Trap()], dtype=object))
    return path / "p.npz"


def huge(path):
    with (path / "p.npy").open("wb") as file:
        file.truncate(2 * 2**30)  # sparse
    return path / "p.npy"


def announced(path):
    """An .npz of a few bytes whose header promises 60 million of one byte each."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (10**6, 60)})
    with zipfile.ZipFile(path / "p.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("table.npy", header.getvalue() + bytes(60 * 10**6))
    return path / "p.npz"


def written(name, content):
    def write(path):
        (path / name).write_bytes(content)
        return path / name

    return write


def saved(table):
    def save(path):
        np.save(path / "p.npy", table)
        return path / "p.npy"

    return save


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (pickled, "pickled Python objects"),
        (pickled_npz, "pickled Python objects"),
        (huge, "2,048 MB; at most 200 MB"),
        (saved(np.array([[1, 2], [np.nan, 1], [3, 4.0]])), "1 of 3 rows hold NaN.*rows 1"),
        (announced, "1,000,000 rows; at most 100,000"),
        (saved(np.zeros(5)), "a single number or one row"),
        (saved(np.array(5.0)), "a single number or one row"),
        (saved(np.zeros((0, 5))), "empty"),
        (saved(np.zeros((0, 3, 4))), "empty"),
        (saved(np.array([[1e155, 0], [0, 1.0], [2, 3]])), r"as large as 1e\+155; at most 1e\+30"),
        (saved(np.zeros((3, 2), complex)), "complex128"),
        (saved(np.zeros((200_000, 1), np.uint8)), "200,000 rows"),
        (saved(np.zeros((60_000, 1000), np.uint8)), "60,000,000 numbers; at most 50,000,000"),
        (written("p.npy", b"not an array"), "not a readable .npy"),
        (written("p.npy", b"\x93NUMPY\x01\x00\x04\x00((( "), "not a readable .npy"),
        (written("p.npz", b"PK not a zip"), "not a readable .npz"),
        (written("p.csv", b"1,2\n3\n"), "same number"),
        (written("p.csv", b"\xff\xfe\x00"), "not in UTF-8"),
        (written("p.csv", b""), "empty"),
        (written("p.doc", b"1,2"), "must be one of .npy, .npz"),
        (lambda path: path / "none.npy", "no such file"),
    ],
)
def test_bad_files_are_refused_in_a_sentence(tmp_path, make, words):
    with pytest.raises(ValueError, match=words):
        read_points(str(make(tmp_path)))


def test_a_text_that_takes_long_to_read_is_refused(tmp_path, monkeypatch):
    (tmp_path / "p.csv").write_text("1,2.5\n" * 500)
    monkeypatch.setattr("engines.hubness.tables.MOST_CELLS", 999)
    with pytest.raises(ValueError, match="1,000 numbers; at most 999"):
        read_points(str(tmp_path / "p.csv"))
    monkeypatch.setattr("engines.hubness.tables.MOST_BYTES", 2000)
    with pytest.raises(ValueError, match=r"Save the table with numpy.save, as \.npy"):
        read_points(str(tmp_path / "p.csv"))


def test_cells_are_the_same_with_and_without_quotes_blanks_and_decimal_commas(tmp_path):
    rows = np.random.default_rng(0).normal(size=(30, 4)).round(5).tolist()
    lines = [[f"{x:+.5f}" for x in row] for row in rows]
    for name, text in {
        "plain.csv": "\n".join(",".join(line) for line in lines),
        "quoted.csv": "\n".join(",".join(f'"{x}"' for x in line) for line in lines),
        "blanks.csv": "\n".join(" , ".join(line) for line in lines),
        "commas.csv": "\n".join("; ".join(line).replace(".", ",") for line in lines),
        "some.csv": "\n".join(";".join(line).replace(".", "," if i % 2 else ".") for i, line in enumerate(lines)),
    }.items():
        (tmp_path / name).write_text(text)
        np.testing.assert_array_equal(read_points(str(tmp_path / name)).points, rows)


def test_a_file_is_read_again_only_where_it_or_what_is_asked_of_it_changed(tmp_path, monkeypatch):
    path, came = tmp_path / "p.csv", []
    path.write_text("1,2.5\n2,2.5\n" * 20)
    monkeypatch.setattr(data, "read_points", lambda *asked: came.append(asked) or read_points(*asked))
    first = data.load_set("file", path=str(path))
    assert data.load_set("file", path=str(path)) is first and len(came) == 1
    assert len(data.load_set("file", 10, path=str(path)).points) == 10 and len(came) == 2
    path.write_text("1,2.5\n2,4.5\n" * 20)
    os.utime(path, ns=(1, 1))
    assert data.load_set("file", 10, path=str(path)).points.max() == 4.5
