"""Decodes a line's bytes: UTF-8, Windows-1252, old DOS and Mac code pages, and mixtures of them.

The meaning of a single byte is judged by the resulting word: "JoÆo" is not a word in any language
that a school uses, but the same bytes are "João" in code page 850.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

__all__ = ["NotText", "codepage_of", "decoded"]

_MIXED, _DOUBTFUL, _DOUBLE = "mixed", "doubtful", "double"
_PAGES: tuple[str, ...] = ("cp1252", "cp850", "mac_roman")
_UTF8_PART = re.compile(
    rb"[\xc2-\xdf][\x80-\xbf]|[\xe1-\xec\xee\xef][\x80-\xbf]{2}|\xe0[\xa0-\xbf][\x80-\xbf]"
    rb"|\xed[\x80-\x9f][\x80-\xbf]|\xf0[\x90-\xbf][\x80-\xbf]{2}|[\xf1-\xf3][\x80-\xbf]{3}"
    rb"|\xf4[\x80-\x8f][\x80-\xbf]{2}"
)
_OURS = "áàâãéêíóôõúçÁÀÂÃÉÊÍÓÔÕÚÇ"
_LIKELY = re.compile(f"[{_OURS}]")
_FITS_OTHERS = re.compile(f"[\x00-\x7f{_OURS}üÜñÑöÖäÄºª°–—’“”€]*")
_LETTER = r"[^\W\d_]"
_UNLIKELY = re.compile(
    # a symbol after a letter: "L£cia"
    rf"(?<={_LETTER})[¡¢£¤¥¦¨©¬¯±²³µ¶¸¹¼½¾¿‚ƒ„†‡ˆ‰‹˜›€×÷\x80-\x9f]"
    # a symbol before a letter, or inside a word
    rf"|[¡¢¤¥¦©¬¯±²³µ¶¸¹¿‚ƒ„†‡ˆ‰˜×÷\x80-\x9f](?={_LETTER})|(?<={_LETTER})(?:“|[”•™£€](?={_LETTER}))"
    # uppercase among lowercase letters, and vice versa: "JoÆo", "LéCIA"
    r"|(?<=[a-zà-öø-ÿ])[À-ÖØ-ÞŠŒŽŸ]|(?<=[A-Z])[à-öø-ÿ](?=[A-Z])"
    r"|(?<![^\W_])[à-öø-ÿ](?=[A-Z])|(?<=[A-Z]{2})[à-öø-ÿ](?![^\W_])"
    r"|äe|Ò(?![a-z])|[ÐÞðþŸ]"
)


class NotText(ValueError):
    """The bytes are not valid in any of the known encodings."""


def decoded(raw: bytes, preferred: str | None = None) -> tuple[str, str]:
    """The text of one line, and a remark about it: "", a code page's name, "mixed" (two encodings
    in the line), "double" (UTF-8 that was encoded twice, corrected) or "doubtful".

    preferred  the code page established by the rest of the file. Raises `NotText`.
    """
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        return _by_page(raw, preferred)
    if not _ODD.search(text):
        return text, ""
    fixed = _undoubled(text)
    if fixed != text:
        return fixed, _DOUBLE
    return text, _DOUBTFUL if _WRONG.search(text) else ""


def codepage_of(lines: Iterator[bytes]) -> str | None:
    """The code page that a file is evidently in, if it is not Windows-1252."""
    votes = dict.fromkeys(_PAGES, 0)
    for raw in lines:
        if raw.isascii():
            continue
        try:
            raw.decode("utf-8")
        except UnicodeDecodeError:
            single = _UTF8_PART.sub(b" ", raw)
            fitting = [page for page in _PAGES if _fits(single, page)]
            if len(fitting) == 1:
                votes[fitting[0]] += 1
    best = max(votes, key=votes.__getitem__)
    # A file may be pasted together; then each line is judged on its own.
    return best if best != "cp1252" and votes[best] > sum(votes.values()) * 0.95 else None


def _by_page(raw: bytes, preferred: str | None) -> tuple[str, str]:
    single = _UTF8_PART.sub(b" ", raw)
    proved = preferred is not None and _fits(single, preferred, proved=True)
    fitting = (page for page in _PAGES if _fits(single, page))
    page = preferred if proved else next(fitting, None)
    if page is not None:
        if page == "cp1252" and len(single) == len(raw):
            # "Sá" in code page 850 looks like "S" and a non-breaking space, maybe with no other
            # clue.
            unclear = b"\xa0" in raw and not proved and _fits(single, "cp850")
            return raw.decode(page), _DOUBTFUL if unclear else ""
        return _parts(raw, page), _MIXED if page == "cp1252" else page
    try:
        return _parts(raw, "cp1252"), _DOUBTFUL
    except UnicodeDecodeError:
        raise NotText from None


def _fits(single: bytes, page: str, *, proved: bool = False) -> bool:
    try:
        text = single.decode(page)
    except UnicodeDecodeError:
        return False
    if _UNLIKELY.search(text):
        return False
    return page == "cp1252" or (
        _FITS_OTHERS.fullmatch(text) is not None and (proved or _LIKELY.search(text) is not None)
    )


def _parts(raw: bytes, page: str) -> str:
    """Decode valid UTF-8 as UTF-8, and the rest as `page`."""
    texts, at = [], 0
    for found in _UTF8_PART.finditer(raw):
        texts += [raw[at : found.start()].decode(page), found[0].decode("utf-8")]
        at = found.end()
    return _undoubled("".join([*texts, raw[at:].decode(page)]))


def _as_windows(byte: int) -> str:
    try:
        return bytes([byte]).decode("cp1252")
    except UnicodeDecodeError:
        return chr(byte)


_CONTINUED = "".join(
    {_as_windows(byte) for byte in range(0x80, 0xC0)} | set(map(chr, range(0x80, 0xC0)))
)
_TWICE = re.compile(f"[ÂÃ][{re.escape(_CONTINUED)}]|â[€\x80][{re.escape(_CONTINUED)}]")
_ODD = re.compile("[ÂÃâ¡¢£¤¥¦¬‚ƒ„†‡‰‹›¶÷×\x80-\x9fÆÐÞ]")
"""Every match of `_TWICE` and `_WRONG` contains one of these."""
# Valid UTF-8 may contain text that an earlier program decoded wrongly.
_WRONG = re.compile(
    rf"Ã[“”‘’–—…º]|(?<={_LETTER})[¡¢£¤¥¦¬‚ƒ„†‡‰‹›¶÷×\x80-\x9f](?={_LETTER})|(?<=[a-z])[ÆÐÞ]"
)
_BYTES: Mapping[int, int] = {ord(_as_windows(byte)): byte for byte in range(0x80, 0x100)}
_AFTER_A_WORD = frozenset("“”‘’–—…ºª«»°•´·")
_TIMES = 3  # each program on the way may have encoded it again


def _undoubled(text: str) -> str:
    """`text` with UTF-8 corrected that was taken for Windows-1252 and encoded again."""
    for _ in range(_TIMES):
        fixed = _TWICE.sub(_once_less, text) if _TWICE.search(text) else text
        if fixed == text:
            break
        text = _whole_once_less(text) or fixed
    return text


def _whole_once_less(text: str) -> str:
    """`text` with one encoding undone for every letter; "" if not every letter was encoded
    twice."""
    try:
        return bytes(_BYTES.get(ord(char), ord(char)) for char in text).decode("utf-8")
    except ValueError:
        return ""


def _once_less(found: re.Match[str]) -> str:
    pair, text = found[0], found.string
    before, after = text[found.start() - 1 : found.start()], text[found.end() : found.end() + 1]
    if pair[0] == "Ã":
        # A word may end in "Ã", as "IRMÃ", and be followed by quotation marks, dashes and
        # non-breaking spaces.
        if pair[1] == "\xa0" and before.isupper():
            return pair
        if pair[1] in _AFTER_A_WORD and not (after.isalpha() or before.islower()):
            return pair
    raw = bytes(_BYTES.get(ord(char), ord(char) & 0xFF) for char in pair)
    try:
        once = raw.decode("utf-8")
    except UnicodeDecodeError:
        return pair
    return once if once.isprintable() or once.isspace() or once == "\xad" else pair
