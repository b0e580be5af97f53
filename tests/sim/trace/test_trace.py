"""The trace file: round trip, checks, selection, masks."""

import json
import os
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attnsieve.gen.errors import UserError
from attnsieve.sim.trace import Trace, load, parse_selection, save


def tensors(layers=2, heads=4, kv_heads=2, queries=3, keys=5, head_dim=16, seed=0):
    rng = np.random.default_rng(seed)
    q = rng.normal(size=(layers, heads, queries, head_dim)).astype(np.float32)
    k, v = rng.normal(size=(2, layers, kv_heads, keys, head_dim)).astype(np.float32)
    return {"q": q, "k": k, "v": v}


def assert_same(a, b):
    for name in ("q", "k", "v", "key_valid", "query_valid"):
        x, y = getattr(a, name), getattr(b, name)
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(x, y)
    for name in ("causal", "decode", "self_attention", "meta"):
        assert getattr(a, name) == getattr(b, name)


def test_defaults():
    trace = Trace(**tensors())
    assert (trace.layers, trace.heads, trace.kv_heads, trace.group) == (2, 4, 2, 2)
    assert (trace.queries, trace.keys, trace.head_dim) == (3, 5, 16)
    assert trace.key_valid.all()
    assert trace.query_valid.all()
    assert not trace.causal
    assert not trace.decode
    assert not trace.self_attention
    assert Trace(**tensors(queries=5)).self_attention


def test_arrays_are_read_only_but_the_callers_are_not():
    given = tensors()
    trace = Trace(**given)
    with pytest.raises(ValueError, match="read-only"):
        trace.q[0] = 0
    given["q"][0] = 0


@settings(deadline=None, max_examples=25)
@given(st.data())
def test_round_trip(tmp_path_factory, data):
    kv_heads, group = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3))
    keys = data.draw(st.integers(1, 6))
    queries = data.draw(st.integers(1, keys))
    trace = Trace(
        **tensors(
            data.draw(st.integers(1, 3)),
            kv_heads * group,
            kv_heads,
            queries,
            keys,
            data.draw(st.sampled_from([1, 16, 48])),
        ),
        key_valid=np.array(data.draw(st.lists(st.booleans(), min_size=keys, max_size=keys))),
        query_valid=np.array(
            data.draw(st.lists(st.booleans(), min_size=queries, max_size=queries))
        ),
        causal=data.draw(st.booleans()),
        decode=data.draw(st.booleans()),
        self_attention=data.draw(st.booleans()),
        meta=data.draw(st.dictionaries(st.text(), st.integers() | st.text() | st.none())),
    )
    path = tmp_path_factory.mktemp("round") / "t.npz"
    save(path, trace)
    assert_same(load(path), trace)


def test_minimal_file(tmp_path):
    np.savez(tmp_path / "t.npz", **tensors(queries=5), other=np.arange(3))
    assert_same(load(tmp_path / "t.npz"), Trace(**tensors(queries=5)))
    np.savez_compressed(tmp_path / "c.npz", **tensors(queries=5))
    assert_same(load(tmp_path / "c.npz"), Trace(**tensors(queries=5)))


def test_same_trace_same_bytes(tmp_path):
    for name in ("a", "b"):
        save(tmp_path / name, Trace(**tensors(), meta={"b": 1, "a": 2}))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def altered(name, change):
    arrays = tensors()
    arrays[name] = change(arrays[name])
    return arrays


def poked(value):
    def change(array):
        array = array.copy()
        array[1, 0, 2, 3] = value
        return array

    return change


