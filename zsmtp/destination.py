"""Where mail goes: from what the DNS said of a destination to the hops that are tried in turn.

`hosts_to_ask` names the hosts whose addresses are needed, `route` makes of all answers either a `Route`, in
which every hop has its reason and every one left out is explained, or one `Trouble`.  Nothing here asks
anybody: `zsmtp.net.resolve` does.
A fault of the DNS is never taken for an answer: as long as a retry could find a way, the trouble may heal.
Does not judge troubles: see `zsmtp.policy`.
Sources: RFC 5321 section 5.1, RFC 7505; smtp(8zm), options -F, -6, -p, -x and -X.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from ipaddress import IPv4Network, IPv6Address, IPv6Network
from itertools import groupby
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar

from zsmtp.target import Address, Literal, Name, Target, Unix, numeric, target
from zsmtp.trouble import Kind, Trouble

__all__ = [
    "ADDRESSES_PER_HOST",
    "MAXIMUM_HOPS",
    "Address",
    "Answer",
    "Family",
    "Hop",
    "Literal",
    "MailExchanger",
    "Name",
    "Outcome",
    "Route",
    "RouteRules",
    "Shuffle",
    "Target",
    "Unix",
    "WellKnownServices",
    "hosts_to_ask",
    "route",
    "target",
]

MAXIMUM_HOPS = 127  # of a route, and mail exchangers looked at: as many as the original takes
ADDRESSES_PER_HOST = 32  # of one family
_NAMED_IN_TEXT = 5  # of those left out, so that a report stays readable

_Value = TypeVar("_Value")
Shuffle: TypeAlias = Callable[[list[Any]], object]


class Outcome(Enum):
    """What a look-up came to."""

    FOUND = "found"
    NO_DATA = "no such record"
    NO_SUCH_NAME = "no such name"
    UNAVAILABLE = "no usable answer"
    ALIAS_LOOP = "its aliases (CNAME) lead nowhere"


class MailExchanger(NamedTuple):
    """One MX record.  `host` is "." where the record says so and "" where it is not the name of a host."""

    preference: int
    host: str


class WellKnownServices(NamedTuple):
    """One WKS record: whether it is about TCP, and names SMTP.  Source: RFC 1035 section 3.4.2."""

    is_tcp: bool
    has_smtp: bool


class Answer(NamedTuple, Generic[_Value]):
    """What is known of one name and one type of record.

    `canonical` is the name that the aliases lead to, `ttl` how many seconds all this holds.  `authentic` says
    that a validating name server on this machine vouched for it.  `text` explains an outcome without values.
    """

    outcome: Outcome
    values: tuple[_Value, ...] = ()
    canonical: str = ""
    ttl: int = 0
    authentic: bool = False
    text: str = ""


class Family(Enum):
    """The kind of socket that a hop needs."""

    INET = "IPv4"
    INET6 = "IPv6"
    UNIX = "UNIX"


class Hop(NamedTuple):
    """One address to try.  `name` is the mail exchanger's, `canonical` the same after its aliases.

    `remote` is what a notary says of it, `reason` why it is in the route; `authentic` is true if every answer
    that led here was.  A UNIX socket has its path as `address` and `name`, and port 0.
    """

    address: str
    port: int
    family: Family
    name: str
    remote: bytes
    reason: str
    canonical: str
    authentic: bool = False


class Route(NamedTuple):
    """The hops in the order in which they are tried, and a line for each possibility that was left out."""

    hops: tuple[Hop, ...]
    skipped: tuple[str, ...] = ()


class RouteRules(NamedTuple):
    """What the options say.  `own_names` are this host's names, `own_addresses` those of its interfaces.

    `allow_self` (-x -X) opens loopback and own addresses and drops the test whether we are the best MX.
    Without `use_inet6` nobody asks for AAAA records.
    """

    port: int = 25
    use_mx: bool = True
    allow_self: bool = False
    prefer_inet6: bool = False
    own_names: frozenset[str] = frozenset()
    own_addresses: frozenset[Address] = frozenset()
    use_inet6: bool = True


class _Candidate(NamedTuple):
    """A host that may take the mail, and why; `_reached` adds what the answers for its addresses say.

    `problems` tell of each address or answer that is of no use.
    """

    preference: int
    host: str
    reason: str
    authentic: bool
    addresses: tuple[Address, ...] = ()
    canonical: str = ""
    problems: tuple[tuple[Kind, str], ...] = ()


def hosts_to_ask(name: Name, mail: Answer[MailExchanger] | None, rules: RouteRules) -> tuple[str, ...]:
    """Name the hosts whose addresses `route` needs; none if the answer for MX decides already."""
    candidates = _candidates(name.name, mail, rules, [])
    return () if isinstance(candidates, Trouble) else tuple(each.host for each in candidates if each.host)


def route(
    destination: Target,
    mail: Answer[MailExchanger] | None,
    addresses: Mapping[str, Sequence[Answer[Address]]],
    rules: RouteRules,
    *,
    shuffle: Shuffle,
) -> Route | Trouble:
    """Decide which hops are tried, in which order.

    `mail` is the answer for MX, None if nobody asked (-x, localhost); `addresses` holds for each host of
    `hosts_to_ask` its answers, one or two.  `shuffle` puts a list into random order in place: random.shuffle.
    By preference; within one preference the hosts at random, IPv4 before IPv6 or, with -6, IPv6 before IPv4.
    Source: RFC 5321 section 5.1; smtp(8zm), option -6.
    """
    match destination:
        case Unix(path):
            return Route((Hop(path, 0, Family.UNIX, path, b"", "UNIX socket", path),))
        case Literal():
            return _to_literal(destination, rules)
    skipped: list[str] = []
    domain = destination.name
    candidates = _candidates(domain, mail, rules, skipped)
    if isinstance(candidates, Trouble):
        return candidates
    reached = [_reached(each, addresses.get(each.host, ()), rules, given=mail is None) for each in candidates]
    if mail is not None and mail.outcome is Outcome.FOUND and not rules.allow_self:
        names = _own_names(rules)
        me = [each for each in reached if each.canonical in names or _has_own_address(each)]
        if me:
            reached = _better_than(me[0], reached, skipped)
            if not reached:
                return _best_is_self(domain, me[0])
    skipped += [text for each in reached for _, text in each.problems]
    hops = _in_order(reached, rules, shuffle)
    if not hops:
        return _nothing_usable(domain, mail, [problem for each in reached for problem in each.problems])
    if len(hops) > MAXIMUM_HOPS:
        skipped.append(f"{len(hops) - MAXIMUM_HOPS} more addresses")
    return Route(tuple(hops[:MAXIMUM_HOPS]), tuple(skipped))


# Which hosts.


def _candidates(
    domain: str, mail: Answer[MailExchanger] | None, rules: RouteRules, skipped: list[str]
) -> list[_Candidate] | Trouble:
    if mail is None:
        return [_Candidate(0, domain, f"address of {domain}, MX not asked", authentic=True)]
    match mail.outcome:
        case Outcome.FOUND:
            return _mail_exchangers(domain, mail, rules, skipped)
        case Outcome.NO_DATA:
            # RFC 5321 5.1: the implicit MX.
            return [_Candidate(0, domain, f"address of {domain}, which has no MX", mail.authentic)]
        case Outcome.NO_SUCH_NAME:
            alias = f", which {domain} is an alias of" if mail.canonical not in ("", domain) else ""
            return _trouble(Kind.NO_SUCH_DOMAIN, f"DNS: no such domain: {mail.canonical or domain}{alias}")
        case Outcome.ALIAS_LOOP:
            return _trouble(Kind.CNAME_LOOP, f"DNS: Recursive CNAME on '{domain}': {mail.text}")
        case Outcome.UNAVAILABLE:
            return _trouble(Kind.DNS_UNAVAILABLE, f"No DNS response for the MX of {domain}: {mail.text}")


def _mail_exchangers(
    domain: str, mail: Answer[MailExchanger], rules: RouteRules, skipped: list[str]
) -> list[_Candidate] | Trouble:
    if mail.values and all(each.host == "." for each in mail.values):
        return _trouble(Kind.NULL_MX, f"DNS: {domain} accepts no mail (null MX, RFC 7505)")
    candidates: list[_Candidate] = []
    seen: set[str] = set()
    for preference, host in sorted(mail.values, key=lambda each: each.preference):
        reason = f"MX {preference} of {domain}"
        if host in ("", ".") or numeric(host):
            problem = (Kind.NO_ADDRESS, f"{reason}: not the name of a host")
            candidates.append(_Candidate(preference, "", reason, mail.authentic, problems=(problem,)))
        elif host not in seen:
            seen.add(host)
            candidates.append(_Candidate(preference, host, reason, mail.authentic))
    names = frozenset() if rules.allow_self else _own_names(rules)
    me = [each for each in candidates if each.host in names]
    if me:
        candidates = _better_than(me[0], candidates, skipped)
        if not candidates:
            return _best_is_self(domain, me[0])
    if len(candidates) > MAXIMUM_HOPS:
        skipped.append(f"{len(candidates) - MAXIMUM_HOPS} more mail exchangers of {domain}")
    return candidates[:MAXIMUM_HOPS]


def _better_than(me: _Candidate, candidates: Sequence[_Candidate], skipped: list[str]) -> list[_Candidate]:
    """Keep the hosts that are nearer to the domain than this one: others could only send the mail back."""
    worse = [each for each in candidates if each.preference >= me.preference]
    skipped += [f"{each.host or 'a host'}: {each.reason}, and this host is {me.reason}" for each in worse]
    return [each for each in candidates if each.preference < me.preference]


def _best_is_self(domain: str, me: _Candidate) -> Trouble:
    text = f"configuration inconsistency, we are lowest MX, but {domain} is not our local domain! ({me.host})"
    return _trouble(Kind.BEST_MX_IS_SELF, text)


def _has_own_address(candidate: _Candidate) -> bool:
    return any(kind is Kind.OWN_ADDRESS for kind, _ in candidate.problems)


def _own_names(rules: RouteRules) -> frozenset[str]:
    return frozenset(name.lower().removesuffix(".") for name in rules.own_names)


# Which addresses.


def _to_literal(literal: Literal, rules: RouteRules) -> Route | Trouble:
    address, name = literal.address, f"[{literal.text}]"
    kind = _refusal(address, rules, allow_self=literal.forced or rules.allow_self)
    if kind:
        return _trouble(kind, f"{_NOTHING[kind].format(name)} ({_REFUSALS[kind]})")
    port = rules.port if literal.port is None else literal.port
    text, remote = literal.text, f"X-IP-addr; {name}".encode()
    return Route((Hop(str(address), port, _family(address), text, remote, "address literal", text),))


def _reached(
    candidate: _Candidate, answers: Sequence[Answer[Address]], rules: RouteRules, *, given: bool
) -> _Candidate:
    """Add what the answers for its addresses say of a host; `given` if nobody asked for its MX."""
    if candidate.problems:
        return candidate
    host = candidate.host
    usable: list[Address] = []
    problems: list[tuple[Kind, str]] = []
    for answer in answers:
        for address in answer.values[:ADDRESSES_PER_HOST]:
            kind = _refusal(address, rules, allow_self=rules.allow_self)
            if kind is None:
                usable.append(address)
            else:
                problems.append((kind, f"{host} [{address}]: {_REFUSALS[kind]}"))
        if answer.outcome is Outcome.UNAVAILABLE:
            problems.append((Kind.DNS_UNAVAILABLE, f"{host}: {answer.text}"))
    outcomes = {answer.outcome for answer in answers}
    if not usable and not problems:
        if Outcome.ALIAS_LOOP in outcomes:
            problems.append((Kind.CNAME_LOOP, f"{host}: {Outcome.ALIAS_LOOP.value}"))
        elif not outcomes:
            problems.append((Kind.DNS_UNAVAILABLE, f"{host}: no answer"))
        elif outcomes == {Outcome.NO_SUCH_NAME}:
            # If the answer for MX said that the domain exists, the DNS only contradicts itself.
            problems.append((Kind.NO_SUCH_DOMAIN if given else Kind.NO_ADDRESS, f"{host}: no such name"))
        else:
            problems.append((Kind.NO_ADDRESS, f"{host}: no address"))
    found = [answer for answer in answers if answer.values]
    return candidate._replace(
        addresses=tuple(usable),
        canonical=found[0].canonical or host if found else host,
        authentic=candidate.authentic and all(answer.authentic for answer in found),
        problems=tuple(problems),
    )


def _refusal(address: Address, rules: RouteRules, *, allow_self: bool) -> Kind | None:
    """Say why there can be no server of somebody else at this address, if so."""
    inner = address.sixtofour if isinstance(address, IPv6Address) else None
    if inner is not None and _refusal(inner, rules, allow_self=False):
        return Kind.INVALID_ADDRESS
    if address.is_loopback and getattr(address, "ipv4_mapped", None) is None:
        return None if allow_self else Kind.LOOPBACK_ADDRESS
    if any(address in network for network in _INVALID if network.version == address.version):
        return Kind.INVALID_ADDRESS
    return Kind.OWN_ADDRESS if address in rules.own_addresses and not allow_self else None


def _family(address: Address) -> Family:
    return Family.INET if address.version == 4 else Family.INET6


# In which order.


def _in_order(candidates: Sequence[_Candidate], rules: RouteRules, shuffle: Shuffle) -> list[Hop]:
    first = Family.INET6 if rules.prefer_inet6 else Family.INET
    hops: list[Hop] = []
    seen: set[Address] = set()  # the same address under a second name would cost a second time-out
    for _, equals in groupby(candidates, key=lambda each: each.preference):
        hosts = list(equals)
        shuffle(hosts)
        group: list[Hop] = []
        for host in hosts:
            addresses = [address for address in host.addresses if address not in seen]
            seen.update(addresses)
            shuffle(addresses)
            group += [_hop(host, address, rules.port) for address in addresses]
        hops += sorted(group, key=lambda hop: hop.family is not first)
    return hops


def _hop(host: _Candidate, address: Address, port: int) -> Hop:
    remote = f"dns; {host.host}".encode()
    name, canonical = host.host, host.canonical
    return Hop(str(address), port, _family(address), name, remote, host.reason, canonical, host.authentic)


# If there is none.


def _nothing_usable(
    domain: str, mail: Answer[MailExchanger] | None, problems: Sequence[tuple[Kind, str]]
) -> Trouble:
    met = {kind for kind, _ in problems}
    kind = next((kind for kind in _NOTHING if kind in met), Kind.NO_ADDRESS)
    who = f"the mail exchangers of {domain}" if mail is not None and mail.values else domain
    if kind is Kind.NO_ADDRESS and mail is not None and mail.outcome is Outcome.NO_DATA:
        who = f"{who}, which has no MX"
    why = [text for _, text in sorted(problems, key=lambda problem: problem[0] is not kind)]
    more = f"; and {len(why) - _NAMED_IN_TEXT} more" if len(why) > _NAMED_IN_TEXT else ""
    return _trouble(kind, f"{_NOTHING[kind].format(who)} ({'; '.join(why[:_NAMED_IN_TEXT])}{more})")


def _trouble(kind: Kind, text: str) -> Trouble:
    return Trouble(kind, text.encode("ascii", "backslashreplace"))


_REFUSALS = {
    Kind.OWN_ADDRESS: "an address of this machine",
    Kind.LOOPBACK_ADDRESS: "a loopback address",
    Kind.INVALID_ADDRESS: "not the address of a host",
}
# The mildest comes first and decides if several were met: as long as one of them may heal, nothing bounces.
_NOTHING = {
    Kind.DNS_UNAVAILABLE: "No DNS response for the addresses of {}",
    Kind.NO_ADDRESS: "No address in the DNS: {}",
    Kind.CNAME_LOOP: "Recursive CNAME for the address of {}",
    Kind.NO_SUCH_DOMAIN: "MX usage forbidden, no address in the DNS: {}",
    Kind.INVALID_ADDRESS: "Trying to talk to invalid destination network address! {}",
    Kind.LOOPBACK_ADDRESS: "Trying to talk to loopback (=myself)! {}",
    Kind.OWN_ADDRESS: "Trying to talk with myself! {}",
}
_INVALID = (
    IPv4Network("0.0.0.0/8"),
    IPv4Network("224.0.0.0/3"),
    IPv6Network("::/96"),  # with the old IPv4-compatible form
    IPv6Network("::ffff:0:0/96"),  # IPv4 in disguise
    IPv6Network("ff00::/8"),
)
