"""Clients, registration, access tokens, service keys, operators."""

from evpower.identity.access import Access, may_read
from evpower.identity.audit import record_act
from evpower.identity.clients import (
    block_client,
    close_client,
    ensure,
    ensure_client,
    get_client,
    require_active,
    unblock_client,
    update_profile,
)
from evpower.identity.endpoints import router
from evpower.identity.introspect import introspect
from evpower.identity.jobs import converge_registrations
from evpower.identity.model import (
    Claims,
    Client,
    CreatedKey,
    Operator,
    Principal,
    Profile,
    ServiceKey,
)
from evpower.identity.operators import add_operator, list_operators, remove_operator
from evpower.identity.profile import profile_of
from evpower.identity.register import Application, register
from evpower.identity.service_keys import create_service_key, list_service_keys, revoke_service_key
from evpower.identity.supabase_admin import SupabaseAdmin
from evpower.identity.tokens import TokenVerifier

__all__ = [
    "Access",
    "Application",
    "Claims",
    "Client",
    "CreatedKey",
    "Operator",
    "Principal",
    "Profile",
    "ServiceKey",
    "SupabaseAdmin",
    "TokenVerifier",
    "add_operator",
    "block_client",
    "close_client",
    "converge_registrations",
    "create_service_key",
    "ensure",
    "ensure_client",
    "get_client",
    "introspect",
    "list_operators",
    "list_service_keys",
    "may_read",
    "profile_of",
    "record_act",
    "register",
    "remove_operator",
    "require_active",
    "revoke_service_key",
    "router",
    "unblock_client",
    "update_profile",
]
