"""Output on screens and pipes that lack some signs: these are written in ASCII instead of ending the command."""

from __future__ import annotations

import codecs
import io
import sys
import unicodedata

#: Name under which Python's encoders find :func:`_replace`.
HANDLER = "lomaq.ascii"
_SIGNS = {
    **{"κ": "kappa", "ε": "epsilon", "σ": "sigma", "λ": "lambda", "∂": "d", "−": "-", "–": "-", "—": "-", "…": "..."},
    **{"×": "x", "·": "*", "≤": "<=", "≥": ">=", "→": "->", "∞": "inf", "±": "+-", "ℓ": "l", "²": "^2", "’": "'"},
    **{"█": "#", "━": "-", "╸": "-", "╺": "-", "│": "|", "┃": "|", "─": "-", "═": "=", "║": "|", "•": "*", "½": "1/2"},
}


def fall_back_to_ascii() -> None:
    """Let standard output and error take every sign; for a process of our own."""
    codecs.register_error(HANDLER, _replace)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=HANDLER)


def _replace(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    return "".join(map(_plain, error.object[error.start : error.end])), error.end


def _plain(sign: str) -> str:
    if sign in _SIGNS:
        return _SIGNS[sign]
    if "\u2500" <= sign <= "\u257f":  # lines and corners of tables
        return "+"
    return unicodedata.normalize("NFKD", sign).encode("ascii", "ignore").decode() or "?"
