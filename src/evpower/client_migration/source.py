"""Reads rows of an old system strictly: an unclear value is reported, never guessed."""

import csv
import hashlib
import re
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from datetime import UTC
from pathlib import Path
from typing import Final, Protocol

from evpower.client_migration.model import OldConfirmation, Password, SourceError, SourceRow
from evpower.foundation.clock import read_time
from evpower.foundation.errors import Invalid
from evpower.foundation.money import read_old_som, rounded_minor
from evpower.identity import clean_name, fold_id_tag, normal_email, phone_as_typed

# Our fields and their names in other systems, the most likely first.
FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "old_id": ("old_id", "client_id", "id"),
    "email": ("email",),
    "phone": ("phone", "phone_number"),
    "name": ("name", "full_name"),
    "id_tags": ("id_tags", "id_tag", "idtag"),
    "password_hash": ("password_hash", "hashed_password", "encrypted_password"),
    "email_confirmed": ("email_confirmed", "email_confirmed_at", "email_verified"),
    "phone_confirmed": ("phone_confirmed", "phone_confirmed_at", "phone_verified"),
    "balance": ("balance",),
}
# The forms GoTrue imports; it returns 500 for others.
_BCRYPT: Final = re.compile(r"\$2[aby]\$(0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{53}")
_ARGON2: Final = re.compile(
    r"\$argon2id?\$v=19\$m=[0-9]{1,10},t=[0-9]{1,10},p=[0-9]{1,3}\$[A-Za-z0-9+/]{8,}\$[A-Za-z0-9+/]{16,}"
)
_UNREADABLE: Final = re.compile("[\0\ud800-\udfff]")
_YES: Final = {"true", "t", "yes", "y", "1"}
_NO: Final = {"", "false", "f", "no", "n", "0", "null"}
_ID_MAX: Final = 200
_TAG_MAX: Final = 200
_TAGS_MAX: Final = 50
_FIELD_MAX: Final = 1024 * 1024
_SHOWN: Final = 60
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


class RowSource(Protocol):
    """A source of old clients, which may be read several times."""

    @property
    def name(self) -> str:
        """The source for operators, without a password."""
        ...

    @property
    def fields(self) -> Mapping[str, str]:
        """The fields the source has, with its names for them; known once rows were read."""
        ...

    def rows(self) -> AsyncGenerator[SourceRow]:
        """Yields every row. Raises SourceError."""
        ...


def match_fields(header: Sequence[str], mapped: Mapping[str, str]) -> dict[str, str]:
    """Returns the name in the source of each field it has; `mapped` gives names that differ.

    Raises SourceError.
    """
    names = [name.strip().lower() for name in header]
    if twice := {name for name in names if name and names.count(name) > 1}:
        raise SourceError(f"columns are there twice: {', '.join(sorted(twice))}")
    fields: dict[str, str] = {}
    for field, name in mapped.items():
        if field not in FIELDS:
            raise SourceError(f"there is no field {field!r}; there are {', '.join(FIELDS)}")
        if name and name.strip().lower() not in names:  # an empty name leaves the field out
            raise SourceError(f"there is no column {name!r}; there are {', '.join(names)}")
        fields[field] = name.strip().lower()
    for field, synonyms in FIELDS.items():
        used = set(fields.values())
        own = next((name for name in synonyms if name in names and name not in used), None)
        if field not in fields and own is not None:
            fields[field] = own
    fields = {field: name for field, name in fields.items() if name}
    if "old_id" not in fields:
        raise SourceError(
            "no column is the old id: name it old_id,"
            f" or say --map old_id=<one of {', '.join(names)}>"
        )
    return fields


