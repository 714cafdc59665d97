"""What must not be shown: known secrets, what looks like one, and what is called one.

Known are the values of the variables, settings and keys whose names speak of secrets, wherever they turn up: an error
of a platform may quote them. What nobody knows beforehand is told by its looks. What only says where a secret is to be
found (a file, an ARN, the name of a Kubernetes secret), or who it is for, is none: an operator needs it.

Texts may be hostile: every pattern looks a bounded way ahead, so that none goes over a long text again and again.
"""

import json
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote, unquote

HIDDEN: Final = "***"
_LONGEST: Final = 20_000
"""Characters of a text that are shown: finding secrets in more takes too long."""
_SHORTEST: Final = 8
"""Characters: shorter ones would blank half of every line, and hide nothing."""
_CALLED: Final = (
    r"token|passw|passphrase|secret|credential|authorization|signature|connection_?string|secure_?(?:env|value)|cookie"
    r"|(?:api|access|account|private|shared|signing|encryption|master|fernet|ssh|azure_storage)[-_]?key"
    r"|_(?:pwd|pass|sas|pat|jwt|auth)\b"
)
"""What is in the name of a secret, in texts as well."""
_NAME: Final = re.compile(rf"{_CALLED}|(?:^|_)(?:sas|pat)(?:$|_)|^(?:jwt|auth)$", re.IGNORECASE)
_ABOUT: Final = (
    r"(?:name|ref|arn|from|parameter|type|kind|error|exception|manager|_file|_path|_dir|_ur[il]"
    r"|application_credentials|nats_credentials|pull_?secrets)"
)
"""How names end of what is said about a secret."""
_SAYS_WHERE: Final = re.compile(rf"{_ABOUT}$", re.IGNORECASE)
_BESIDE: Final = re.compile(rf"(?:{_ABOUT}|user|host|server)$", re.IGNORECASE)
"""What stands beside a secret, in what is called one as a whole: `registry_credentials`."""
_PLACE: Final = re.compile(r"arn:aws[\w-]*:|projects/[\w-]+/(?:secrets|locations)/")
_VALUE: Final = r"""(?:(?P<quote>\\*["']).*?(?:(?<!\\)(?P=quote)|$)|[^\s"'&,;)\]}]+)"""
"""A value behind its name: in quotes that may be escaped, as JSON within JSON is, or cut off; or a word."""
_LOOKS: Final = re.compile(
    rf"""
      (?P<url>\b[a-z][a-z0-9+.-]{{0,20}}://)[^\s"'<>]{{0,1000}}@      # a user in a URL
    | (?P<place>\barn:aws[\w-]{{0,20}}:[\w-]{{1,40}}:[^\s"'=,;&]{{1,1000}})     # shown, whatever it names
    | (?P<scheme>\b(?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{{8,}}
    | (?P<key>(?:{_CALLED}|\bsig|\bpwd)                               # a secret's name, and no other
      (?![\w-]{{0,40}}{_ABOUT}["'\\]{{0,4}}\s{{0,4}}[=:])
      [\w-]{{0,40}}\\*["']?\s{{0,4}}[=:]\s{{0,4}}(?:(?:bearer|basic)\s+)?){_VALUE}
    | \b(?:AKIA|ASIA)[A-Z0-9]{{16}}\b                                 # AWS's access keys
    | \beyJ[\w-]{{8,1000}}\.[\w-]+\.[\w-]*                            # JWTs
    | \bS[UANOCX][A-Z2-7]{{56}}\b                                     # seeds of NKeys
    | -----BEGIN[ A-Z]*PRIVATE\ KEY-----.*?(?:-----END[ A-Z]*PRIVATE\ KEY-----|$)
    """,
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)
_USER_AND_PASSWORD: Final = re.compile(r"[^\s/@:]*:([^\s@]+)@")


def names_secret(name: str) -> bool:
    """Say whether a key's or variable's value is to be kept secret."""
    return _NAME.search(name) is not None and not _SAYS_WHERE.search(name)


def secrets_in(document: object, *, within: bool = False) -> Iterator[str]:
    """Yield the secrets that a document holds, in the spellings in which they may turn up again.

    Read are its keys, lists of names with their values, passwords in URLs, and JSON within its texts. `within` says
    that all of it is secret.
    """
    match document:
        case Mapping():
            named = isinstance(document.get("name"), str) and names_secret(document["name"])
            for key, value in document.items():
                secret = names_secret(str(key)) or (named and key == "value")
                yield from secrets_in(value, within=secret or (within and not _BESIDE.search(str(key))))
        case list() | tuple():
            for each in document:
                yield from secrets_in(each, within=within)
        case str():
            yield from _in_text(document, within=within)
        case int() | float() if within and not isinstance(document, bool):
            yield from _spelled(str(document))


def known_in(*documents: object) -> tuple[str, ...]:
    """Return the secrets of documents, longest first."""
    return longest_first(set(secrets_in(documents)))


def longest_first(secrets: Collection[str]) -> tuple[str, ...]:
    """Return secrets in the order in which they are to be hidden: one may be the beginning of another."""
    return tuple(sorted(secrets, key=len, reverse=True))


def hide_known(text: str, known: Collection[str]) -> str:
    """Return a text without these secrets."""
    for secret in known:
        if secret in text:
            text = text.replace(secret, HIDDEN)
    return text


def hide(text: str, known: Collection[str] = ()) -> str:
    """Return a text without these secrets, nor anything that looks like one."""
    text = hide_known(text, known)
    shown = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
    return _LOOKS.sub(_blank, shown)


def hidden(value: Any, known: Collection[str] = ()) -> Any:
    """Return a value of a log line without secrets; what is neither text, number nor made of them as it is written."""
    match value:
        case str():
            return hide(value, known)
        case None | bool() | int() | float():
            return value
        case Mapping():
            return {str(key): HIDDEN if names_secret(str(key)) else hidden(each, known) for key, each in value.items()}
        case list() | tuple() | set() | frozenset():
            return [hidden(each, known) for each in value]
        case _:
            return hide(repr(value), known)


def _in_text(text: str, *, within: bool) -> Iterator[str]:
    if within and not _PLACE.match(text):
        yield from _spelled(text)
    for address in text.split("://")[1:]:
        if login := _USER_AND_PASSWORD.match(address):
            yield from _spelled(unquote(login[1]))
    if text[:1] in ("{", "["):
        try:
            yield from secrets_in(json.loads(text), within=within)
        except (ValueError, RecursionError):  # lists within lists within lists: nothing that anybody means
            return


def _spelled(secret: str) -> Iterator[str]:
    """Yield a secret as it is, without a line break from a file, as JSON and Python write it, and as a URL does."""
    for text in {secret, secret.strip()}:
        if len(text) >= _SHORTEST:
            in_url = (quote(text, safe, errors="replace") for safe in ("", "/"))
            yield from {text, json.dumps(text)[1:-1], repr(text)[1:-1], *in_url}


def _blank(found: re.Match[str]) -> str:
    if found["url"]:
        return f"{found['url']}{HIDDEN}@"
    return found["place"] or f"{found['scheme'] or found['key'] or ''}{HIDDEN}"