K2 = "k and v must have the same shape"
WRONG = [
    (altered("q", lambda a: a.astype(float)), r"q must be float32, not float64; convert it with "),
    (altered("k", lambda a: a.astype("f2")), r"k must be float32, not float16"),
    (altered("v", lambda a: a.astype(">f4")), r"v must be float32, not >f4"),
    (altered("q", lambda a: a[0]), r"q must have the four dimensions \[layers, heads, queries, "),
    (altered("q", lambda a: a[:, :, :0]), r"q must have at least 1 in queries, not shape \(2, 4, "),
    (altered("q", lambda a: a[:0]), r"q must have at least 1 in layers, not shape \(0, "),
    (altered("k", lambda a: a[:, :, :0]), r"k must have at least 1 in keys, not shape"),
    (altered("v", lambda a: a[..., :0]), r"v must have at least 1 in head_dim, not shape"),
    (altered("v", lambda a: a[:, :, :4]), rf"{K2}, not \(2, 2, 5, 16\) and \(2, 2, 4, 16\)$"),
    (altered("q", lambda a: a[:1]), r"q and k must have the same layers, not 1 and 2 \(shapes"),
    (altered("q", lambda a: a[..., :8]), r"q and k must have the same head_dim, not 8 and 16"),
    (altered("q", lambda a: a[:, :3]), r"kv_heads must divide heads, but 2 does not divide 3$"),
    (altered("q", lambda a: a[:, :1]), r"kv_heads must divide heads, but 2 does not divide 1$"),
    (altered("q", poked(np.nan)), r"q must be finite, but holds nan at \(1, 0, 2, 3\)$"),
    (altered("k", poked(np.inf)), r"k must be finite, but holds inf at \(1, 0, 2, 3\)$"),
    (altered("v", poked(-np.inf)), r"v must be finite, but holds -inf at \(1, 0, 2, 3\)$"),
    (tensors() | {"key_valid": np.ones(4, bool)}, r"key_valid must have shape \(5,\), not \(4,\)$"),
    (tensors() | {"key_valid": np.ones(5)}, r"key_valid must be a bool array, not float64$"),
    (tensors() | {"query_valid": np.ones((3, 1), bool)}, r"query_valid must have shape \(3,\), "),
    (tensors(queries=6) | {"causal": True}, r"causal needs queries <= keys, not 6 queries and 5 "),
    (tensors(queries=6) | {"decode": True}, r"decode needs queries <= keys, not 6 queries and 5 "),
    (tensors(queries=6) | {"self_attention": True}, r"self_attention needs queries <= keys, not 6"),
]


@pytest.mark.parametrize("arrays, message", WRONG, ids=[m[:24] for _, m in WRONG])
def test_wrong_arrays(arrays, message, tmp_path):
    with pytest.raises(UserError, match=f"^{message}"):
        Trace(**arrays)
    path = tmp_path / "t.npz"
    np.savez(path, **arrays)
    with pytest.raises(UserError, match=f"^{re.escape(str(path))}: {message}") as caught:
        load(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "arrays, message",
    [
        ({"causal": 1}, r"causal must be one bool, not 1$"),
        ({"decode": np.ones(2, bool)}, r"decode must be one bool, not array"),
        ({"q": [[1.0]]}, r"q must be a numpy array, not list$"),
        ({"key_valid": [True] * 5}, r"key_valid must be a bool array, not list$"),
        ({"meta": {"x": np.zeros(1)}}, r"meta must be a dict that JSON can hold: Object of type "),
        ({"meta": {"x": float("nan")}}, r"meta must be a dict that JSON can hold: Out of range"),
        ({"meta": {1: 2}}, r"meta must be a dict that JSON can hold, with strings as keys$"),
        ({"meta": [1]}, r"meta must be a dict that JSON can hold, with strings as keys$"),
    ],
)
def test_wrong_arguments(arrays, message):
    with pytest.raises(UserError, match=f"^{message}"):
        Trace(**tensors() | arrays)


