"""Parameters of any type and form, by every way in: a notebook, one that papermill filled, the command line."""

import json

import pytest
import yaml
from fuzzing import budgets, plain, refused, run, text
from hypothesis import strategies as st
from papermill.translators import PythonTranslator

from polinb.errors import ParameterError
from polinb.runs.artifacts import canonical
from polinb.runs.checkout import parse_settings
from polinb.runs.params import CHAPTERS, PROFILES, Params, from_namespace, profile_values

NAMES = sorted(Params.model_fields)
DEFAULTS = profile_values("tiny")
HUGE = [10**400, -(10**400), 2**63, 2**31, -(2**31), 1e308, 5e-324, -0.0, "x" * 100_000]
SCALARS = st.none() | st.booleans() | st.integers() | st.sampled_from(HUGE) | st.floats() | text | st.binary(max_size=8)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=3) | st.tuples(inner, inner),
    max_leaves=8,
)


@pytest.fixture(autouse=True)
def _everything(monkeypatch):
    """A chapter with all parameters."""
    monkeypatch.setitem(CHAPTERS, "everything", Params.__bases__)


def near(name):
    """Values close to one that is allowed, so that some are taken."""
    value = DEFAULTS.get(name, "tiny")
    if isinstance(value, bool):
        return st.booleans()
    if isinstance(value, int):
        return st.integers(-1, 300) | st.floats(0, 10)
    if isinstance(value, float):
        return st.floats(-1, 120, allow_nan=False) | st.integers(0, 9) | st.sampled_from([2e-5, 1e-3, 0.5])
    if isinstance(value, list):
        return st.lists(st.sampled_from([*value, "crime", "race", "uniform", 0.5, 3, 10.0]), max_size=4)
    return st.just(value) | plain


def same(one, other):
    """Equal in type as well: True is not 1, and 5 is not '5'. Whole numbers where floats belong become floats."""
    if isinstance(one, float) and type(other) is int:
        return one == other
    if isinstance(one, list) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


def valid(params, profile, given):
    """What was taken is what was given, nothing else changed, and every stage can hash, write and read it."""
    values = {**profile_values(profile), "profile": profile}
    for name, value in params:
        expected = values[name] if given.get(name) is None else given[name]
        assert same(value, expected), f"{name}: {value!r} out of {expected!r}"
    assert Params(**json.loads(canonical(params.model_dump()))).model_dump() == params.model_dump()


@budgets(50, 1500)
def test_any_names_and_values_of_a_notebook(size):
    def check(case):
        profile, given = case
        space = {"In": [], "_": 1, "__name__": "x", "profile": profile, **given}
        try:
            params = from_namespace("everything", space)
        except ParameterError as error:
            return refused(error, error.name, repr(error.name)[1:-1])
        seen = {name: value for name, value in given.items() if not name.startswith("_") and name != "In"}
        chosen = seen.pop("profile", profile)
        valid(params, "quick" if chosen is None else chosen, seen)
        return True

    named = st.sampled_from(NAMES).flatmap(lambda name: st.tuples(st.just(name), near(name) | VALUES))
    settings = st.lists(named | st.tuples(text, VALUES), max_size=3).map(dict)
    run(size, st.tuples(st.sampled_from([*PROFILES, *PROFILES, None, "fast"]) | VALUES, settings), check)


@budgets(50, 1500)
def test_what_papermill_injects_is_what_was_meant(size):
    """The parameters cell as papermill writes it, executed: the same parameters, or the same refusal."""

    def check(case):
        name, value = case
        given = {name: value}
        try:
            direct = Params.from_profile("tiny", **given)
        except ParameterError:
            direct = None
        source = PythonTranslator.codify({"profile": "tiny", **given})
        try:
            source.encode("utf-8")
        except UnicodeEncodeError:
            assert direct is None, "taken, but no notebook file can hold it"
            return False
        space = {}
        exec(compile(source, "cell", "exec"), space)
        space.pop("__builtins__")
        try:
            injected = from_namespace("everything", space)
        except ParameterError as error:
            assert direct is None, f"papermill changes {value!r}: {source}"
            return refused(error, name)
        if direct is None:
            assert isinstance(value, tuple) or value != value, f"taken only through papermill: {value!r}"
        else:
            assert injected.model_dump() == direct.model_dump()
        return True

    json_like = st.recursive(
        st.none() | st.booleans() | st.integers(-(10**12), 10**12) | st.floats() | text,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(plain, inner, max_size=2),
        max_leaves=5,
    )
    named = st.sampled_from([n for n in NAMES if n != "profile"])
    run(size, named.flatmap(lambda n: st.tuples(st.just(n), near(n) | json_like)), check)


@budgets(50, 1500)
def test_any_command_line(size):
    def check(texts):
        try:
            settings = parse_settings(texts)
            params = Params.from_profile("tiny", **{n: v for n, v in settings.items() if n != "profile"})
        except ParameterError as error:
            return refused(error, error.name, repr(error.name)[1:-1])
        for each in texts:
            name, _, value = each.partition("=")
            found, kind = settings[name.strip()], Params.model_fields[name.strip()].annotation
            if kind is str or (isinstance(found, str) and value[:1] != '"'):
                assert found == value  # text stays the text that it is: no, 1e5 and [x] as well
            elif not isinstance(found, str | bool | list):
                assert found == float(value)
        assert params.profile == "tiny"
        return True

    awkward = st.sampled_from(
        ["1" * 5000, "[" * 5000, "2026-13-45", "&a [*a]", "!!python/object/apply:os.system [id]", "{[1]: 2}", "=", "~",
         "2e-5", "5_0", "0x1f", "1:30", "NO", "no", ".inf", ".nan", "\t", "'", "- a", "[5, 10.0]", "[crime, race]"]
    )  # fmt: skip
    value = awkward | text | st.floats().map(repr) | st.integers().map(str)
    written = {name: near(name).map(lambda v: v if isinstance(v, str) else yaml.safe_dump(v)) for name in NAMES}
    named = st.sampled_from(NAMES).flatmap(lambda name: st.tuples(st.just(name), written[name] | value))
    line = named.map("=".join) | text | st.tuples(text, value).map("=".join)
    run(size, st.lists(line, max_size=3), check)
