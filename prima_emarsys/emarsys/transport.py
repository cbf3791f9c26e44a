"""One Emarsys account on the line: signs calls, keeps the pace, repeats what may be repeated, reads the envelope.

What a call means (contacts, fields, events) belongs in the modules beside this one. What becomes of a failed call
beyond half a minute belongs to the ledger.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlencode

import orjson
import stamina
from pydantic import BaseModel, ConfigDict, Field, field_validator

from prima_emarsys.addresses import secure
from prima_emarsys.emarsys.auth import BearerAuth, Credentials, OAuthClient, WsseAuth
from prima_emarsys.emarsys.exchange import HttpReply, Line, Lost, NotSent, Untrusted
from prima_emarsys.emarsys.outcome import (
    Ambiguous,
    Answered,
    Failure,
    Later,
    NotAnswered,
    Stopped,
    classify,
)
from prima_emarsys.emarsys.pace import Pace
from prima_emarsys.emarsys.redaction import RedactingFilter, redact

log = logging.getLogger(__name__)
log.addFilter(RedactingFilter())

_TRIES = 3
_TRY_AGAIN_WITHIN = 30.0
_SKEW_WARNS = 60.0
_SKEW_STOPS = 240.0  # WSSE's window is five minutes
_LONGEST_WORDS = 300


class Account(BaseModel):
    """Which Emarsys, as which API user.

    `url` is scheme and host only; the version of the API follows from the kind of credentials.
    `deadline` bounds one call in seconds, everything included: waiting for the pace, the token, repeats, the reply.
    A lease on what is being sent should be at least twice as long.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    credentials: Credentials
    url: str = "https://api.emarsys.net"
    deadline: float = Field(default=60.0, gt=0, le=600)

    @field_validator("url")
    @classmethod
    def _secure(cls, url: str) -> str:
        url = secure(url, "the Emarsys url")
        if url.count("/") > 2:
            raise ValueError("the Emarsys url is scheme and host only, without /api/…")
        return url

    @property
    def user(self) -> str:
        """The API user, as rate limits count it."""
        signer = self.credentials
        name = signer.client_id if isinstance(signer, OAuthClient) else signer.username
        return f"{self.url} {name}"


@dataclass(frozen=True, slots=True)
class Reply:
    """A call that Emarsys processed. `data` is the envelope's; records refused in it are still to be looked for."""

    data: Any
    request_id: str


class _Again(Exception):
    """A try failed in a way that may be repeated at once."""

    def __init__(self, outcome: Later | Ambiguous) -> None:
        self.outcome = outcome
        super().__init__(outcome.reason)


