"""A call through the transport: what is repeated, what is not, and what a reply is taken for."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import pytest

from prima_emarsys.emarsys.outcome import Ambiguous, BatchRefused, Later, NotAnswered, Stopped
from prima_emarsys.emarsys.transport import Reply, Transport
from prima_emarsys_tests.emarsys.conftest import by_oauth, by_wsse
from prima_emarsys_tests.emarsys.scripted import Scripted, Step, drip, hang, ok, raw, refusal, reply

Connect = Callable[..., Transport]


def write(transport: Transport) -> object:
    return transport.call("PUT", "contact/", body=b"{}")


def read(transport: Transport) -> object:
    return transport.call("POST", "contact/getdata", body=b"{}", reads=True)


def test_json_is_read_whatever_its_content_type_and_surplus_keys_are_passed_over(connect: Connect) -> None:
    """Fault 19."""
    envelope = {"replyCode": 0, "replyText": "OK", "data": {"n": 1}, "surplus": [1, {"a": None}]}
    with Scripted([reply(envelope, headers={"X-Emarsys-Request-Id": "req-1"})]) as server:
        assert read(connect(server)) == Reply({"n": 1}, "req-1")


UNREADABLE = {
    "HTML": reply("<html>We are down for maintenance</html>"),
    "truncated JSON": reply(b'{"replyCode":0,"replyText":"OK","da'),
    "empty": reply(b""),
    "a bare list": reply([1, 2]),
    "no code": reply({"replyText": "OK"}),
    "a code that is no number": reply({"replyCode": True}),
}


@pytest.mark.parametrize("step", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_a_success_status_without_an_envelope_leaves_a_write_in_doubt(step: Step) -> None:
    """Fault 18: and it is not repeated, since the ledger must know of the doubt."""
    with Scripted([step]) as server:
        assert isinstance(write(by_oauth(server)), Ambiguous)
    assert len(server.calls) == 1


LOST = {"2 silence": hang(5), "8 drip": drip(b"HTTP/1.1 200 OK\r\n" * 40, 0.1), "reset": raw(b"HTTP/1.1 200")}


@pytest.mark.parametrize("step", LOST.values(), ids=LOST.keys())
def test_a_lost_reply_leaves_a_write_in_doubt_and_is_not_repeated(step: Step) -> None:
    """Faults 2, 3 and 8."""
    with Scripted([step]) as server:
        assert isinstance(write(by_oauth(server, deadline=0.6)), Ambiguous)
    assert len(server.calls) == 1


@pytest.mark.parametrize("step", [raw(b"HTTP/1.1 200"), refusal(500, 1003), reply(b"", 502), UNREADABLE["HTML"]])
def test_a_read_is_repeated_after_any_passing_fault(step: Step) -> None:
    """Faults 11 and 18: reading changes nothing."""
    with Scripted([step, step, ok({"n": 1})]) as server:
        assert isinstance(read(by_oauth(server)), Reply)


def test_a_read_that_fails_three_times_is_for_later_and_never_in_doubt() -> None:
    with Scripted([refusal(500, 1003)]) as server:
        outcome = read(by_oauth(server))
    assert isinstance(outcome, Later)
    assert outcome.counts_as_failure
    assert len(server.calls) == 3


def test_an_overloaded_server_is_tried_three_times_then_left_for_later() -> None:
    """Fault 11."""
    with Scripted([reply("<h1>503</h1>", 503)]) as server:
        outcome = write(by_oauth(server))
    assert isinstance(outcome, Later)
    assert outcome.counts_as_failure
    assert len(server.calls) == 3


def test_an_overload_that_passes_is_not_noticed() -> None:
    """Fault 11."""
    with Scripted([reply(b"", 503), ok({})]) as server:
        assert isinstance(write(by_oauth(server)), Reply)


@pytest.mark.parametrize("step", [refusal(500, 1003), reply(b"", 502), reply(b"", 504)])
def test_a_server_error_after_the_body_leaves_a_write_in_doubt(step: Step) -> None:
    """Faults 11 and 13."""
    with Scripted([step]) as server:
        assert isinstance(write(by_oauth(server)), Ambiguous)
    assert len(server.calls) == 1


def test_a_missing_feature_stops_although_it_comes_as_a_server_error() -> None:
    """Fault 12."""
    with Scripted([refusal(500, 6010, "feature missing")]) as server:
        assert isinstance(write(by_oauth(server)), Stopped)
    assert len(server.calls) == 1


def test_a_closed_port_is_for_later_and_nothing_was_sent(connect: Connect) -> None:
    """Fault 1."""
    with Scripted([ok({})]) as server:
        transport = connect(server, deadline=5)
    outcome = write(transport)
    assert isinstance(outcome, Later)
    assert outcome.counts_as_failure
    assert server.seen == []


def test_a_refusal_of_one_endpoint_stops_that_call_and_no_other() -> None:
    """Fault 15."""
    with Scripted([reply("Forbidden", 403), ok({"n": 1})]) as server:
        transport = by_oauth(server)
        outcome = write(transport)
        assert isinstance(outcome, Stopped)
        assert "Security Settings" in outcome.remedy
        assert isinstance(read(transport), Reply)


def test_http_200_with_another_reply_code_is_no_success(connect: Connect) -> None:
    """Fault 16."""
    with Scripted([refusal(200, 2010, "More contacts found with the external id: 3 - ann@example.com")]) as server:
        outcome = write(connect(server))
    assert outcome == BatchRefused("2010", "More contacts found with the external id: 3 - a…(15)")


def test_a_redirect_is_refused_and_no_credentials_follow_it(connect: Connect) -> None:
    """Fault 28."""
    with Scripted([ok({})]) as elsewhere, Scripted([reply(b"", 302, {"Location": elsewhere.url})]) as server:
        outcome = write(connect(server))
        assert isinstance(outcome, Stopped)
        assert "other host" in outcome.remedy or "another host" in outcome.remedy
        assert elsewhere.seen == []


def test_past_the_rate_limit_nothing_is_sent_before_the_reset() -> None:
    """Fault 9: the reset is farther away than this call may last, so the ledger waits, and no failure is counted."""
    now = time.time()
    limited = refusal(429, 7003, "Too many requests", **{"X-Ratelimit-Reset": str(int(now) + 20)})
    with Scripted([limited, ok({})]) as server:
        transport = by_oauth(server, deadline=6)
        for _ in range(3):
            outcome = write(transport)
            assert isinstance(outcome, Later)
            assert not outcome.counts_as_failure
            assert 15 < outcome.wait <= 21
    assert len(server.calls) == 1


def test_a_short_rate_limit_is_waited_out_within_the_call() -> None:
    """Fault 9."""
    limited = refusal(429, 7003, "Too many requests", **{"X-Ratelimit-Reset": str(int(time.time()) + 2)})
    with Scripted([limited, ok({"n": 1})]) as server:
        assert isinstance(write(by_oauth(server)), Reply)
    assert len(server.calls) == 2


def test_a_rate_limit_that_ends_in_2099_waits_two_minutes_at_most() -> None:
    """Fault 10."""
    with Scripted([refusal(429, 7003, **{"X-Ratelimit-Reset": "4070908800"})]) as server:
        outcome = write(by_oauth(server, deadline=6))
    assert isinstance(outcome, Later)
    assert outcome.wait <= 120


@pytest.mark.parametrize("ahead", [360, -360], ids=["ahead", "behind"])
def test_a_clock_six_minutes_off_stops_wsse_before_anything_is_signed(ahead: int) -> None:
    """Fault 30."""
    with Scripted([reply(b"ok", date=time.time() - ahead)]) as server:
        outcome = write(by_wsse(server))
    assert isinstance(outcome, Stopped)
    assert f"{'ahead of' if ahead > 0 else 'behind'} Emarsys's" in outcome.reason
    assert "36" in outcome.reason or "35" in outcome.reason
    assert "clock" in outcome.remedy
    assert [request.target for request in server.seen] == ["/healthcheck"]
    assert "x-wsse" not in server.seen[0].headers


def test_a_clock_that_was_set_right_lets_wsse_go_on() -> None:
    """Fault 30."""
    with Scripted([reply(b"ok", date=time.time() - 360), reply(b"ok"), ok({"n": 1})]) as server:
        transport = by_wsse(server)
        assert isinstance(write(transport), Stopped)
        assert isinstance(write(transport), Reply)


def test_a_clock_six_minutes_off_does_not_hinder_oauth_but_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    with Scripted([reply({"replyCode": 0, "data": {}}, date=time.time() + 360)]) as server:
        transport = by_oauth(server)
        assert isinstance(write(transport), Reply)
        assert isinstance(write(transport), Reply)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "behind Emarsys's" in caplog.text
    assert transport.skew == pytest.approx(360, abs=5)


def test_a_time_frame_that_emarsys_refuses_names_the_clocks() -> None:
    """Fault 30."""
    with Scripted([ok({}), refusal(401, 1, "Unauthorized Time frame is invalid")]) as server:
        outcome = write(by_wsse(server))
    assert isinstance(outcome, Stopped)
    assert "clock here is 0 s" in outcome.reason or "clock here is 1 s" in outcome.reason
    assert "clock" in outcome.remedy


def test_a_question_that_cannot_be_answered_raises_with_its_outcome() -> None:
    with Scripted([reply("Forbidden", 403)]) as server, pytest.raises(NotAnswered, match="HTTP 403") as raised:
        by_oauth(server).fetch("GET", "settings")
    assert isinstance(raised.value.outcome, Stopped)


def test_a_patient_question_waits_for_later() -> None:
    down = reply(b"", 503)
    with Scripted([down, down, down, ok({"n": 1})]) as server:
        assert by_oauth(server).fetch("GET", "settings", patience=30) == {"n": 1}


def test_no_address_reaches_the_log_and_the_request_id_does(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with Scripted(
        [refusal(400, 2010, "More contacts: ann@example.com", **{"X-Emarsys-Request-Id": "req-9"})]
    ) as server:
        by_oauth(server).call("GET", "contact/", query={"3": "ann@example.com"}, reads=True)
    assert "req-9" in caplog.text
    assert "ann@" not in caplog.text
    assert "ann%40" not in caplog.text
