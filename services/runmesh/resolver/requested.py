"""What a request says before it is known to be right: its document, its run, its digest."""

import json
from codecs import BOM_UTF8
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final

from ulid import ULID

from runmesh import subjects
from runmesh.bus import Message
from runmesh.cloudevents import open_envelope
from runmesh.errors import Undecodable
from runmesh.projects.fields import kind_of

_CANONICAL: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"))


def document_of(message: Message) -> Mapping[str, Any]:
    """Return the request as JSON has it, however wrong. Raises `Undecodable`."""
    document = _parsed(open_envelope(message.headers, message.data).body)
    if not isinstance(document, dict):
        raise Undecodable(f"a request is a JSON object, not {kind_of(document)}")
    return document


def _parsed(body: bytes) -> Any:
    if body.startswith(BOM_UTF8):
        raise Undecodable("not JSON: it begins with a byte order mark")
    try:
        return json.loads(body.decode())
    except UnicodeDecodeError as error:
        raise Undecodable(f"not UTF-8: byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise Undecodable(f"not JSON: {error}") from None
    except RecursionError:
        raise Undecodable("not JSON that can be read: nested too deeply") from None
    except ValueError:
        raise Undecodable("not JSON that can be read: a number is too long") from None


def names_of(message: Message, document: Mapping[str, Any]) -> tuple[str, str]:
    """Return the id of the run that is asked for, given or derived, and what to call its pipeline in facts."""
    given, pipeline = document.get("id"), document.get("pipeline")
    run = given if isinstance(given, str) and subjects.RUN_ID.fullmatch(given) else derived_id(message)
    if isinstance(pipeline, str):
        return run, pipeline[:200]
    return run, "_inline" if isinstance(pipeline, dict) else "_unknown"


def derived_id(message: Message) -> str:
    """Derive a run's id from when and where its request was stored: the same for every delivery."""
    moment = int(message.at.timestamp() * 1000).to_bytes(6, "big")
    return str(ULID.from_bytes(moment + message.sequence.to_bytes(10, "big")))


def digest_of(project: str, document: Mapping[str, Any]) -> str:
    """Return what tells the same request again from another one under the same id."""
    return sha256(_CANONICAL.encode([project, document]).encode(errors="surrogatepass")).hexdigest()[:32]
