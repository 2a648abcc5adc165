import base64
import html
import json
import string
from urllib.parse import quote, quote_plus, unquote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.sinks._masking import Masker

KEY = "p4ss+Wörd/with=signs&more%41"

QUOTINGS = {
    "raw": lambda text: text,
    "percent": lambda text: quote(text, safe=""),
    "percent in lower case": lambda text: quote(text, safe="").lower(),
    "form": quote_plus,
    "form decoded": unquote_plus,
    "percent twice": lambda text: quote(quote(text, safe=""), safe=""),
    "json": json.dumps,
    "json in json": lambda text: json.dumps(json.dumps(text)),
    "every character in json": lambda text: "".join(f"\\u{ord(c):04x}" for c in text),
    "html": html.escape,
    "html numbers": lambda text: "".join(f"&#{ord(c)};" for c in text),
    "repr": repr,
    "bytes repr": lambda text: repr(text.encode()),
    "upper case": str.upper,
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64 for URLs": lambda text: base64.urlsafe_b64encode(text.encode()).decode(),
    "cut short": lambda text: text[:14],
    "its end": lambda text: text[-12:],
}


@pytest.mark.parametrize("quoting", QUOTINGS)
def test_a_secret_that_is_quoted_does_not_slip_through(quoting: str):
    quoted = QUOTINGS[quoting](KEY)
    shown = Masker([KEY])(f"Bad key '{quoted}' given, see the manual")
    assert quoted not in shown
    assert "***" in shown
    assert shown.startswith("Bad key '")
    assert shown.endswith("' given, see the manual")


@given(
    # Control characters are refused in secrets where they come from, or stripped.
    st.text(string.digits + string.ascii_letters + string.punctuation + " ", min_size=8),
    st.sampled_from(sorted(set(QUOTINGS) - {"cut short", "its end", "form decoded"})),
    st.text("xyz", max_size=5),
)
def test_no_secret_in_any_quoting_is_shown(secret: str, quoting: str, around: str):
    quoted = QUOTINGS[quoting](secret)
    assert quoted not in Masker([secret])(around + quoted + around)


@given(st.text())
def test_a_text_without_secrets_is_not_touched(text: str):
    masked = Masker(["#secret-of-the-house#"])(text.encode("utf-8", "replace").decode())
    assert masked == text.encode("utf-8", "replace").decode()


def test_words_shorter_than_four_characters_do_not_blank_every_message():
    assert Masker(["", "a", "the"])("the message, as it came") == "the message, as it came"


def test_a_short_secret_is_masked_whole():
    assert Masker(["abcde"])("key=abcde!") == "key=***!"


def test_tokens_that_come_later_are_masked_and_old_ones_do_not_pile_up():
    mask = Masker()
    for number in range(9):
        mask.add(f"token-number-{number}-{'x' * 3}")
    assert mask("seen token-number-8-xxx") == "seen ***"
    assert len(mask._tokens) == 8