class Reader:
    """Parses texts by field into rows."""

    def __init__(self, fields: Mapping[str, str], *, unconfirmed: frozenset[str]) -> None:
        """`unconfirmed`: kinds of contacts that an old system without a flag never confirmed."""
        self._fields = fields
        self._absent: dict[str, OldConfirmation] = {
            kind: "no" if kind in unconfirmed else "assumed" for kind in ("email", "phone")
        }

    def row(self, line: int, texts: Mapping[str, str]) -> SourceRow:
        """Returns a row; `texts` are by the names of our fields."""
        invalid: list[tuple[str, str | None]] = []

        def bad(reason: str, value: str | None = None) -> None:
            invalid.append((reason, None if value is None else _plain(value[:_SHOWN])))

        if any(map(_UNREADABLE.search, texts.values())):
            bad("not_readable")
            texts = {field: _replace_unreadable(text) for field, text in texts.items()}
        old_id = texts.get("old_id", "").strip()
        if not old_id:
            bad("old_id_missing")
        elif len(old_id) > _ID_MAX or not old_id.isprintable():
            bad("old_id_invalid")
            old_id = _plain(old_id[:_ID_MAX])
        email, phone = texts.get("email", "").strip(), texts.get("phone", "").strip()
        good_email = normal_email(email) if email else None
        good_phone = phone_as_typed(phone) if phone else None
        if email and good_email is None:
            bad("email_invalid", email)
        if phone and good_phone is None:
            bad("phone_invalid", phone)
        email_confirmed = self._confirmation("email", texts, bad)
        phone_confirmed = self._confirmation("phone", texts, bad)
        tags = _tags(texts.get("id_tags", ""), bad)
        password, password_hash = _password(texts.get("password_hash", "").strip())
        balance_minor = _balance(texts.get("balance", "").strip(), bad)
        reason, detail = invalid[0] if invalid else (None, None)
        return SourceRow(
            line=line,
            old_id=old_id,
            email=good_email,
            phone=good_phone,
            name=clean_name(texts.get("name", "")),
            email_confirmed=email_confirmed,
            phone_confirmed=phone_confirmed,
            id_tags=tags,
            password=password,
            password_hash=password_hash,
            balance_minor=balance_minor,
            invalid=reason,
            detail=detail,
            digest=_digest(texts),
        )

    def _confirmation(self, kind: str, texts: Mapping[str, str], bad: "_Bad") -> OldConfirmation:
        flag = f"{kind}_confirmed"
        if flag not in self._fields:
            return self._absent[kind]
        flag_text = texts.get(flag, "").strip().lower()
        if flag_text in _NO:
            return "no"
        if flag_text in _YES or _is_time(flag_text):
            return "yes"
        bad("flag_invalid", f"{flag}: {flag_text}")
        return "no"


class _Bad(Protocol):
    def __call__(self, reason: str, value: str | None = None) -> None: ...


def _replace_unreadable(text: str) -> str:
    return _UNREADABLE.sub("?", text)


def _plain(text: str) -> str:
    """Returns a printable text, without control characters."""
    return "".join(c if c.isprintable() else "?" for c in text)


def _is_time(text: str) -> bool:
    """Returns whether it is the time of the confirmation, as Supabase Auth stores it."""
    try:
        read_time(f"{text} 00:00" if _DATE.fullmatch(text) else text, zone=UTC)
    except ValueError:
        return False
    return True


def _tags(text: str, bad: _Bad) -> tuple[str, ...]:
    """Returns the id tags as they are compared, each once."""
    written = [tag.strip() for tag in text.split(";")]
    folded = dict.fromkeys(map(fold_id_tag, written))
    folded.pop("", None)  # a dash stands for none
    is_long = len(folded) > _TAGS_MAX or any(len(tag) > _TAG_MAX for tag in folded)
    if is_long or not all(map(str.isprintable, written)):
        bad("id_tags_invalid", text)
        return ()
    return tuple(folded)


def _password(text: str) -> tuple[Password, str | None]:
    if not text:
        return "none", None
    if _BCRYPT.fullmatch(text) or _ARGON2.fullmatch(text):
        return "carried", text
    return "unknown", None


