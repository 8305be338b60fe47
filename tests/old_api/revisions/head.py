"""HEAD (2025-12-13, version 1.1.4): as R5, with sign-in by phone code and some more nulls."""

from typing import Any, Literal

from tests.old_api.revisions import r5
from tests.old_api.revisions.types import (
    ABSENT,
    Filled,
    Number,
    Positive,
    Read,
    Text,
    Yes,
)


class Session(r5.Session):
    ocpp_transaction_id: Number | None = None
    transaction_id: Text | None = None
    ocpp_status: Text | None = None


class Status(r5.Status):
    session: Session = ABSENT
    transaction_id: Text | None = None
    ocpp_status: Text | None = None


class Balance(Read):
    """Reads `balance`, else `current_balance`; `success` false means 0.00 and no start."""

    success: Yes = ABSENT
    balance: Number
    client_id: Text = ABSENT
    currency: Text = ABSENT
    last_topup_at: Text | None = None
    total_spent: Number | None = None


class CodeSent(Read):
    """The countdowns of the page of the code are the server's."""

    success: Yes
    phone: Text
    expires_in_seconds: Positive
    resend_available_in_seconds: Number


class User(Read):
    id: Filled
    phone: Filled
    name: Text | None
    balance: Number
    status: Text
    created_at: Text


class SignedIn(Read):
    success: Yes
    access_token: Filled
    refresh_token: Filled
    token_type: Text
    expires_in: Positive
    user: User
    user_type: Literal["client", "admin"]
    is_new_user: bool


class Refreshed(Read):
    """The refresh token that it has stays: HEAD never stores another one."""

    success: Yes
    access_token: Filled
    expires_in: Positive


class Me(Read):
    success: Yes
    user: User


class Done(Read):
    """Logout, deletion of the account, devices, favourites."""

    success: Yes
    message: Text = ABSENT


class Favorites(Read):
    success: Yes
    favorites: list[Text]
    error: Text | None = None


ROUTES: dict[str, Any] = {
    "start": r5.Start,
    "stop": r5.Stop,
    "status": Status,
    "station": r5.Station,
    "locations": r5.Locations,
    "top_up": r5.TopUp,
    "payment": r5.Payment,
    "balance": Balance,
    "send_otp": CodeSent,
    "verify_otp": SignedIn,
    "refresh": Refreshed,
    "me": Me,
    "logout": Done,
    "delete_account": Done,
    "device": Done,
    "favorites": Favorites,
    "favorite": Done,
}
