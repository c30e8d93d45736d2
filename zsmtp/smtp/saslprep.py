"""SASLprep: user names and secrets in one of the several forms that the same text can have in Unicode.

Source: RFC 4013, RFC 3454.
"""

from __future__ import annotations

import stringprep
import unicodedata
from typing import Final

__all__ = ["saslprep"]

_PROHIBITED: Final = (
    stringprep.in_table_a1,  # not assigned: RFC 4013 2.5 forbids it where text is stored, and we cannot know
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


def saslprep(text: str) -> str:
    """Return the one form of `text`; ValueError, which does not quote it, if it has none."""
    mapped = [" " if stringprep.in_table_c12(char) else char for char in text]
    text = "".join(char for char in mapped if not stringprep.in_table_b1(char))
    text = unicodedata.ucd_3_2_0.normalize("NFKC", text)
    if not text:
        raise ValueError("nothing is left of the text")
    if any(prohibits(char) for char in text for prohibits in _PROHIBITED):
        raise ValueError("the text has a character that is prohibited")
    if _mixes_directions(text):
        raise ValueError("the text runs in both directions")
    return text


def _mixes_directions(text: str) -> bool:
    """RFC 3454 6: text from right to left begins and ends so, and has nothing from left to right."""
    if not any(map(stringprep.in_table_d1, text)):
        return False
    begins_and_ends_so = stringprep.in_table_d1(text[0]) and stringprep.in_table_d1(text[-1])
    return not begins_and_ends_so or any(map(stringprep.in_table_d2, text))
