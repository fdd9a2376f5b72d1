"""Messages: strict JSON, one definition in two forms that must agree, and bounded inflation."""
from __future__ import annotations

import copy
import gzip
import json
import re
import subprocess
import sys
import tracemalloc
import zlib
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from marshmallow import fields, validate

from ledger import messages, strict, wire
from ledger.errors import Problem
from ledger.record import ID
from ledger.strict import NotStrict, slowly, strict_json

GOOD = {
    "v": 1, "type": "push", "aud": "https://relay.example.org", "source": "laptop", "lease": "0123456789abcdef" * 2, "seq": 2, "prev": "0" * 64, "after": "a" * 64,
    "commit": True, "put": [{"k": "session", "id": "a", "b": '{"n":1}'}, {"k": "limit", "id": "b/5h", "b": "{}"}], "del": [{"k": "session", "id": "c"}],
    "agent": {"version": "1.0.0", "boot": "f00", "readers": {"codex": {"state": "ok"}}},
}  # fmt: skip


# -- strict JSON

INNOCENT = [
    b"{}", b"[]", b'""', b"0", b"-1", b"true", b"null", b" { } ", b'{"a":1}', b'{ "a" : [ 1 , 2 ] }', b"9007199254740991", b"-9007199254740991", b"1e5", b"0.1",
    b"0.12345678901234567890123", b"1.7976931348623157e308", b'"\\u00e9"', '"é🦉"'.encode(), b'"\\ud83e\\udd89"', b'"[[[[[[[[{{{{{{{{"', b'"1234567890123456789012345"',
    b"[" * 32 + b"]" * 32, b'{"a":' * 32 + b"1" + b"}" * 32, b'{"a":1,"A":1}', b'{"":1}', b'"\\\\u0000"', b"5e-324", b"1e-400",
]  # fmt: skip
POISON = {
    b'{"a":1,"a":1}': "twice", b'[{"x":{"b":1,"c":2,"b":3}}]': "twice", b'{"a":1,"\\u0061":2}': "twice", b"NaN": "NaN", b"[Infinity]": "NaN", b"-Infinity": "NaN",
    b"1e999": "large", b"-1e999": "large", b"9007199254740992": "integer", b"-9007199254740992": "integer", b'{"a":[10000000000000000000000]}': "integer",
    b"1" * 5000: "integer", b'"\\ud83d"': "surrogate", b'{"\\ud83d":1}': "surrogate", b'"\\udd89\\ud83e"': "surrogate", b'"\\u0000"': "NUL", b'{"\\u0000":1}': "NUL",
    b"[" * 33 + b"]" * 33: "levels", b'{"a":' * 33 + b"1" + b"}" * 33: "levels", b"[" * 100_000: "not JSON|levels", b"[" * 100_000 + b"]" * 100_000: "levels",
    b"\xff": "UTF-8", b'"\xed\xa0\xbd"': "UTF-8", b'"\xc0\x80"': "UTF-8", b"": "not JSON", b"{": "not JSON", b"[1,]": "not JSON", b"{'a':1}": "not JSON", b"01": "not JSON",
    b"+1": "not JSON", b".5": "not JSON", b"1.": "not JSON", b'"\t"': "not JSON", b'"a\x00b"': "not JSON", b"{}{}": "not JSON", b"{} x": "not JSON", b"//\n{}": "not JSON",
    b"\xef\xbb\xbf{}": "not JSON", b"nul": "not JSON", b'"\\x41"': "not JSON", b'{"a":1,}': "not JSON", b"undefined": "not JSON",
}  # fmt: skip


@pytest.mark.parametrize("data", INNOCENT)
def test_innocent_json_is_read_as_the_standard_library_reads_it(data):
    assert strict_json(data) == json.loads(data)
    assert type(strict_json(data)) is type(json.loads(data))


