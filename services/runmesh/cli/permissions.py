"""`runmesh permissions`: the users of a mesh as nats-server reads them, each with what its service needs, no more.

Whoever is outside has an account of its own, which imports from the mesh's account what it may publish, and exports to
that what it answers: service discovery.
"""

import json
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Annotated, Final

import typer

from runmesh.cli.context import settings
from runmesh.errors import Invalid, Problem, nearest
from runmesh.executor import installed_types
from runmesh.permissions import User, users

app = typer.Typer()

_ACCOUNT: Final = "MESH"
_MANY_ANSWERS: Final = ("$JS.API.CONSUMER.MSG.NEXT.", "$SRV.")
_HEAD: Final = """\
# The users of a mesh, each with what its service needs and no more. Written by
#   {command}
# Write it anew instead of changing it. nats-server.conf includes it in `accounts {{ }}`. The passwords are read from
# the server's environment: best as bcrypt hashes; one that begins with a digit needs quotes of its own.
"""


@app.command("permissions")
def permissions(
    *,
    project: Annotated[list[str] | None, typer.Option(help="A project that gets a user for submitting.")] = None,
    nkey: Annotated[
        list[str] | None, typer.Option(metavar="USER=KEY", help="A user's public NKey, instead of a password.")
    ] = None,
    account: Annotated[str, typer.Option(help="The account that holds the mesh.")] = _ACCOUNT,
) -> None:
    """Write the users of NATS, with their permissions, for a nats-server's configuration.

    RUNMESH_POOLS names the pools. Nothing is connected to: the output goes into a file that nats-server includes.
    """
    pools, projects = settings().pools, list(dict.fromkeys(project or []))
    made = users(projects, pools, installed_types())
    keys = dict(_keys(nkey or [], [user.name for user in made]))
    _check_variables(user for user in made if user.name not in keys)
    options = [*(("--project", name) for name in projects), *(("--nkey", pair) for pair in nkey or [])]
    options += [("--account", account)] if account != _ACCOUNT else []
    command = f"RUNMESH_POOLS={shlex.quote(','.join(pools))} {shlex.join(['runmesh', 'permissions', *chain(*options)])}"
    typer.echo(_HEAD.format(command=_one_line(command)) + render(made, keys, account), nl=False)


def render(made: Iterable[User], keys: Mapping[str, str], account: str) -> str:
    """Return the accounts; `keys` are the public NKeys of users who have one."""
    made = list(made)
    inside = [_user(user, keys.get(user.name)) for user in made if not user.outside]
    outside = {f"{account}_{user.name}": user for user in made if user.outside}
    asked = dict.fromkeys(subject for user in outside.values() for subject in user.asks)
    served = [line for theirs, user in outside.items() for line in _imports(user.serves, theirs)]
    lists = _list("users", inside) + _list("exports", map(_export, asked)) + _list("imports", served)
    parts = [f"{json.dumps(account)}: {{ jetstream: enabled\n{lists}}}\n"]
    for theirs, user in outside.items():
        lists = _list("users", [_user(user, keys.get(user.name))])
        lists += _list("exports", map(_export, user.serves)) + _list("imports", _imports(user.asks, account))
        parts.append(f"{json.dumps(theirs)}: {{\n{lists}}}\n")
    return "".join(parts)


def variable(user: str) -> str:
    """Name the environment variable that holds a user's password."""
    return f"RUNMESH_{re.sub(r'[^A-Z0-9]', '_', user.upper())}_PASSWORD"


def _user(user: User, key: str | None) -> str:
    who = f"nkey: {json.dumps(key)}" if key else f"user: {json.dumps(user.name)}, password: ${variable(user.name)}"
    publish = _subjects("allow", user.publish) + (_subjects("deny", user.deny) if user.deny else "")
    return (
        f"# {user.name}: {_one_line(user.may)}; RUNMESH_NATS_INBOX={user.inbox}\n"
        f"    {{ {who}, permissions: {{\n"
        f"      publish: {{{publish} }}\n"
        f"      subscribe: {{{_subjects('allow', user.subscribe)} }} }} }}"
    )


def _one_line(comment: str) -> str:
    """Keep a name inside its comment."""
    return " ".join(comment.split())


def _subjects(verdict: str, patterns: Iterable[str]) -> str:
    lines = "".join(f"\n        {json.dumps(pattern)}" for pattern in patterns)
    return f" {verdict}: [{lines} ],"


def _export(subject: str) -> str:
    many = ", response_type: stream" if subject.startswith(_MANY_ANSWERS) else ""
    return f"{{ service: {json.dumps(subject)}{many} }}"


def _imports(served: Iterable[str], account: str) -> Iterator[str]:
    for subject in served:
        yield f"{{ service: {{ account: {json.dumps(account)}, subject: {json.dumps(subject)} }} }}"


def _list(name: str, items: Iterable[str]) -> str:
    lines = "".join(f"    {item}\n" for item in items)
    return f"  {name}: [\n{lines}  ]\n" if lines else ""


def _keys(given: Iterable[str], names: list[str]) -> Iterator[tuple[str, str]]:
    for pair in given:
        name, equals, key = pair.partition("=")
        if name not in names:
            raise Invalid(Problem("--nkey", f"there is no user {name!r}", nearest(name, names)))
        if not equals or not re.fullmatch(r"U[A-Z2-7]{55}", key):
            raise Invalid(Problem("--nkey", f"{key!r} is no public key of a user", "56 characters, U first"))
        yield name, key


def _check_variables(made: Iterable[User]) -> None:
    """Refuse names that only differ in what a variable can't hold: two users would share a password."""
    known: dict[str, str] = {}
    for user in made:
        if (other := known.setdefault(variable(user.name), user.name)) != user.name:
            hint = "give one of them an NKey with --nkey"
            raise Invalid(Problem("--project", f"{other} and {user.name} would both use ${variable(other)}", hint))