def _balance(text: str, bad: _Bad) -> int:
    """Returns som as tyiyn, rounded half up, because old systems stored floats."""
    if not text:
        return 0
    try:
        minor = rounded_minor(read_old_som(text))
    except Invalid:
        bad("balance_invalid", text)
        return 0
    if minor < 0:
        bad("balance_negative", text)
        return 0
    return minor


def _digest(texts: Mapping[str, str]) -> bytes:
    hashed = hashlib.sha256()
    for field in FIELDS:
        text = texts.get(field)
        encoded = b"-" if text is None else b"+" + text.encode(errors="surrogatepass")
        hashed.update(len(encoded).to_bytes(8) + encoded)
    return hashed.digest()


class CsvSource:
    """A CSV file with a header, in UTF-8, with or without BOM, separated by `,`, `;` or tabs."""

    def __init__(
        self,
        path: Path,
        *,
        mapped: Mapping[str, str] | None = None,
        unconfirmed: frozenset[str] = frozenset(),
    ) -> None:
        self._path = path
        self._mapped = mapped or {}
        self._unconfirmed = unconfirmed
        self.name = path.name
        self.fields: Mapping[str, str] = {}

    async def rows(self) -> AsyncGenerator[SourceRow]:
        """Yields every record with the number of its first line."""
        for row in self._read():
            yield row

    def _read(self) -> Iterator[SourceRow]:
        csv.field_size_limit(_FIELD_MAX)
        try:
            # Bytes that are no UTF-8 make only their own row invalid.
            with self._path.open(
                encoding="utf-8-sig", errors="surrogateescape", newline=""
            ) as file:
                first = file.readline()
                file.seek(0)
                delimiter = max(",;\t", key=_outside_quotes(first).count)
                records = csv.reader(file, delimiter=delimiter, strict=True)
                header = next(records, None)
                if header is None:
                    raise SourceError("the file is empty")
                self.fields = match_fields(header, self._mapped)
                yield from self._rows(records, header)
        except OSError as error:
            raise SourceError(f"{self._path}: {error.strerror}") from error

    def _rows(self, records: "_Records", header: Sequence[str]) -> Iterator[SourceRow]:
        reader = Reader(self.fields, unconfirmed=self._unconfirmed)
        names = [name.strip().lower() for name in header]
        at = {field: names.index(name) for field, name in self.fields.items()}
        line = records.line_num + 1
        while True:
            try:
                record = next(records, None)
            except csv.Error as error:  # the rest of the file can't be split into records
                raise SourceError(f"line {records.line_num}: {error}") from error
            if record is None:
                return
            if not any(map(str.strip, record)):
                pass  # an empty line, however many delimiters it has
            elif len(record) == len(names):
                yield reader.row(line, {field: record[place] for field, place in at.items()})
            else:
                yield _misshapen(line, record, at, len(names))
            line = records.line_num + 1


class _Records(Protocol):
    """The interface of csv.reader."""

    @property
    def line_num(self) -> int: ...

    def __next__(self) -> list[str]: ...


def _outside_quotes(line: str) -> str:
    return "".join(line.split('"')[::2])


def _misshapen(line: int, record: Sequence[str], at: Mapping[str, int], expected: int) -> SourceRow:
    """Returns a row for a record with too many or too few fields, which can't be assigned."""
    place = at["old_id"]
    old_id = (
        _plain(_replace_unreadable(record[place].strip()[:_ID_MAX])) if place < len(record) else ""
    )
    return SourceRow(
        line=line, old_id=old_id, email=None, phone=None, name=None, email_confirmed="no",
        phone_confirmed="no", id_tags=(), password="none",  # noqa: S106 - that there is none
        password_hash=None, balance_minor=0,
        invalid="fields_miscounted", detail=f"{len(record)} fields, the header has {expected}",
        digest=hashlib.sha256(repr(record).encode(errors="surrogatepass")).digest(),
    )  # fmt: skip
