"""Sign-in by phone as the settings want it."""

from dataclasses import dataclass

from evpower.config import Settings
from evpower.foundation.errors import NotFound
from evpower.foundation.module import Shared
from evpower.identity.access import Access
from evpower.identity.sign_in.account import Accounts, ClientsWithMoney
from evpower.identity.sign_in.by_code import SignInCalls
from evpower.identity.sign_in.codes import CodeHasher
from evpower.identity.sign_in.keys import TokenIssuer
from evpower.identity.sign_in.refresh import RefreshCalls
from evpower.identity.sign_in.send import CodeRules
from evpower.identity.sign_in.senders.console import ConsoleSender
from evpower.identity.sign_in.senders.nikita import NikitaSender
from evpower.identity.sign_in.senders.protocol import Sender
from evpower.identity.supabase_admin import SupabaseAdmin


@dataclass(frozen=True, slots=True)
class PhoneSignIn:
    """What the routes call; None where the settings lack it."""

    calls: SignInCalls | None = None
    refreshes: RefreshCalls | None = None

    def signing_in(self) -> SignInCalls:
        """Returns what signs in. Raises NotFound("phone_sign_in_off")."""
        if self.calls is None:
            raise _off()
        return self.calls

    def refreshing(self) -> RefreshCalls:
        """Returns what refreshes: also while no new code is sent. Raises NotFound."""
        if self.refreshes is None:
            raise _off()
        return self.refreshes


def configured_sign_in(
    settings: Settings,
    shared: Shared,
    *,
    access: Access,
    admin: SupabaseAdmin,
    with_money: ClientsWithMoney,
) -> PhoneSignIn:
    """Returns it. Raises ValueError for a secret that is too short."""
    secret = settings.sign_in_secret.get_secret_value()
    if not secret:
        return PhoneSignIn()
    db, clock = shared.db, shared.clock
    issuer = TokenIssuer(secret, clock)
    refreshes = RefreshCalls(db, issuer, access.verifier, clock)
    hasher = CodeHasher(secret)
    sender = _sender(settings, shared)
    if sender is None:
        return PhoneSignIn(refreshes=refreshes)
    countries = [code.strip() for code in settings.sign_in_countries.split(",")]
    rules = CodeRules(
        sender,
        hasher,
        countries,
        settings.sign_in_codes_per_hour,
        settings.sign_in_codes_per_address,
    )
    accounts = Accounts(db, admin, with_money, clock)
    return PhoneSignIn(SignInCalls(db, rules, accounts, issuer, clock), refreshes)


def _sender(settings: Settings, shared: Shared) -> Sender | None:
    match settings.sign_in_sender:
        case "console":
            return ConsoleSender()
        case "nikita":
            return NikitaSender(
                shared.http,
                url=settings.sms_url,
                login=settings.sms_login,
                password=settings.sms_password,
                sender=settings.sms_name,
            )
        case _:
            return None


def _off() -> NotFound:
    return NotFound("phone_sign_in_off", "EVPOWER_SIGN_IN_SENDER and _SECRET are not set")