@pytest.mark.parametrize("data, why", POISON.items(), ids=[str(key[:20]) for key in POISON])
def test_what_breaks_something_later_is_refused_with_the_reason(data, why):
    with pytest.raises(NotStrict, match=why):
        strict_json(data)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats() | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4), max_leaves=20,
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(json_values, st.sampled_from([None, (",", ":")]), st.booleans())
def test_the_fast_and_the_slow_way_agree_on_any_value(value, separators, ascii):
    data = json.dumps(value, separators=separators, ensure_ascii=ascii).encode(errors="surrogatepass")
    assert outcome(strict_json, data) == outcome(slowly, data)


PIECES = [b"{", b"}", b"[", b"]", b'"', b":", b",", b"\\", b"u0000", b"\\u0000", b"\\ud83d", b"1", b"9" * 16, b".", b"e9", b"-", b" ", b"\n", b"null", b"NaN", b"\xff", b"a"]


@settings(max_examples=800, deadline=None)
@given(st.sampled_from([json.dumps(GOOD).encode(), msgspec.json.encode(GOOD), b'{"a":[1,{"b":"c"}]}']), st.lists(
    st.tuples(st.floats(0, 1), st.sampled_from(PIECES), st.integers(0, 3)), min_size=1, max_size=3))  # fmt: skip
def test_the_fast_and_the_slow_way_agree_on_damaged_text(data, damages):
    for place, piece, cut in damages:
        at = int(place * len(data))
        data = data[:at] + piece + data[at + cut :]
    assert outcome(strict_json, data) == outcome(slowly, data)


def outcome(read, data):
    try:
        return msgspec.json.encode(read(data))
    except NotStrict:
        return "refused"


def test_the_usual_body_goes_the_fast_way(monkeypatch):
    monkeypatch.setattr(strict, "slowly", None)
    rows = [[1760000000000, 1760000000000, 1760000000000, "claude-sonnet-4-5-20250929", "standard", 1, 2, 3, 4, 5, 1, 0.0123]] * 40
    body = msgspec.json.encode({"title": 'say "hi" \\ é 🦉', "cost": 0.12345678901234567, "usage": rows})
    assert strict_json(body)["title"] == 'say "hi" \\ é 🦉'


# -- the two forms of the definition


def verdict(judge, found):
    try:
        return {name: msgspec.to_builtins(value) for name, value in msgspec.structs.asdict(judge(copy.deepcopy(found))).items()}
    except Problem as problem:
        return problem.status, problem.type


ODD = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 3), st.sampled_from([2**53 - 1, 2**53, -(2**53), 10**30]), st.sampled_from([1.0, 0.5, -1.0, 1e300]),
    st.text(max_size=4), st.sampled_from(["push", "beat", "bye", "Push", "push\n", "a" * 32, "A" * 32, "a" * 32 + "\n", "0" * 64, "g" * 64, "0" * 63, "x" * 501, "x" * 513]),
    st.just([]), st.just({}), st.just([None]), st.just([[]]), st.just({"k": "session"}), st.just([{"k": "session", "id": "a", "b": "{}"}]),
    st.just([{"k": "session", "id": "a", "b": 1}]), st.just([{"k": "Session", "id": "a", "b": "{}"}]), st.just([{"k": "session", "id": "a", "b": "{}", "new": 1}]),
    st.just({"deep": {"er": [1]}}),
)  # fmt: skip
PLACES = [[name] for name in GOOD] + [["put", 0], ["put", 1, "k"], ["put", 0, "id"], ["put", 0, "b"], ["del", 0], ["del", 0, "id"], ["del", 0, "k"], ["new"], ["gone"]]


@settings(max_examples=1500, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(PLACES), ODD | st.just("(remove)")), min_size=1, max_size=3))
def test_both_forms_of_the_definition_agree_on_changed_messages(changes):
    found = copy.deepcopy(GOOD)
    for path, value in changes:
        change(found, path, copy.deepcopy(value))  # hypothesis hands out the same object twice
    assert verdict(compiled_only, found) == verdict(messages.judged_slowly, found)