@pytest.mark.parametrize(
    "arrays, message",
    [
        ({"q": None}, r"q is missing; a trace holds at least q, k and v$"),
        ({"v": None}, r"v is missing; a trace holds at least q, k and v$"),
        ({"causal": np.int64(1)}, r"causal must be one bool, not int64 of shape \(\)$"),
        ({"decode": np.ones(3, bool)}, r"decode must be one bool, not bool of shape \(3,\)$"),
        ({"meta": np.float32(1)}, r"meta must be one string, not float32 of shape \(\)$"),
        ({"meta": np.array("{")}, r"meta must be a JSON string: "),
        ({"meta": np.array("[1]")}, r"meta must be a JSON object, not list$"),
        ({"key_vaild": np.ones(5, bool)}, r"unknown array 'key_vaild'; did you mean 'key_valid'\?"),
    ],
)
def test_wrong_files(arrays, message, tmp_path):
    path = tmp_path / "t.npz"
    arrays = {k: v for k, v in (tensors() | arrays).items() if v is not None}
    np.savez(path, **arrays)
    with pytest.raises(UserError, match=f"^{re.escape(str(path))}: {message}"):
        load(path)


def test_object_arrays_are_not_unpickled(tmp_path):
    np.savez(tmp_path / "t.npz", **tensors() | {"q": np.array([object], dtype=object)})
    with pytest.raises(UserError, match=r"t\.npz is not a readable \.npz file$"):
        load(tmp_path / "t.npz")


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04", b"\x80\x04K\x01.", b"\x93NUMPY"])
def test_not_an_npz(content, tmp_path):
    (tmp_path / "t.npz").write_bytes(content)
    with pytest.raises(UserError, match=r"t\.npz is not a readable \.npz file$"):
        load(tmp_path / "t.npz")


def test_a_single_array(tmp_path):
    np.save(tmp_path / "t.npy", np.zeros(3))
    with pytest.raises(UserError, match=r"t\.npy: a single array, not an \.npz file with q, k "):
        load(tmp_path / "t.npy")


@pytest.mark.parametrize("compress", [np.savez, np.savez_compressed])
def test_cut_and_damaged_files(compress, tmp_path):
    path = tmp_path / "t.npz"
    compress(path, **tensors())
    whole = path.read_bytes()
    rng = np.random.default_rng(5)
    for _ in range(60):
        path.write_bytes(whole[: rng.integers(len(whole))])
        with pytest.raises(UserError, match=r"not a readable \.npz file$"):
            load(path)
    for _ in range(60):
        damaged = bytearray(whole)
        damaged[rng.integers(len(whole))] ^= 1 << rng.integers(8)
        path.write_bytes(bytes(damaged))
        try:
            load(path)
        except UserError:
            pass


@pytest.mark.parametrize(
    "name, message",
    [("absent.npz", "No such file or directory"), (".", "Is a directory")],
)
def test_unreadable_paths(name, message, tmp_path):
    with pytest.raises(UserError, match=rf"cannot be read: {message}$"):
        load(tmp_path / name)


def test_saving_is_all_or_nothing(tmp_path, monkeypatch):
    path = tmp_path / "t.npz"
    save(path, Trace(**tensors()))
    before = path.read_bytes()

    def full(file, **arrays):
        file.write(b"half")
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(UserError, match=r"t\.npz cannot be written: No space left on device$"):
        save(path, Trace(**tensors(seed=1)))
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["t.npz"]


def test_saving_into_a_missing_folder(tmp_path):
    with pytest.raises(UserError, match=r"cannot be written: No such file or directory$"):
        save(tmp_path / "absent" / "t.npz", Trace(**tensors()))


def test_saved_file_has_the_usual_mode(tmp_path):
    save(tmp_path / "t.npz", Trace(**tensors()))
    (tmp_path / "u").write_bytes(b"")
    assert (tmp_path / "t.npz").stat().st_mode == (tmp_path / "u").stat().st_mode


def test_sizes_of_a_core():
    trace = Trace(**tensors())
    trace.check_fits(max_keys=5, max_queries=3, max_heads=4, max_head_dim=16)
    for name, size in (("keys", 5), ("queries", 3), ("heads", 4), ("head_dim", 16)):
        with pytest.raises(UserError, match=rf"^{name} must be at most {size - 1}, .* not {size}"):
            trace.check_fits(**{f"max_{name}": size - 1})
    with pytest.raises(UserError, match=r"^head_dim must be a multiple of 16, not 24$"):
        Trace(**tensors(head_dim=24)).check_fits()


