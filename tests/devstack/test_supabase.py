"""The local Supabase behaves like the hosted one where EvPower and its apps touch it."""

import json
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import bcrypt_fixture
import httpx
import jwt
import pytest
import pytest_asyncio

from evpower.devstack import children
from evpower.devstack.errors import DevstackError
from evpower.devstack.postgres import EmbeddedPostgres
from evpower.devstack.supabase import SERVER_DIR, LocalSupabase, node_binary

HERE = Path(__file__).parent
PASSWORD = "secret12"
pytestmark = pytest.mark.asyncio(loop_scope="package")
