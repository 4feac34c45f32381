"""Other encodings, no home, a notebook's matplotlib, a caller's torch: the same results, and never a traceback."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from thinning import slow

from reincarnate import surroundings
from reincarnate.config import read_yaml, to_yaml
from reincarnate.errors import UserError
from reincarnate.priors.teacher_report import evaluate_agent
from reincarnate.surroundings import own_torch

SRC = str(Path(surroundings.__file__).parents[1])
RULE = "import torch\ndef lean(obs):\n    return torch.stack([-obs[:, 2], obs[:, 2]], 1)\n"


@pytest.fixture(autouse=True)
def somewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("rule.py").write_text(RULE)


def run(*args: str, code: str = "", **env: str) -> tuple[int, bytes]:
    """A process of the command line, or of some code; its exit code and all it said, as bytes."""
    command = ["-c", code] if code else ["-m", "reincarnate", *args]
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("LC_", "LANG", "PYTHONUTF8"))}
    said = subprocess.run(
        [sys.executable, *command], capture_output=True, env={**clean, "PYTHONPATH": SRC, **env}, timeout=120
    )
    return said.returncode, said.stdout + said.stderr


# ---- what is printed ---------------------------------------------------------------------------------

TABLE = """
from reincarnate import ui
from reincarnate.surroundings import readable_output
from rich.table import Table
readable_output()
print("τ = 1.5 × ε … λ → 0 − 1 “é”")
table = Table("a", title="t")
table.add_row("γ é")
ui.console.print(table)
ui.note("warning: Δ")
"""


@pytest.mark.parametrize("encoding, letter", [("cp1252", b"\xe9"), ("cp437", b"\x82"), ("ascii", b"?")])
def test_our_signs_are_spelt_out_where_an_encoding_is_not_unicode_and_its_own_letters_kept(encoding, letter):
    code, said = run(code=TABLE, PYTHONIOENCODING=encoding)
    assert code == 0
    assert b'tau = 1.5 x epsilon ... lambda -> 0 - 1 "' + letter + b'"' in said and b"gamma " + letter in said
    assert all(byte < 128 for byte in said.replace(letter, b""))  # boxes are drawn in ASCII too


def test_unicode_terminals_get_what_we_print_and_no_name_of_a_file_can_stop_it():
    code, said = run(code=TABLE.replace("“é”", "\\udcff"), PYTHONIOENCODING="utf-8")
    assert code == 0 and "τ = 1.5 × ε … λ".encode() in said and b"\\udcff" in said


@pytest.mark.slow
def test_help_and_errors_are_told_under_the_c_locale():
    code, said = run("--help", LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert code == 0 and b"usage: reincarnate" in said and b"x tasks" not in said and b"tasks x methods" in said
    code, said = run("evaluate", "nö.zip", LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert code == 2 and b"Traceback" not in said and b"error:" in said


# ---- what is read ------------------------------------------------------------------------------------


def test_a_config_in_unicode_is_read_whatever_the_locale():
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        Path(f"{encoding}.yaml").write_bytes("env: CartPole-v1\nlabel: größer λ\n".encode(encoding))
        assert read_yaml(Path(f"{encoding}.yaml")) == {"env": "CartPole-v1", "label": "größer λ"}
    code = "from reincarnate.config import read_yaml; from pathlib import Path\n"
    code += "assert all(ascii(read_yaml(p)['label']) == r\"'gr\\xf6\\xdfer \\u03bb'\" for p in Path().glob('*.yaml'))"
    assert run(code=code, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0") == (0, b"")


@pytest.mark.parametrize(
    "content", ["label: größer".encode("latin-1"), b"a: \xff\xfe", b"a: \x00", "ä".encode("utf-32")]
)
def test_a_config_in_another_encoding_is_one_line_that_names_the_right_one(content):
    Path("c.yaml").write_bytes(content)
    with pytest.raises(UserError, match=r"^c\.yaml .*(UTF-8|mapping)"):
        read_yaml(Path("c.yaml"))


LIKE_OTHERS = (
    "1e5",
    "-1E-4",
    "1_0e5",
    ".5e3",
    "1.e5",
    "0x1f",
    "0o7",
    "1:30",
    "-.inf",
    "true",
    "off",
    "null",
    "~",
    "=",
    "<<",
)
LIKE_OTHERS += (
    "",
    " ",
    "2001-01-01",
    "2001-01-01 10:00:00",
    "a: b",
    "- a",
    "# a",
    "&a",
    "*a",
    "!!str 1",
    "1e5\n",
    "20,000",
)
SCALARS = st.one_of(
    st.sampled_from(LIKE_OTHERS),
    st.from_regex(r"\A[-+.0-9eE_:]{1,8}\Z"),
    st.text(st.characters(exclude_categories=("Cs",)), max_size=12),
    st.floats(allow_nan=False).map(str),
    st.dates().map(str),
)


@given(SCALARS)
def test_a_text_survives_a_file_whatever_it_looks_like(text):
    Path("c.yaml").write_text(to_yaml({"label": text, "of": {text: 1}}), "utf-8")
    assert read_yaml(Path("c.yaml")) == {"label": text, "of": {text: 1}}


@given(st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.booleans(), st.none()))
def test_what_is_no_text_survives_a_file_too(value):
    Path("c.yaml").write_text(to_yaml({"a": value}), "utf-8")
    assert read_yaml(Path("c.yaml")) == {"a": value} and type(read_yaml(Path("c.yaml"))["a"]) is type(value)


def test_numbers_with_exponents_are_numbers_unless_they_are_in_quotes():
    Path("c.yaml").write_text("a: [1e-4, 1E5, .5e3, 1.e5, 1_0e1, -2e+3]\nb: ['1e-4', \"1e5\", 1e5x, e5, 1e]\n")
    assert read_yaml(Path("c.yaml")) == {
        "a": [1e-4, 1e5, 500, 1e5, 100, -2000],
        "b": ["1e-4", "1e5", "1e5x", "e5", "1e"],
    }


# ---- notebooks, containers ---------------------------------------------------------------------------


@pytest.mark.parametrize("asked", ["module://matplotlib_inline.backend_inline", slow("svg")])
def test_the_page_is_drawn_without_pyplot_whatever_backend_a_notebook_left_in_the_environment(asked):
    code = "import reincarnate.report.picture as c, os, sys; c.figure; assert 'matplotlib.pyplot' not in sys.modules;"
    done, said = run(code=f"{code} print(os.environ.get('MPLBACKEND') or 'forgotten')", MPLBACKEND=asked)
    assert done == 0 and said.decode().strip() in (asked, *([] if asked == "svg" else ["forgotten"]))


def test_without_a_home_and_without_a_name_a_place_and_a_name_are_found(monkeypatch):
    def nobody(*_):
        raise KeyError("getpwuid(): uid not found: 54321")

    monkeypatch.setattr("pwd.getpwuid", nobody)
    for name in ("HOME", "LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    import getpass

    assert surroundings.home().name.startswith("reincarnate-")
    surroundings.own_process()
    assert getpass.getuser() == f"uid{os.getuid()}" and Path.home() == surroundings.home()


@pytest.mark.skipif(os.getuid() != 0, reason="becoming a user without an entry in passwd needs root")
def test_a_user_without_an_entry_in_passwd_gets_one_line():
    caps = "+dac_override,+dac_read_search"
    become = ["setpriv", f"--inh-caps={caps}", f"--ambient-caps={caps}", "--reuid", "54321", "--regid", "54321"]
    inspect = [sys.executable, "-m", "reincarnate", "inspect", "--data", "minari:a/b-v0"]
    bare = ["--clear-groups", "env", "-i", f"PATH={os.environ['PATH']}", f"PYTHONPATH={SRC}"]
    said = subprocess.run([*become, *bare, *inspect], capture_output=True, text=True, timeout=120)
    assert said.returncode == 2 and "Traceback" not in said.stderr and "no Minari dataset there" in said.stderr


# ---- a caller's torch --------------------------------------------------------------------------------


def test_within_own_torch_all_is_as_it_comes_and_afterwards_as_the_caller_had_it():
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    try:
        with torch.no_grad(), own_torch():
            x = torch.ones(2, requires_grad=True)
            assert x.dtype == torch.float32 and x.device.type == "cpu" and (2 * x).requires_grad
        with torch.inference_mode(), own_torch():
            assert not torch.is_inference(torch.ones(2))
        with torch.device("meta"), own_torch():
            assert torch.ones(2).device.type == "cpu"
        assert torch.ones(2).dtype == torch.float64 and torch.ones(2).device.type == "meta"
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)


def test_own_torch_ends_well_where_something_fails_within():
    torch.set_default_dtype(torch.float64)
    try:
        with pytest.raises(ZeroDivisionError), own_torch():
            1 / 0  # noqa: B018
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("how", ["float64", "no_grad", "inference_mode", "device"])
def test_a_run_is_the_same_whatever_torch_the_caller_has(how, tmp_path):
    """Training and evaluation from a script that has set torch up for itself."""
    import reincarnate as rc

    student = rc.DQN(hidden=(8,), warmup=20, batch_size=8)
    run_ = rc.Run("CartPole-v1", rc.Scratch(), student, env_steps=60, evaluations=1, eval_episodes=1, final_episodes=2)
    run_ = __import__("dataclasses").replace(run_, reference_episodes=2, compile="off")
    execute = own_torch()(rc.execute)
    plain = execute(run_, tmp_path / "plain")["returns"], evaluate_agent("py:rule.py:lean", "CartPole-v1", 2)
    context = {"no_grad": torch.no_grad, "inference_mode": torch.inference_mode}.get(how, torch.enable_grad)
    torch.set_default_dtype(torch.float64 if how == "float64" else torch.float32)
    torch.set_default_device("meta" if how == "device" else None)
    try:
        with context():
            other = execute(run_, tmp_path / "other")["returns"], evaluate_agent("py:rule.py:lean", "CartPole-v1", 2)
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)
    assert other == plain


def test_a_package_whose_source_lies_on_the_path_alone_has_no_version_and_stops_no_run(monkeypatch):
    from importlib import metadata

    from reincarnate import __version__
    from reincarnate.run import settings

    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    settings._versions.cache_clear()
    found = settings._versions()
    settings._versions.cache_clear()
    assert found["reincarnate"] == __version__ and found["torch"] == "none"