def test_pair_mask():
    mask = Trace(**tensors()).pair_mask()
    assert mask.shape == (3, 5)
    assert mask.all()
    for flag in ("causal", "decode"):
        mask = Trace(**tensors(), **{flag: True}).pair_mask()
        for i in range(3):
            assert mask[i].tolist() == [j <= i + 2 for j in range(5)]
    mask = Trace(
        **tensors(),
        key_valid=np.array([0, 1, 1, 1, 1], bool),
        query_valid=np.array([1, 0, 1], bool),
        causal=True,
    ).pair_mask()
    assert mask.astype(int).tolist() == [[0, 1, 1, 0, 0], [0] * 5, [0, 1, 1, 1, 1]]


def test_select_layers():
    trace = Trace(**tensors(layers=4), meta={"a": 1}, causal=True)
    part = trace.select("3,0-1")
    np.testing.assert_array_equal(part.q, trace.q[[0, 1, 3]])
    np.testing.assert_array_equal(part.v, trace.v[[0, 1, 3]])
    assert part.causal
    assert part.meta == {"a": 1}
    assert_same(trace.select(), trace)


@pytest.mark.parametrize(
    "heads, kv_heads",
    [
        ("0-8", [0, 1, 2]),
        ("0-2", [0]),
        ("1,4,7", [0, 1, 2]),
        ("3,5,6,8", [1, 2]),
        ("0,1,3", [0, 0, 1]),
        ([8, 8, 2], [0, 2]),
    ],
)
def test_selected_heads_read_their_own_keys(heads, kv_heads):
    trace = Trace(**tensors(heads=9, kv_heads=3))
    part = trace.select(heads=heads)
    np.testing.assert_array_equal(part.k, trace.k[:, kv_heads])
    for new, old in enumerate(parse_selection(heads, 9, "head")):
        np.testing.assert_array_equal(part.q[:, new], trace.q[:, old])
        np.testing.assert_array_equal(part.k[:, new // part.group], trace.k[:, old // 3])
        np.testing.assert_array_equal(part.v[:, new // part.group], trace.v[:, old // 3])


@pytest.mark.parametrize(
    "text, want",
    [
        ("0", [0]),
        ("5,1-2", [1, 2, 5]),
        (" 1 - 3 , 2", [1, 2, 3]),
        (None, [0, 1, 2, 3, 4, 5]),
        ([4], [4]),
    ],
)
def test_selection(text, want):
    assert parse_selection(text, 6, "layer") == want


@pytest.mark.parametrize(
    "text, message",
    [
        ("", r"layers must be numbers and ranges such as 0-2,5, not ''$"),
        ("1,", r"layers must be numbers and ranges such as 0-2,5, not ''$"),
        ("a", r"layers must be numbers and ranges such as 0-2,5, not 'a'$"),
        ("-1", r"layers must be numbers and ranges such as 0-2,5, not '-1'$"),
        ("3-1", r"layer range must run upwards, not '3-1'$"),
        ("6", r"layer must be in 0\.\.5, not 6$"),
        ("0-99999999999999", r"layer must be in 0\.\.5, not 99999999999999$"),
        ([-1], r"layer must be in 0\.\.5, not -1$"),
        ([], r"at least one layer must be selected$"),
    ],
)
def test_wrong_selection(text, message):
    with pytest.raises(UserError, match=f"^{message}"):
        parse_selection(text, 6, "layer")


def test_meta_is_a_json_string_in_the_file(tmp_path):
    save(tmp_path / "t.npz", Trace(**tensors(), meta={"text": "é"}))
    with np.load(tmp_path / "t.npz") as file:
        assert json.loads(str(file["meta"])) == {"text": "é"}
        assert file["causal"].dtype == np.bool_
