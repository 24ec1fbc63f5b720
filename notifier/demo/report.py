"""What the demo found: the database's account joined with the receivers' own."""

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from sqlalchemy import Connection

from notifier.demo.receivers import Endpoint, MailServer
from notifier.store import account as ledger
from notifier.store import standing, system


@dataclass(slots=True)
class Report:
    """Everything the demo prints; `holds` is its verdict."""

    deliveries: dict[str, dict[str, int]] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    events: dict[str, int] = field(default_factory=dict)
    journey: list[str] = field(default_factory=list)
    killed: dict[str, Any] = field(default_factory=dict)
    wiped: dict[str, Any] = field(default_factory=dict)
    recovered: dict[str, int] = field(default_factory=dict)
    escalation: dict[str, int] = field(default_factory=dict)
    failover: dict[str, int] = field(default_factory=dict)
    received: dict[str, dict[str, int]] = field(default_factory=dict)
    rates: dict[str, float] = field(default_factory=dict)
    broken: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    def holds(self) -> bool:
        """Every invariant held, both faults happened, work was recovered from each, one escalation
        was stopped and one reached the telephone, and a provider was left and taken back."""
        return (
            not self.broken
            and bool(self.killed and self.wiped and self.escalation and self.failover)
            and all(self.recovered.values())
            and all(self.escalation.values())
            and all(self.failover.values())
        )

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "ok": self.holds()}

    def lines(self) -> list[str]:
        """The report for a person."""
        out = ["", "REPORT", "", "Deliveries by channel and status"]
        for channel, statuses in sorted(self.deliveries.items()):
            told = ", ".join(f"{count} {status}" for status, count in sorted(statuses.items()))
            out.append(f"  {channel:10} {told}")
        out += ["", "Refused pairs, by reason"]
        out += [f"  {reason:20} {count}" for reason, count in sorted(self.refused.items())]
        out += ["", "Events by source"]
        out += [f"  {source:20} {count}" for source, count in sorted(self.events.items())]
        out += ["", "One delivery's journey", *(f"  {step}" for step in self.journey)]
        out += ["", "Faults"]
        out.append(f"  worker killed: {_told(self.killed)}")
        out.append(f"  Redis wiped:   {_told(self.wiped)}")
        out.append(f"  recovered:     {_told(self.recovered)}")
        out += ["", "Escalation and failover"]
        out.append(f"  escalation:    {_told(self.escalation)}")
        out.append(f"  failover:      {_told(self.failover)}")
        out += ["", "What the receivers logged, held against the database"]
        out += [f"  {name:10} {_told(counts)}" for name, counts in self.received.items()]
        out += ["", f"Rates: {_told(self.rates)}; {self.seconds} s in all"]
        out.append("")
        if self.broken:
            out.append("NOT HELD:")
            out += [f"  {name}: {count} rows" for name, count in self.broken.items()]
        else:
            out.append("Every invariant held: nothing lost, stuck, or doubled beyond the policy.")
        return out


def _told(facts: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in facts.items()) or "did not happen"


def account(connection: Connection, mail: MailServer, endpoint: Endpoint) -> Report:
    """Read the database, and hold it against what the receivers logged."""
    report = Report()
    report.deliveries = {
        str(channel): dict(statuses)
        for channel, statuses in standing.deliveries(connection).items()
    }
    report.refused = ledger.refused(connection)
    report.events = ledger.events_by_source(connection)
    report.broken = system.violations(connection)
    unfinished = ledger.unfinished(connection)
    if unfinished:
        report.broken["everything has reached its end"] = unfinished
    report.recovered = ledger.recovered(connection)
    report.escalation = ledger.escalation(connection)
    report.failover = ledger.failover(connection, "twilio")
    for name, channel, taken in (
        ("mail", "email", mail.taken),
        ("endpoint", "webhook", endpoint.taken),
    ):
        report.received[name] = _compare(connection, report, name, channel, taken)
    report.received["endpoint"]["turned_away_at_first"] = sum(endpoint.failed.values())
    report.journey = ledger.longest_journey(connection)
    return report


def _compare(
    connection: Connection, report: Report, name: str, channel: str, taken: Counter[str]
) -> dict[str, int]:
    """Count what was received against what was recorded as accepted; what differs is broken."""
    accepted = ledger.accepted(connection, channel)
    lost = accepted.keys() - taken.keys()
    unrecorded = taken.keys() - accepted.keys()
    doubled = {delivery for delivery, times in taken.items() if times > 1}
    # Only what a killed worker had sent and not recorded may come twice.
    unexplained = {d for d in doubled if not accepted.get(d) or taken[d] > 2}
    for what, rows in (
        (f"{name}: recorded as accepted and never received", lost),
        (f"{name}: received and never recorded", unrecorded),
        (f"{name}: received twice without having been in doubt", unexplained),
    ):
        if rows:
            report.broken[what] = len(rows)
    return {
        "received": sum(taken.values()),
        "distinct": len(taken),
        "recorded": len(accepted),
        "repeated_in_doubt": len(doubled),
    }
