"""As much of S3 as an executor needs: objects in buckets, listed in order, over HTTP in path style."""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import NamedTuple
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from aiohttp import web

_XML = '<?xml version="1.0" encoding="UTF-8"?>\n'
_PAGE = 1000


class Object(NamedTuple):
    content: bytes
    changed: datetime
    metadata: Mapping[str, str]


class Buckets:
    """All objects, by bucket and key."""

    def __init__(self, *buckets: str, foreign: str = "somebody-elses") -> None:
        self.objects: dict[str, dict[str, Object]] = {bucket: {} for bucket in buckets}
        self._foreign = foreign

    def read(self, url: str) -> bytes:
        """Return the content of s3://bucket/key."""
        bucket, _, key = url.removeprefix("s3://").partition("/")
        return self.objects[bucket][key].content

    def put(self, key: str, content: bytes) -> None:
        """Store an object in the first bucket."""
        next(iter(self.objects.values()))[key] = Object(content, datetime.now(UTC), {})

    async def answer(self, request: web.Request) -> web.StreamResponse:
        bucket, _, key = request.path.lstrip("/").partition("/")
        if bucket == self._foreign:
            return _refusal(403, "AccessDenied", "Access Denied")
        if bucket not in self.objects:
            return _refusal(404, "NoSuchBucket", "The specified bucket does not exist")
        objects, body = self.objects[bucket], await request.read()
        if request.method in ("GET", "HEAD"):
            return _found(objects, key) if key else _listed(objects, request.query)
        if request.method == "PUT":
            said = {name: value for name, value in request.headers.items() if name.lower().startswith("x-amz-meta-")}
            objects[key] = Object(_content(body, request), datetime.now(UTC), said)
        else:
            for name in ET.fromstring(body).iter():  # noqa: S314 - our own client's
                if name.tag.endswith("Key"):
                    objects.pop(name.text or "", None)
        return web.Response(text=f"{_XML}<DeleteResult/>")


def _found(objects: dict[str, Object], key: str) -> web.Response:
    if key not in objects:
        return _refusal(404, "NoSuchKey", "The specified key does not exist.")
    changed = format_datetime(objects[key].changed, usegmt=True)
    headers = {"Last-Modified": changed, "ETag": '"e"', **objects[key].metadata}
    return web.Response(body=objects[key].content, headers=headers)


def _content(body: bytes, request: web.Request) -> bytes:
    """Take chunks out of their frames, where a client signs them one by one."""
    if "aws-chunked" not in request.headers.get("Content-Encoding", ""):
        return body
    found = b""
    while body:
        head, _, body = body.partition(b"\r\n")
        size = int(head.split(b";")[0] or b"0", 16)
        if not size:
            break
        found, body = found + body[:size], body[size + 2 :]
    return found


def _listed(objects: dict[str, Object], query: Mapping[str, str]) -> web.Response:
    most = min(int(query.get("max-keys", _PAGE)), _PAGE)
    after, prefix = query.get("continuation-token") or query.get("start-after", ""), query.get("prefix", "")
    keys = sorted(key for key in objects if key.startswith(prefix) and key > after)
    page, more = keys[:most], len(keys) > most
    contents = "".join(
        f"<Contents><Key>{escape(key)}</Key><Size>{len(objects[key].content)}</Size>"
        f"<LastModified>{objects[key].changed:%Y-%m-%dT%H:%M:%S.000Z}</LastModified></Contents>"
        for key in page
    )
    token = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if more else ""
    told = f"<IsTruncated>{str(more).lower()}</IsTruncated><KeyCount>{len(page)}</KeyCount>{token}"
    xmlns = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
    return web.Response(
        text=f"{_XML}<ListBucketResult {xmlns}>{told}{contents}</ListBucketResult>", content_type="application/xml"
    )


def _refusal(status: int, code: str, message: str) -> web.Response:
    text = f"{_XML}<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return web.Response(status=status, text=text, content_type="application/xml")
