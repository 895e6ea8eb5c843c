"""Hides secrets in values, even where an operator put one by mistake."""

import re

HIDDEN = "***"
# Of a URL, or of `user:password@host`. A password may contain any character.
_CREDENTIALS = re.compile(r"(?<=//).*@|(?<!\w)(?!unix:)[^\s\"/:]*:(?!//)[^\"]*@", re.DOTALL)
# In a JSON object.
_NAMED = re.compile(
    r"(\"[^\"]*(?:pass|secret|token|key)[^\"]*\"\s*:\s*)\"(?:[^\"\\]|\\.)*\"", re.IGNORECASE
)
_PEM = re.compile(r"-----BEGIN.*", re.DOTALL)
_PLACEHOLDER = re.compile(
    r"change[-_ ]?(?:me|this)|test[-_ ]secret|test_non_dev_secret|your[-_ ](?:own|jwt|secret)"
    r"|replace[-_ ]?(?:me|this)|example[-_ ]secret|secret[-_ ]?key[-_ ]?here",
    re.IGNORECASE,
)
_LEAST_DISTINCT_CHARACTERS = 5


def without_secrets(text: str) -> str:
    """Returns a text without URL credentials, secrets in JSON objects, and PEM keys."""
    text = _NAMED.sub(rf'\1"{HIDDEN}"', text)
    return _PEM.sub(HIDDEN, _CREDENTIALS.sub(f"{HIDDEN}@", text))


def guessable(secret: str) -> str:
    """Returns why a signing secret can be guessed, as the end of a sentence; empty if it cannot."""
    if _PLACEHOLDER.search(secret):
        return "contains words from a published example"
    if 0 < len(set(secret)) < _LEAST_DISTINCT_CHARACTERS:
        return "consists of only a few different characters"
    return ""