PLAIN = {fields.Integer: int, fields.String: str, messages._Flag: bool, fields.Dict: dict[str, Any]}


def derived(schema, name):
    """The compiled form that follows from the definition."""
    found = list(schema().fields.values())
    members = [(field.name, type_of(field), *default_of(field)) for field in found]
    return msgspec.defstruct(name, members, frozen=True, rename={field.name: field.data_key for field in found if field.data_key})


def default_of(field):
    default = field.load_default
    return () if field.required else (msgspec.field(default_factory=default),) if callable(default) else (default,)


def type_of(field):
    if isinstance(field, fields.List):
        return list[type_of(field.inner)]
    if isinstance(field, fields.Nested):
        return derived(type(field.schema), type(field.schema).__name__.removesuffix("Schema"))
    limits = {name: value for check in field.validators for name, value in limits_of(check).items() if value is not None}
    kind = Annotated[PLAIN[type(field)], msgspec.Meta(**limits)] if limits else PLAIN[type(field)]
    return kind | None if field.allow_none else kind


def limits_of(check):
    if isinstance(check, validate.Range):
        return {"ge": check.min, "le": check.max}
    if isinstance(check, validate.Length):
        return {"min_length": check.min or None, "max_length": check.max}
    if isinstance(check, validate.OneOf):
        return {"pattern": "^(" + "|".join(check.choices) + r")\Z"}
    assert isinstance(check, validate.Regexp), "a check that is not compiled"
    return {"pattern": check.regex.pattern}


def shape_of(kind):
    """All that decides what is accepted, without the names of the classes."""
    return re.sub(r"cls=<class '[^']*'>", "", repr(msgspec.inspect.type_info(kind)))


def test_the_compiled_form_says_no_more_and_no_less_than_the_definition():
    assert shape_of(wire.Push) == shape_of(derived(messages.PushSchema, "Push"))


def test_a_message_that_is_in_order_never_waits_for_the_definition():
    program = "import json, sys; from ledger import wire; wire.read_push(sys.stdin.buffer.read()); print('marshmallow' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", program], input=json.dumps(GOOD).encode(), capture_output=True, check=True).stdout
    assert said.strip() == b"False"


def compiled_only(found):
    """The compiled form's own verdict."""
    try:
        return msgspec.convert(found, wire.Push)
    except msgspec.ValidationError:
        raise Problem(400, "malformed") from None


def change(found, path, value):
    try:
        for step in path[:-1]:
            found = found[step]
        if value == "(remove)":
            del found[path[-1]]
        else:
            found[path[-1]] = value
    except (KeyError, IndexError, TypeError):
        pass  # an earlier change took the place away


def test_a_good_message_is_read_whole():
    message = wire.read_push(json.dumps(GOOD).encode())
    assert (message.v, message.type, message.seq, message.commit, message.changes) == (1, "push", 2, True, 3)
    assert [(put.k, put.id, put.b) for put in message.put] == [("session", "a", '{"n":1}'), ("limit", "b/5h", "{}")]
    assert [(ref.k, ref.id) for ref in message.gone] == [("session", "c")]
    assert message.agent == GOOD["agent"]


def test_what_may_be_left_out_has_a_default():
    beat = {name: GOOD[name] for name in ("v", "aud", "source", "lease", "seq", "prev")} | {"type": "beat"}
    message = wire.read_push(json.dumps(beat).encode())
    assert (message.after, message.commit, message.put, message.gone, message.agent) == ("0" * 64, False, [], [], {})


@pytest.mark.parametrize("name", ["v", "type", "aud", "source", "lease", "seq", "prev"])
def test_what_must_be_there_is_missed_by_name(name):
    with pytest.raises(Problem, match=name) as caught:
        wire.read_push(json.dumps({key: value for key, value in GOOD.items() if key != name}).encode())
    assert (caught.value.status, caught.value.type) == (400, "malformed")


