"""The model: what users did, in plain fields; both sides must agree with it at rest."""

from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

CONTACTS: Final = ("email", "phone")
PROFILE: Final = (*CONTACTS, "name")
# EvPower's word for a client, as the apps know it.
SHOWN: Final = {"active": "active", "blocked": "blocked", "closed": "inactive"}


@dataclass(frozen=True)
class Typed:
    """A contact or name as a user typed it, and in EvPower's form."""

    text: str | None
    normal: str | None


NOTHING: Final = Typed(None, None)


@dataclass
class ModelUser:
    """A user of Supabase. `blocked`, `deletion_requested` None: the order of events decides."""

    id: UUID
    token: str
    profile: dict[str, Typed]
    logins: dict[str, str | None] = field(default_factory=dict, init=False)  # what Auth has
    written: set[str] = field(default_factory=set)  # what people themselves put into the row
    row_was_there: bool = False
    is_deleted: bool = False
    blocked: bool | None = False
    deletion_requested: bool | None = False
    ever_left: bool = False
    amounts: list[int] = field(default_factory=list)
    ever: set[tuple[str, Typed]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.logins = {"email": self.profile["email"].normal, "phone": None}
        self.ever = {(column, typed) for column, typed in self.profile.items()}

    def __repr__(self) -> str:
        return f"<{self.profile['email'].text}>"

    @property
    def balance(self) -> int:
        return sum(self.amounts)

    def writes(self, column: str, value: Typed) -> None:
        """The row has this value now, whatever it had before."""
        self.profile[column] = value
        self.ever.add((column, value))
        self.written.add(column)

    def logs_in_as(self, contact: str, value: Typed) -> None:
        """A new contact of the login becomes the profile's; the same one again changes nothing."""
        if value.normal != self.logins[contact]:
            self.logins[contact] = value.normal
            self.writes(contact, value)

    def loses_row(self) -> None:
        """EvPower creates it again, with the values it knew last."""
        self.written.clear()
        self.row_was_there = False
        self.blocked = None if self.blocked is not True else self.blocked
        self.leaves_unsaid()

    def leaves(self, *, deletion_requested: bool) -> None:
        """The user requests deletion or withdraws it, blocked or not."""
        self.deletion_requested, self.ever_left = (
            deletion_requested,
            self.ever_left or deletion_requested,
        )

    def leaves_unsaid(self) -> None:
        """No row states it any more: it depends on what EvPower had read."""
        self.deletion_requested = None if self.ever_left else False

    def may_show(self, column: str) -> set[str | None]:
        """Returns the values a row created by EvPower may have: any earlier one, or none."""
        known = [typed for about, typed in self.ever if about == column]
        return {None, *(typed.text for typed in known), *(typed.normal for typed in known)}

    def pays(self, amount: int) -> None:
        self.amounts.append(amount)

    def charges(self, cost: int) -> None:
        """Charges the balance; the rest is a debt and no transaction."""
        charged = min(cost, self.balance)
        if charged:
            self.amounts.append(-charged)


def email(number: int, which: int, *, shouted: bool = False) -> Typed:
    """One of this example's addresses."""
    normal = f"d{which}.{number}@example.kg"
    return Typed(normal.upper() if shouted else normal, normal)


def phone(number: int, which: int, form: str = "e164") -> Typed:
    """One of this example's phones, as users write them."""
    local = f"555{(number * 10 + which) % 10**6:06d}"
    text = {"e164": f"+996{local}", "home": f"0{local}", "spaced": f"0{local[:3]} {local[3:]}"}
    return Typed(text[form], f"+996{local}")


def name(text: str | None) -> Typed:
    """Names stay as they are typed."""
    return Typed(text, text)


def normal(column: str, text: str | None) -> str | None:
    """Returns EvPower's form of a text in a row, for the forms used here."""
    if text is None or column == "name":
        return text
    if column == "email":
        return text.lower()
    digits = text.replace(" ", "")
    return f"+996{digits[1:]}" if digits.startswith("0") else digits
