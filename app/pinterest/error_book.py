"""The error book: what Pinterest may say and what may be held, why, who must act, and the fix.

The one source for ``outcomes.judge``, ``pinfold errors``, ``status``, ``doctor`` and the README.
Answers follow the API facts, sections 5 to 7. Codes mean different things under different statuses,
so an answer is looked up by status first; of several entries that explain it the first one counts.
What no entry explains is an "unknown answer": it is held, never dropped.
"""

from __future__ import annotations

import re

from app.pinterest.entries import Action, Entry, Retried, Seen, Who, Words


def _words(shown: str, pattern: str) -> Words:
    return Words(shown, re.compile(pattern, re.IGNORECASE))


SPAM = _words("spam", r"\bspam")
DISGUISED = _words("retry after N, something went wrong", r"retry after \d+|something went wrong")
TOO_MANY = _words("too many records", r"too many (records|users)|maximum (number of )?records")
SCOPE = _words("scope", r"\bscopes?\b")
ROLE = _words("role", r"\broles?\b|\baudience manager\b|\bbusiness access\b")
APP = _words("app, tier", r"\b(apps?|applications?|client id|tier|trial|consumer)\b")
ACCOUNT = _words(
    "ad account not found", r"^(the )?(ad ?account|advertiser)( \S+)? (was |is )?not found"
)

WAITING = (
    Entry(
        "unreachable",
        Action.WAIT,
        Who.YOU,
        Retried.YES,
        "Pinterest cannot be reached: its name does not resolve, the connection is refused, or "
        "TLS fails. Nothing was sent.",
        "Check the workers' network, DNS, proxy and firewall, with `pinfold doctor`; everything "
        "waits and goes on by itself.",
    ),
    Entry(
        "timed out",
        Action.WAIT,
        Who.NOBODY,
        Retried.YES,
        "The request went out, but no answer came back in time, or the connection broke. It may "
        "have been processed, so its records stay counted.",
        "Nothing is to be done, the same batch goes again by itself; if it lasts, see "
        "`pinfold doctor`.",
    ),
    Entry(
        "resting",
        Action.WAIT,
        Who.NOBODY,
        Retried.YES,
        "An earlier request had no clear end. Later uploads of the list rest for a while, so that "
        "it cannot land after them.",
        "Nothing is to be done: it goes on by itself.",
    ),
    Entry(
        "pacing",
        Action.WAIT_CONNECTION,
        Who.NOBODY,
        Retried.YES,
        "The next request waits for its turn: the connection, or the whole app on trial access, "
        "goes no faster than Pinterest allows.",
        "Nothing is to be done: it goes on by itself.",
    ),
    Entry(
        "flagged as spam",
        Action.WAIT_CONNECTION,
        Who.ADMIN,
        Retried.YES,
        "Pinterest takes the requests of this app for spam.",
        "Ask Pinterest's support to clear the app; the connection tries again now and then by "
        "itself, see `pinfold doctor`.",
        (Seen(429, words=SPAM, any_code=True),),
    ),
    Entry(
        "rate limited",
        Action.WAIT_CONNECTION,
        Who.NOBODY,
        Retried.YES,
        "More requests than Pinterest allows: 400 writes a minute, but 300 a day for an app with "
        "trial access; other tools of the same app count too.",
        "Nothing is to be done, it goes on by itself when Pinterest allows; an app with trial "
        "access needs PINFOLD_TRIAL_APP=1 until Pinterest grants it standard access.",
        (Seen(429, (8, 30), any_code=True),),
    ),
    Entry(
        "server error",
        Action.WAIT,
        Who.PINTEREST,
        Retried.YES,
        "Pinterest has trouble of its own. The request may have been processed, so its records "
        "stay counted.",
        "Nothing is to be done: the same batch goes again by itself until Pinterest is well.",
        (Seen(500, (500, 4197), any_code=True, up_to=999),),
    ),
    Entry(
        "transient refusal",
        Action.WAIT,
        Who.PINTEREST,
        Retried.YES,
        "Pinterest has trouble of its own and says so with a 400, as if the request were wrong.",
        "Nothing is to be done: it is tried again by itself.",
        (Seen(400, (12,)), Seen(400, words=DISGUISED, any_code=True)),
    ),
    Entry(
        "conflict",
        Action.WAIT,
        Who.YOU,
        Retried.YES,
        "Another request was changing the same list. After five conflicts in a row the list is "
        "held.",
        "Stop other tools that write to this list; where it is held, `pinfold retry {audience}`.",
        (Seen(409, (409,), any_code=True),),
    ),
    Entry(
        "too large",
        Action.HALVE,
        Who.NOBODY,
        Retried.YES,
        "The request had more records or bytes than Pinterest takes. It goes again in halves; a "
        "list is held only when even one record is too large.",
        "Nothing is to be done; a list that is held goes on with `pinfold retry {audience}` once "
        "Pinterest, or a proxy in between, takes requests again.",
        (Seen(413, (413,), any_code=True), Seen(400, words=TOO_MANY, any_code=True)),
    ),
    Entry(
        "refused",
        Action.NARROW,
        Who.NOBODY,
        Retried.YES,
        "Pinterest refuses a request as wrong. It goes again in parts until the records to blame "
        "stand alone, in quarantine; all others are delivered.",
        "Nothing is to be done: `pinfold books` counts what is in quarantine.",
        (Seen(400, (1, 400, 4196), any_code=True),),
    ),
)