def test_a_complaint_names_the_place_and_not_the_value():
    message = copy.deepcopy(GOOD)
    message["put"][1]["k"] = "SECRET"
    with pytest.raises(Problem) as caught:
        wire.read_push(json.dumps(message).encode())
    assert "put.1.k" in caught.value.detail
    assert "SECRET" not in caught.value.detail


def test_the_compiled_form_is_much_faster():
    """Not a benchmark: the ratio is about thirty, and only a tenfold loss of it is caught here."""
    from timeit import timeit

    found = GOOD | {"put": [{"k": "session", "id": f"s{n}", "b": "{}"} for n in range(90)]}
    slow, fast = (min(timeit(lambda judge=judge: judge(found), number=5) for _ in range(5)) for judge in (messages.judged_slowly, wire.judged))
    assert slow > 3 * fast


@given(st.text(st.characters(exclude_categories=()), max_size=3) | st.sampled_from(["", "x" * 128, "x" * 129, "é" * 128, "é" * 129, "\x7f", "\x9f", "\u2028"]))
def test_an_id_is_what_the_record_says_it_is(text):
    assert wire._is_id(text) == (ID.fullmatch(text) is not None)


# -- inflation


def test_one_gzip_member_is_inflated():
    assert wire.inflate(gzip.compress(b"x" * 1000)) == b"x" * 1000
    assert wire.inflate(gzip.compress(b"")) == b""


def test_a_bomb_is_given_up_at_the_limit():
    bomb = gzip.compress(b"\0" * (64 << 20))
    tracemalloc.start()
    try:
        with pytest.raises(Problem) as caught:
            wire.inflate(bomb)
        assert tracemalloc.get_traced_memory()[1] < 3 * wire.MAX_INFLATED, "it was inflated further than to the limit"
    finally:
        tracemalloc.stop()
    assert (caught.value.status, caught.value.type) == (413, "too-large")


def test_the_limit_itself_is_allowed():
    assert len(wire.inflate(gzip.compress(b"x" * (4 << 20)))) == 4 << 20
    with pytest.raises(Problem, match="4194304"):
        wire.inflate(gzip.compress(b"x" * ((4 << 20) + 1)))


WHOLE = gzip.compress(b'{"a":1}' * 100, mtime=0)


@pytest.mark.parametrize("data", [b"", b"{}", WHOLE + b"x", WHOLE + WHOLE, WHOLE + b"\0", b"x" + WHOLE, zlib.compress(b"{}"), b"\x1f\x8b", b"\x1f\x8b\x08" + b"\0" * 20])
def test_what_is_not_exactly_one_member_is_malformed(data):
    with pytest.raises(Problem) as caught:
        wire.inflate(data)
    assert (caught.value.status, caught.value.type) == (400, "malformed")


def test_a_cut_anywhere_is_malformed():
    for length in range(len(WHOLE)):
        with pytest.raises(Problem) as caught:
            wire.inflate(WHOLE[:length])
        assert caught.value.status == 400


@given(st.binary(max_size=200) | st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)).map(lambda at: WHOLE[: at[0]] + bytes([at[1]]) + WHOLE[at[0] + 1 :]))
def test_no_bytes_raise_anything_but_a_problem(data):
    try:
        wire.inflate(data)
    except Problem as problem:
        assert problem.status in (400, 413)


def test_a_problem_document_has_the_members_of_rfc_9457():
    document = json.loads(Problem(409, "digest-mismatch", "send it again", seq=7).document())
    assert document == {"type": "digest-mismatch", "title": "digest mismatch", "status": 409, "detail": "send it again", "seq": 7}


@pytest.mark.parametrize("name", ["put", "del"])
def test_far_too_many_changes_are_refused_before_anything_is_read_of_them(name, monkeypatch):
    monkeypatch.setattr(wire, "judged", lambda found: pytest.fail("it was read"))
    with pytest.raises(Problem) as refused:
        wire.read_push(json.dumps({"v": 1, name: [{"k": "session"}] * 91}).encode())
    assert (refused.value.status, refused.value.extra["max_changes"]) == (413, 90)
