"""One alert per cause: opened once, rising, renewed without a word, resolved once; a storm is counted, not kept."""

import pytest

from schemas.alerts import Alert
from schemas.windows import Severity
from streams.alerts import MAX_OPEN, AlertBook

_AFTER = 100


class Heard:
    """A book and everything that it said."""

    def __init__(self) -> None:
        self.said: list[Alert] = []
        self.book = AlertBook("m", "1", self.said.append, _AFTER)

    def states(self) -> list[tuple[str, str]]:
        return [(alert.state, alert.severity) for alert in self.said]


@pytest.fixture
def heard() -> Heard:
    return Heard()


def test_the_same_cause_opens_once_and_resolves_once(heard: Heard) -> None:
    for at in (0, 50, 99, 120):
        heard.book.raise_("drift", "", "page", at, summary="s")
    heard.book.settle(219)
    assert heard.states() == [("firing", "page")]
    heard.book.settle(220)
    heard.book.settle(10_000)
    assert heard.states() == [("firing", "page"), ("resolved", "page")]
    assert heard.said[0].alert_id == heard.said[1].alert_id
    assert heard.said[1].resolved_at_ns == 220
    assert heard.book.open == []


def test_a_ticket_rises_to_a_page_under_the_same_id_and_never_falls(heard: Heard) -> None:
    for at, severity in enumerate(("ticket", "ticket", "page", "ticket", "page", "none")):
        heard.book.raise_("evasion", "c", severity, at, summary=severity, client="c")  # type: ignore[arg-type]  # plain text here
    assert heard.states() == [("firing", "ticket"), ("firing", "page")]
    assert len({alert.alert_id for alert in heard.said}) == 1
    assert [alert.opened_at_ns for alert in heard.said] == [0, 0]
    assert heard.said[1].at_ns == 2


def test_a_page_says_how_many_there_were_in_thirty_days_whatever_is_restarted_or_told_again(heard: Heard) -> None:
    day = 86_400 * 10**9
    for k, at in enumerate((0, 5 * day, 33 * day)):
        heard.book.raise_("evasion", f"c{k}", "ticket", at, summary="s")
        heard.book.raise_("evasion", f"c{k}", "page", at, summary="s")
    again = Heard()
    again.book.load(heard.book.dump())
    again.book.raise_("evasion", "c2", "page", 34 * day, summary="s", grown=True)
    again.book.raise_("drift", "", "page", 34 * day, summary="s", evidence={"status": "calibrated"})
    again.book.raise_("drift", "latency", "ticket", 34 * day, summary="s")
    assert [one.evidence.get("page_of_30d") for one in heard.said] == [None, None, None, 2, None, 2]
    assert [one.evidence.get("page_of_30d") for one in again.said] == [2, 3, None]
    assert again.said[1].evidence["status"] == "calibrated"


def test_a_pending_alert_fires_when_it_is_raised_again_and_goes_without_a_word_when_not(heard: Heard) -> None:
    heard.book.raise_("completeness", "gap", "ticket", 0, summary="s", pending=True)
    heard.book.settle(_AFTER)
    heard.book.raise_("completeness", "gap", "ticket", 200, summary="s", pending=True)
    heard.book.raise_("completeness", "gap", "ticket", 210, summary="s", pending=True)
    assert heard.states() == [("pending", "ticket"), ("pending", "ticket"), ("firing", "ticket")]


def test_a_cause_that_returns_after_its_end_is_another_alert(heard: Heard) -> None:
    heard.book.raise_("drift", "", "page", 0, summary="s")
    heard.book.settle(_AFTER)
    heard.book.raise_("drift", "", "page", 500, summary="s")
    assert heard.said[0].alert_id != heard.said[2].alert_id


def test_a_renewal_extends_and_says_nothing(heard: Heard) -> None:
    heard.book.raise_("evasion", "c", "page", 0, summary="s", log_evidence=20.0)
    assert heard.book.renew("evasion", "c", 90, 30.0)
    heard.book.settle(189)
    assert len(heard.said) == 1
    heard.book.settle(190)
    assert heard.states()[-1][0] == "resolved"


def test_a_resolved_cause_opens_again_only_when_its_evidence_has_grown_a_hundredfold(heard: Heard) -> None:
    heard.book.raise_("evasion", "c", "page", 0, summary="s", log_evidence=20.0)
    heard.book.renew("evasion", "c", 50, 40.0)
    heard.book.settle(1_000)
    assert heard.book.renew("evasion", "c", 1_100, 40.0), "the evidence of before"
    assert heard.book.renew("evasion", "c", 1_100, 44.0)
    assert not heard.book.renew("evasion", "c", 1_100, 44.7)