CONNECTIONS = (
    Entry(
        "account disapproved",
        Action.HOLD_CONNECTION,
        Who.ADMIN,
        Retried.LOOKED_AT,
        "Pinterest has disapproved the ad account.",
        "Appeal at Pinterest, in the Ads Manager's account settings; then `pinfold retry`.",
        (Seen(403, (2625,)),),
    ),
    Entry(
        "account under review",
        Action.HOLD_CONNECTION,
        Who.PINTEREST,
        Retried.LOOKED_AT,
        "Pinterest is reviewing the ad account, for a few days as a rule.",
        "Nothing is to be done until Pinterest has decided: it is looked at every hour, "
        "`pinfold retry` looks at once.",
        (Seen(403, (2626,)),),
    ),
    Entry(
        "scope missing",
        Action.HOLD_CONNECTION,
        Who.YOU,
        Retried.NO,
        "The login was not allowed everything: it needs the scopes ads:read and ads:write.",
        "Log in with `pinfold connection replace-login {connection}` and allow both, or give a "
        "token that has both with `pinfold connection token {connection} --token-file FILE`.",
        (Seen(401, (3,)), Seen(401, (29,), SCOPE), Seen(403, words=SCOPE, any_code=True)),
    ),
    Entry(
        "role lost",
        Action.HOLD_CONNECTION,
        Who.ADMIN,
        Retried.LOOKED_AT,
        "The person who logged in no longer has a role on the ad account that may change "
        "audiences.",
        "Have the person made Owner, Admin or Audience Manager of the ad account again, or log in "
        "as somebody who is with `pinfold connection replace-login {connection}`.",
        (Seen(401, (29,), ROLE), Seen(403, words=ROLE, any_code=True)),
    ),
    Entry(
        "app restricted",
        Action.HOLD_CONNECTION,
        Who.ADMIN,
        Retried.LOOKED_AT,
        "Pinterest restricts what your app may do, by its access tier or by a feature it lacks.",
        "Ask for the access at developers.pinterest.com under My apps; then `pinfold retry`.",
        (Seen(401, (29,), APP), Seen(403, words=APP, any_code=True)),
    ),
    Entry(
        "not permitted",
        Action.HOLD_CONNECTION,
        Who.ADMIN,
        Retried.LOOKED_AT,
        "Pinterest does not let this login change audiences of the ad account and does not say "
        "why: the person lost the role, or the app is restricted.",
        "Check the person's role in the business's settings and the app's access at "
        "developers.pinterest.com; then `pinfold retry`, or log in as somebody else with "
        "`pinfold connection replace-login {connection}`.",
        (Seen(401, (29,)), Seen(403, (29, 403), any_code=True)),
    ),
    Entry(
        "log in again",
        Action.RENEW_LOGIN,
        Who.YOU,
        Retried.NO,
        "Pinterest no longer accepts the access token. With a refresh token and the app's id and "
        "secret it is renewed by itself; a connection that is held for this lacks one of them.",
        "Log in with `pinfold connection replace-login {connection}`, or give a new token with "
        "`pinfold connection token {connection} --token-file FILE`.",
        (Seen(401, (2,), any_code=True),),
    ),
    Entry(
        "login expired",
        Action.HOLD_CONNECTION,
        Who.YOU,
        Retried.NO,
        "The refresh token is past its time, 60 days as a rule: it could not be renewed for that "
        "long.",
        "Log in with `pinfold connection replace-login {connection}`; what waits goes on then.",
    ),
    Entry(
        "login revoked",
        Action.HOLD_CONNECTION,
        Who.YOU,
        Retried.LOOKED_AT,
        "Pinterest refuses the refresh token before its time: the person withdrew the app's "
        "access or changed the password, somebody else renewed the same login, or the app's "
        "secret was changed.",
        "Log in with `pinfold connection replace-login {connection}`, after a look with "
        "`pinfold doctor` whether PINFOLD_APP_ID and PINFOLD_APP_SECRET are those of the app.",
    ),
    Entry(
        "login not renewed",
        Action.WAIT_CONNECTION,
        Who.YOU,
        Retried.YES,
        "Pinterest did not renew the login when it was time. Uploads go on for as long as the "
        "access token lives, and wait after that.",
        "See with `pinfold doctor` how long it lives and whether PINFOLD_APP_ID and "
        "PINFOLD_APP_SECRET are those of the app, or log in with "
        "`pinfold connection replace-login {connection}`.",
    ),
    Entry(
        "ad account not found",
        Action.HOLD_CONNECTION,
        Who.ADMIN,
        Retried.LOOKED_AT,
        "Pinterest does not know the ad account, or hides it from this login: it was closed, or "
        "access to it was withdrawn.",
        "Restore the account or the access at Pinterest, then `pinfold retry`; `pinfold connect` "
        "connects another one.",
        (Seen(404, (2,), ACCOUNT, any_code=True),),
    ),
)

