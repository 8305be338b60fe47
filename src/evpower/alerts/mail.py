"""Sends alerts by email: all that are due in one mail."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from email.utils import format_datetime
from ssl import SSLContext
from typing import Any, Final
from zoneinfo import ZoneInfo

import structlog

from evpower.alerts.kinds import Language, Severity, facts_of
from evpower.alerts.model import AlertEvent, AlertMessage, Attempt
from evpower.alerts.smtp import MailRefused, SmtpServer, hand_over
from evpower.foundation.clock import Clock

# ruff: noqa: RUF001 - words of other alphabets
_MOST_DETAIL: Final = 500  # characters
_MOST_SUBJECT: Final = 150
_log: Final = structlog.get_logger()

_EVENTS: Final[Mapping[Language, Mapping[AlertEvent, str]]] = {
    "en": {"opened": "opened", "repeated": "goes on", "closed": "closed", "test": "test"},
    "ru": {
        "opened": "открыто",
        "repeated": "продолжается",
        "closed": "закрыто",
        "test": "проверка",
    },
    "ky": {"opened": "ачылды", "repeated": "уланууда", "closed": "жабылды", "test": "текшерүү"},
}
_SEVERITIES: Final[Mapping[Language, Mapping[Severity, str]]] = {
    "en": {"grave": "grave", "warning": "warning", "info": "info"},
    "ru": {"grave": "срочно", "warning": "внимание", "info": "к сведению"},
    "ky": {"grave": "шашылыш", "warning": "көңүл буруңуз", "info": "маалымат"},
}
# Several alerts, what to do, since, seen.
_WORDS: Final[Mapping[Language, Mapping[str, str]]] = {
    "en": {"several": "Alerts", "act": "To do", "since": "since", "count": "seen"},
    "ru": {"several": "Оповещений", "act": "Что делать", "since": "с", "count": "замечено раз"},
    "ky": {"several": "Билдирүү", "act": "Эмне кылуу керек", "since": "башталышы", "count": "саны"},
}


@dataclass(frozen=True, slots=True)
class Letterhead:
    """From whom mails come, to whom they go, in which language and time zone."""

    sender: str
    recipients: tuple[str, ...]
    language: Language
    zone: ZoneInfo


class EmailChannel:
    """Hands one mail with all messages to the SMTP server: it has all of them, or none."""

    gathers = True
    batch = 200

    def __init__(
        self, server: SmtpServer, tls: SSLContext, letterhead: Letterhead, clock: Clock
    ) -> None:
        self._server = server
        self._tls = tls
        self._letterhead = letterhead
        self._clock = clock

    async def send(self, messages: Sequence[AlertMessage]) -> list[Attempt]:
        """Sends a mail with all messages. A refused recipient is logged while others got it."""
        mail = write_mail(messages, self._letterhead, self._clock())
        error = None
        try:
            refused = await hand_over(self._server, self._tls, mail)
        except MailRefused as refusal:
            error = str(refusal)
        else:
            if refused:
                _log.warning("alert_recipients_refused", recipients=refused)
        return [Attempt(message, error) for message in messages]


def write_mail(
    messages: Sequence[AlertMessage], letterhead: Letterhead, now: datetime
) -> EmailMessage:
    """Returns a mail in plain text. Its Message-ID is the first message's and its attempt's."""
    mail = EmailMessage()
    first, language = messages[0], letterhead.language
    domain = letterhead.sender.rpartition("@")[2].rstrip(">") or "localhost"
    mail["From"] = letterhead.sender
    mail["To"] = ", ".join(letterhead.recipients)
    mail["Date"] = format_datetime(now)
    mail["Message-ID"] = f"<{first.id}.{first.attempts}@{domain}>"
    mail["Subject"] = _subject(messages, language)
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no vacation answers
    paragraphs = [_paragraph(message, letterhead) for message in messages]
    mail.set_content("\n\n".join(paragraphs) + "\n", cte="base64")
    return mail


def _subject(messages: Sequence[AlertMessage], language: Language) -> str:
    graves = sum(facts_of(message.kind).severity == "grave" for message in messages)
    if len(messages) == 1:
        [message] = messages
        facts = facts_of(message.kind)
        text = (
            f"{_SEVERITIES[language][facts.severity]}, {_EVENTS[language][message.event]}: "
            f"{facts.title[language]} ({message.subject})"
        )
    else:
        text = f"{_WORDS[language]['several']}: {len(messages)}"
        if graves:
            text += f", {_SEVERITIES[language]['grave']}: {graves}"
    return f"[EvPower] {_line(text)}"[:_MOST_SUBJECT]


def _paragraph(message: AlertMessage, letterhead: Letterhead) -> str:
    language, zone = letterhead.language, letterhead.zone
    facts, words = facts_of(message.kind), _WORDS[language]
    since = f"{message.opened_at.astimezone(zone):%Y-%m-%d %H:%M %Z}"
    event = _EVENTS[language][message.event]
    lines = [
        f"{_SEVERITIES[language][facts.severity].upper()}, {event}: {facts.title[language]}",
        f"  {_line(message.subject)}, {words['since']} {since}, {words['count']}: {message.count}",
        *([f"  {_line(_shown(message.detail))}"] if message.detail else []),
        f"  {message.kind} #{message.alert_id}",
    ]
    if message.event != "closed":
        lines.append(f"  {words['act']}: {facts.act[language]}")
    return "\n".join(lines)


def _shown(detail: Mapping[str, Any]) -> str:
    parts = (
        f"{name}: {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
        for name, value in detail.items()
    )
    return ", ".join(parts)[:_MOST_DETAIL]


def _line(text: str) -> str:
    """Returns a text in one line, without what moves the cursor or ends a header."""
    return "".join(character if character.isprintable() else " " for character in text)