def test_a_renewal_of_what_never_opened_opens_nothing(heard: Heard) -> None:
    assert heard.book.renew("evasion", "nobody", 0, 1e6)
    assert heard.said == []


def test_an_episode_that_continues_opens_no_second_alert_unless_it_has_grown(heard: Heard) -> None:
    heard.book.raise_("access", "", "page", 0, summary="s", log_evidence=20.0)
    heard.book.settle(1_000)
    heard.book.raise_("access", "", "page", 1_100, summary="s", log_evidence=20.0, continues=True)
    assert len(heard.said) == 2
    heard.book.raise_("access", "", "page", 1_100, summary="s", log_evidence=25.0, continues=True)
    assert heard.states()[-1][0] == "firing"
    heard.book.settle(2_500)
    heard.book.raise_("access", "", "page", 2_600, summary="s", log_evidence=20.0)
    assert heard.states()[-1][0] == "firing", "a fresh episode"


def test_a_storm_is_bounded_and_counted(heard: Heard) -> None:
    for k in range(3 * MAX_OPEN):
        heard.book.raise_("extraction", f"c{k}", "page", 0, summary="s")
    assert len(heard.book.open) == MAX_OPEN
    assert heard.book.suppressed == 2 * MAX_OPEN
    heard.book.settle(_AFTER)
    heard.book.raise_("extraction", "later", "page", 200, summary="s")
    assert len(heard.book.open) == 1


def test_members_who_join_are_told_under_the_same_identity_and_no_news_is_not_told(heard: Heard) -> None:
    def swarm(at_ns: int, severity: Severity, clients: str, *, grown: bool) -> None:
        heard.book.raise_("extraction", "synthetic 7", severity, at_ns, summary=f"{len(clients)} clients", clients=clients, grown=grown)

    swarm(0, "ticket", "ab", grown=True)
    swarm(10, "ticket", "ab", grown=False)
    swarm(20, "ticket", "abc", grown=True)
    swarm(30, "page", "abcd", grown=True)
    swarm(40, "ticket", "abcde", grown=True)
    assert [(a.at_ns, a.severity, "".join(a.clients)) for a in heard.said] == [
        (0, "ticket", "ab"), (20, "ticket", "abc"), (30, "page", "abcd"), (40, "page", "abcde"),
    ]  # fmt: skip
    assert len({a.alert_id for a in heard.said}) == 1
    assert {a.opened_at_ns for a in heard.said} == {0}
    assert heard.book.grown == 2
    assert "AML.T0021" in heard.said[0].techniques


def test_an_alert_names_its_techniques(heard: Heard) -> None:
    heard.book.raise_("membership", "c", "page", 0, summary="s")
    heard.book.raise_("drift", "", "page", 0, summary="s")
    assert heard.said[0].techniques == ("AML.T0024.000",)
    assert heard.said[1].techniques == heard.said[1].owasp == ()


def test_a_restored_book_goes_on_as_if_nothing_had_happened(heard: Heard) -> None:
    whole, first, second = Heard(), Heard(), Heard()
    for one in (whole, first):
        one.book.raise_("evasion", "gone", "page", 0, summary="s", log_evidence=20.0)
        one.book.settle(_AFTER)
        one.book.raise_("drift", "", "ticket", 150, summary="s", evidence={"x": [1, "é"]})
        one.book.suppressed = 3
    second.book.load(first.book.dump())
    for one in (whole, second):
        one.said.clear()
        one.book.raise_("drift", "", "page", 160, summary="s")
        assert one.book.renew("evasion", "gone", 170, 20.0)
        assert not one.book.renew("evasion", "gone", 170, 30.0)
        one.book.settle(1_000)
    assert whole.said == second.said
    assert second.book.suppressed == 3


def test_an_event_that_is_forgotten_is_in_no_alert_that_is_open(heard: Heard) -> None:
    told = {"event_id": "b", "chain": [{"event_id": "a", "answer": "yes"}, {"event_id": "b", "answer": "no"}]}
    heard.book.raise_("evasion", "c", "page", 0, summary="s", evidence=told, client="c")
    heard.book.forget("", "a")
    heard.book.forget("", "b")
    (held,) = heard.book.open
    assert held.evidence["event_id"] == ""
    assert held.evidence["chain"] == [{"event_id": "", "answer": "yes"}, {"event_id": "", "answer": "no"}]