class Transport:
    """Calls to one account, from up to `threads` threads at once."""

    def __init__(self, account: Account, *, threads: int = 8, urgent: bool = False) -> None:
        """`urgent` calls may use the whole of the rate limit; others leave a fifth of it to them."""
        self._account = account
        self._urgent = urgent
        self._line = Line(threads)
        self._auth: BearerAuth | WsseAuth
        if isinstance(account.credentials, OAuthClient):
            self._auth = BearerAuth(account.credentials, self._line)
        else:
            self._auth = WsseAuth(account.credentials)
        self._pace = Pace.of(account.user)
        self._root = f"{account.url}/{self._auth.api}"
        self._skew: float | None = None
        self._warned_of_skew = False

    @property
    def skew(self) -> float | None:
        """Seconds by which Emarsys's clock is ahead of ours, by its last reply; None before the first."""
        return self._skew

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | int] | None = None,
        body: bytes | None = None,
        reads: bool = False,
    ) -> Reply | Failure:
        """One call, e.g. `call("POST", "contact/getdata", body=…, reads=True)`; never raises for what Emarsys does.

        A call that `reads` changes nothing, whatever its method: it is repeated after any passing fault and is never
        Ambiguous. A writing call is repeated at once only where it is certain that nothing was applied; a repeat after
        doubt is for the ledger, which must first wait out a late application of the lost call.
        At most three tries, begun within half a minute; all within the account's deadline.
        """
        began = time.monotonic()

        def worth_it(fault: Exception) -> bool | float:
            if not isinstance(fault, _Again):
                return False
            outcome = fault.outcome
            if isinstance(outcome, Later) and not outcome.counts_as_failure:
                return outcome.wait if time.monotonic() - began + outcome.wait < self._patience else False
            return True

        try:
            for attempt in stamina.retry_context(worth_it, _TRIES, self._patience, wait_initial=0.2, wait_max=5.0):
                with attempt:
                    left = self._account.deadline - (time.monotonic() - began)
                    outcome = self._try(method, path, query, body, left)
                    if isinstance(outcome, Later) or (reads and isinstance(outcome, Ambiguous)):
                        raise _Again(outcome)
                    return outcome
        except _Again as fault:
            if isinstance(fault.outcome, Ambiguous):
                return Later(fault.outcome.reason, 1.0, counts_as_failure=True)
            return fault.outcome
        raise AssertionError("a try either returns or raises")

    def fetch(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | int] | None = None,
        body: bytes | None = None,
        patience: float = 0.0,
    ) -> Any:
        """The data of a reading call that must succeed for the work to go on. Raises NotAnswered.

        `patience`: seconds to go on trying while the answer is Later.
        """
        until = time.monotonic() + patience
        while True:
            reply = self.call(method, path, query=query, body=body, reads=True)
            if isinstance(reply, Reply):
                return reply.data
            if not isinstance(reply, Later) or time.monotonic() + reply.wait > until:
                raise NotAnswered(reply)
            time.sleep(reply.wait)

    @property
    def _patience(self) -> float:
        return min(_TRY_AGAIN_WITHIN, self._account.deadline)

    def _try(
        self, method: str, path: str, query: Mapping[str, str | int] | None, body: bytes | None, left: float
    ) -> Reply | Failure:
        deadline = time.monotonic() + left
        url = f"{self._root}/{path}" + (f"?{urlencode(query)}" if query else "")
        if (held := self._hold_the_pace(left)) is not None:
            return held
        try:
            if isinstance(self._auth, WsseAuth):
                self._mind_the_clock(deadline - time.monotonic())
            else:
                self._auth.ready(deadline - time.monotonic())
            reply = self._send(method, url, body, deadline)
            if reply.status == 401 and isinstance(self._auth, BearerAuth):
                self._auth.renew(reply.authorization, deadline - time.monotonic())
                reply = self._send(method, url, body, deadline)
        except NotAnswered as fault:
            return fault.outcome
        except Untrusted as fault:
            return Stopped(f"{method} {path}: {fault}", "Check the Emarsys url, and the certificate authorities here.")
        except NotSent as fault:
            return Later(f"{method} {path}: {fault}", 1.0, counts_as_failure=True)
        except Lost as fault:
            return Ambiguous(f"{method} {path}: {fault}")
        return self._read(method, path, reply)

    def _hold_the_pace(self, left: float) -> Later | None:
        """Wait for the pace, unless that would take half of the call's deadline: then the ledger waits, without us."""
        latest = time.monotonic() + left - self._account.deadline / 2
        while wait := self._pace.wait(urgent=self._urgent):
            if time.monotonic() + wait > latest:
                return Later("The rate limit of this API user is used up", wait, counts_as_failure=False)
            time.sleep(wait)
        return None

    def _send(self, method: str, url: str, body: bytes | None, deadline: float) -> HttpReply:
        left = deadline - time.monotonic()
        if left <= 0:
            raise NotSent("the deadline passed before the call could be made")
        headers = {"Accept": "application/json"} | ({"Content-Type": "application/json"} if body is not None else {})
        reply = self._line.exchange(method, url, auth=self._auth, seconds=left, body=body, headers=headers)
        self._note_the_clock(reply)
        return reply

    def _read(self, method: str, path: str, reply: HttpReply) -> Reply | Failure:
        server_time = time.time() + (self._skew or 0.0)
        away = self._pace.learn(reply.status, reply.headers, server_time, urgent=self._urgent)
        envelope = _envelope(reply.body)
        code = _code(envelope)
        words = redact(str(envelope.get("replyText", "")))[:_LONGEST_WORDS] if envelope else ""
        request_id = reply.headers.get("X-Emarsys-Request-Id", "")
        log.debug(
            "%s %s: HTTP %d, reply code %s, %.0f ms, request %s",
            method, path, reply.status, code, reply.seconds * 1000, request_id or "unnamed",
        )  # fmt: skip
        outcome = classify(reply.status, code, words, wait=away, request_id=request_id)
        if isinstance(outcome, Answered):
            return Reply(envelope.get("data"), request_id)
        if isinstance(outcome, Stopped):
            outcome = self._explained(reply.status, words, outcome)
        log.info("%s %s: %s (%s)", method, path, type(outcome).__name__, outcome)
        return outcome

    def _explained(self, status: int, words: str, stopped: Stopped) -> Stopped:
        """What only this end of the line knows about a refusal: the scheme, and the clocks."""
        if not isinstance(self._auth, WsseAuth):
            return stopped
        if status == 401 and "time frame" in words.lower():
            return Stopped(f"{stopped.reason}. {self._skew_in_words()}", _SET_THE_CLOCK)
        if status in (401, 403, 404, 410):
            return Stopped(
                stopped.reason,
                f"{stopped.remedy} SAP ends WSSE with the year 2026: if it is off, give this account OAuth 2 "
                "credentials (client_id, client_secret) instead of the WSSE user.",
            )
        return stopped

    def _mind_the_clock(self, left: float) -> None:
        """WSSE signs the time, so a wrong clock is found out before anything is signed. Raises NotAnswered."""
        if self._skew is None:
            probe = f"{self._account.url}/healthcheck"
            try:
                self._note_the_clock(self._line.exchange("GET", probe, seconds=min(left, 10.0)))
            except Lost as fault:  # what was lost is the probe; of the call itself nothing was sent
                raise NotSent(str(fault)) from None
        if self._skew is not None and abs(self._skew) > _SKEW_STOPS:
            words = self._skew_in_words()
            self._skew = None  # measured afresh on the next call, when somebody may have set the clock
            raise NotAnswered(Stopped(words, _SET_THE_CLOCK))

    def _note_the_clock(self, reply: HttpReply) -> None:
        date = reply.headers.get("Date")
        if date is None:
            return
        try:
            theirs = parsedate_to_datetime(date).timestamp() + 0.5  # the header is cut to whole seconds
        except ValueError:
            return
        self._skew = theirs - (time.time() - reply.seconds / 2)
        wrong = abs(self._skew) > _SKEW_WARNS
        if wrong and not self._warned_of_skew:
            log.warning("%s", self._skew_in_words())
        self._warned_of_skew = wrong

    def _skew_in_words(self) -> str:
        skew = self._skew or 0.0
        return f"The clock here is {abs(skew):.0f} s {'behind' if skew > 0 else 'ahead of'} Emarsys's"


_SET_THE_CLOCK = "Set the clock of this machine (switch on its time service). WSSE allows five minutes."


def _envelope(body: bytes) -> dict[str, Any]:
    """The reply's JSON object, whatever its content type says (Emarsys labels JSON as HTML); empty if it is none."""
    try:
        envelope = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return envelope if isinstance(envelope, dict) else {}


def _code(envelope: Mapping[str, Any]) -> int | None:
    code = envelope.get("replyCode")
    if isinstance(code, str) and code.isdecimal():
        code = int(code)
    return code if isinstance(code, int) and not isinstance(code, bool) else None