LISTS = (
    Entry(
        "gone at Pinterest",
        Action.HOLD_LIST,
        Who.YOU,
        Retried.LOOKED_AT,
        "The customer list no longer exists at Pinterest: somebody deleted it.",
        "Make a new one with `pinfold audience rebuild {audience}`, after which its members must "
        "be sent again, or stop with `pinfold audience deactivate {audience}`.",
        (Seen(404, (404, 2, 30), any_code=True),),
    ),
    Entry(
        "refuses every record",
        Action.HOLD_LIST,
        Who.YOU,
        Retried.NO,
        "Pinterest refuses even one harmless record on this list, so the list is at fault and not "
        "the records. The message is Pinterest's.",
        "Mend at Pinterest what the message names, then `pinfold retry {audience}`.",
    ),
    Entry(
        "list refused",
        Action.HOLD_LIST,
        Who.YOU,
        Retried.NO,
        "Pinterest does not let us create the list. The message is Pinterest's.",
        "Do as the message says, then `pinfold retry {audience}`.",
    ),
    Entry(
        "several lists",
        Action.HOLD_LIST,
        Who.YOU,
        Retried.NO,
        "A create had no clear end, and several fresh lists at Pinterest have its name: which one "
        "is ours cannot be told.",
        "See that no other tool makes lists of this name, then `pinfold retry {audience}`; if it "
        "stays so, stop with `pinfold audience deactivate {audience}` and activate another name.",
    ),
    Entry(
        "not recovered",
        Action.HOLD_LIST,
        Who.YOU,
        Retried.NO,
        "The database was restored from a backup, and Pinterest did not say what the list has had "
        "since, so nothing is sent to it. The message says why.",
        "Mend what the message names, for a login with `pinfold connection replace-login "
        "{connection}`, then stop the workers and run `pinfold recover` again.",
    ),
    Entry(
        "no room under the cap",
        Action.HOLD_LIST,
        Who.YOU,
        Retried.NO,
        "The cap of the connection leaves no room for the one record that a new list begins with.",
        "Raise it with `pinfold connection settings {connection} --record-cap N`, then "
        "`pinfold retry {audience}`.",
    ),
    Entry(
        "unreadable batch",
        Action.HOLD_LIST,
        Who.YOU,
        Retried.NO,
        "A stored batch was changed or damaged, or the key that sealed it is missing.",
        "Put the key back into PINFOLD_KEYS or the row back from a backup, then "
        "`pinfold retry {audience}`.",
    ),
    Entry(
        "wrong call",
        Action.HOLD_LIST,
        Who.YOU,
        Retried.NO,
        "Pinterest does not know this way of calling: Pinfold is too old, or PINFOLD_PINTEREST_URL "
        "leads somewhere else.",
        "Check the address with `pinfold doctor`, bring Pinfold up to date, then "
        "`pinfold retry {audience}`.",
        (Seen(405, (5,), any_code=True),),
    ),
    Entry(
        "full",
        Action.GO_ON,
        Who.YOU,
        Retried.NO,
        "The list has had as many records as the cap allows, 300 million by default; nothing more "
        "is sent to it, and what comes is booked as over the cap.",
        "Start a fresh pair of lists with `pinfold audience roll-over {audience}`.",
    ),
    Entry(
        "set aside",
        Action.HOLD_LIST,
        Who.YOU,
        Retried.NO,
        "Some staged messages could not be read five times in a row and were set aside, so that "
        "the rest goes on.",
        "Look at the worker's log for the reason, then `pinfold retry {audience}`.",
    ),
    Entry(
        "unknown answer",
        Action.HOLD_LIST,
        Who.YOU,
        Retried.NO,
        "Pinterest, or a proxy in between, gave an answer that Pinfold does not know. Nothing is "
        "dropped.",
        "Look at the message, `pinfold retry {audience}` once its cause is gone, and report it "
        "with what `pinfold status --json` shows.",
    ),
)

ENTRIES = WAITING + CONNECTIONS + LISTS
_BY_SLUG = {entry.slug: entry for entry in ENTRIES}


def explain(status: int, code: int | None, message: str) -> Entry:
    """The entry for an answer of Pinterest that was no success."""
    for known in ENTRIES:
        if any(seen.covers(status, code, message) for seen in known.answers):
            return known
    return entry("unknown answer")


def entry(slug: str) -> Entry:
    """The entry of a reason; that of an unknown answer for one the book does not have."""
    return _BY_SLUG.get(slug, _BY_SLUG["unknown answer"])


def fix_of(slug: str, connection: str = "NAME", audience: str = "NAME") -> str:
    """The sentence with the fix for a held or waiting connection or list, names filled in."""
    return entry(slug).fix_for(connection, audience)


def entries_about(asked: str) -> list[Entry]:
    """The entries for a slug, an HTTP status or a code of Pinterest; none when it is not known."""
    return [known for known in ENTRIES if known.is_about(asked.strip())]
