"""What `evpower doctor` says of EvPower's objects in Supabase, by public.evpower_installed.

What belongs there is one list, evpower.expected_objects() of supabase/source. The function answers
what differs from it; here each kind of fault gets its line and what to do about it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self, cast

from evpower import sync
from evpower.cli.doctor_calls import call
from evpower.cli.finding import Finding
from evpower.config import Settings
from evpower.devstack import EDITION, FILE, UNRELEASED
from evpower.foundation.http import HttpClient

_NOT_FOUND: Final = 404
_INSTALLED: Final = "evpower_installed"
# The first edition that was released, and the version of its file: some unreleased one had it too.
_FIRST_EDITION: Final = "0.1.0"
_FIRST_VERSION: Final = "20261129000000"
# Calls that change nothing. PostgREST answers 404 for a function that it does not know.
_PROBES: Final[tuple[tuple[str, dict[str, object]], ...]] = (
    ("evpower_apply", {}),
    ("evpower_digest", {"topic": "clients", "ids": []}),
    ("evpower_openings", {"limit": 1}),
    ("evpower_status_words", {}),
    ("evpower_archive", {}),
    ("evpower_compare_rows", {}),
    ("evpower_guard", {}),
    ("evpower_changes", {"limit": 1}),
    ("evpower_people", {"ids": []}),
    ("evpower_changes_prune", {}),
    ("evpower_webhook_configure", {}),
    ("evpower_webhook_status", {}),
    ("evpower_webhook_result", {}),
)
# Brings all of it, with the connection string of the dashboard.
_APPLY: Final = (
    'psql "$SUPABASE_DATABASE_URL" -v ON_ERROR_STOP=1 --single-transaction'
    f" -f supabase/migrations/{FILE}, or `supabase db push` (docs/deploy.md)"
)
_REPAIR: Final = "supabase migration repair --status reverted"
_SHOWN: Final = 8
_VERSION_FAULTS: Final = {
    "missing": "missing",
    "older": f"older than {EDITION}",
    "newer": "newer than the rest",
    "changed": "changed since it was installed",
    "unknown": "can't be compared until it is installed again",
}


@dataclass(frozen=True, slots=True)
class ObjectFault:
    """One object that differs. `detail`: the version, owner or rights found."""

    file: str
    kind: str
    name: str
    fault: str
    detail: str

    @classmethod
    def read(cls, raw: Mapping[str, object]) -> Self:
        """Returns the fault of the answer's entry. Raises KeyError for an unknown form."""
        return cls(
            *(str(raw[name]) for name in ("file", "kind", "name", "fault")),
            detail=str(raw.get("detail") or ""),
        )


@dataclass(frozen=True, slots=True)
class Installed:
    """The answer of evpower_installed."""

    version: str
    owner: str
    faults: tuple[ObjectFault, ...]
    history: tuple[str, ...]

    def of(self, *faults: str) -> list[ObjectFault]:
        """Returns the faults of these kinds, in the order of the files."""
        return [fault for fault in self.faults if fault.fault in faults]


async def examine_installed(settings: Settings, http: HttpClient) -> list[Finding]:
    """Returns a line for each function EvPower calls and for each kind of fault.

    Raises HttpError where Supabase does not answer.
    """
    answer = await call(settings, http, _INSTALLED, {})
    installed: Installed | None = None
    lines: list[Finding]
    if answer.status_code == _NOT_FOUND:
        detail = f"missing: {_INSTALLED}; nothing of EvPower is installed, or an unreleased one"
        lines = [Finding("Supabase migrations", False, detail, _apply_over_unreleased())]
    else:
        try:
            facts = cast("Mapping[str, object]", sync.read_response(_INSTALLED, answer))
            if "version" in facts:
                installed = _read(facts)
                lines = judge(installed)
            else:
                lines = [_unreleased(facts)]
        except (sync.SyncError, KeyError, TypeError, ValueError, AttributeError) as error:
            lines = [Finding("Supabase migrations", False, f"can't tell: {error}", _APPLY)]
    functions = [
        await _function(settings, http, installed, name, payload) for name, payload in _PROBES
    ]
    return [*functions, *lines]


def judge(installed: Installed) -> list[Finding]:
    """Returns the lines for what evpower_installed answered."""
    return [
        _migrations(installed),
        _line(
            "Supabase triggers",
            installed.of("disabled"),
            "all on",
            lambda fault: f"off: {fault.kind} {fault.name}",
            "; ".join(_switch_on(fault) for fault in installed.of("disabled")),
        ),
        _line(
            "Supabase owners",
            installed.of("wrong_owner"),
            f"all {installed.owner}",
            lambda fault: f"{fault.kind} {fault.name} belongs to {fault.detail}",
            "; ".join(
                f"alter {fault.kind} {fault.name} owner to {installed.owner}"
                for fault in installed.of("wrong_owner")
            )
            + " (as the present owner; if that is refused, Supabase's support does it)",
        ),
        _line(
            "Supabase rights",
            installed.of("wrong_grant"),
            "as installed",
            lambda fault: f"{fault.kind} {fault.name}: {fault.detail}",
            f"grants and revokes stand in the file of the migration: {_APPLY}",
        ),
        _history(installed),
    ]


def _migrations(installed: Installed) -> Finding:
    faults = installed.of(*_VERSION_FAULTS)
    theirs, ours = _numbers(installed.version), _numbers(EDITION)
    if theirs < ours:
        detail = f"Supabase has EvPower {installed.version}, this EvPower brings {EDITION}"
        return Finding("Supabase migrations", False, detail, _apply_over_unreleased())
    fix = _APPLY
    if theirs > ours:  # what was installed knows its own file better
        fix = f"apply the file of EvPower {installed.version} again, or upgrade EvPower to it"
    elif installed.of("newer"):
        fix = f"the file of a newer EvPower was applied in part: apply all of it, or go back: {fix}"
    elif installed.of("older"):
        fix = _apply_over_unreleased()
    newer = f", of the newer EvPower {installed.version}" if theirs > ours else ""
    return _line(
        "Supabase migrations",
        faults,
        f"all there{newer}",
        lambda fault: (
            f"{_VERSION_FAULTS[fault.fault]}: {fault.kind} {fault.name}"
            f" ({', '.join(part for part in (fault.file, fault.detail) if part)})"
        ),
        fix,
    )


def _history(installed: Installed) -> Finding:
    unreleased = [version for version in installed.history if version in UNRELEASED]
    return Finding(
        "Supabase history",
        not unreleased,
        f"names files of an unreleased EvPower: {' '.join(unreleased)}"
        if unreleased
        else "names no unreleased file",
        f"{_REPAIR} {' '.join(unreleased)}: it changes the history and nothing else; without it"
        " `supabase db push` refuses to go on (docs/deploy.md, Upgrading to 0.1.0)",
    )


def _unreleased(facts: Mapping[str, object]) -> Finding:
    """Says what to do with a project that has an EvPower from before 0.1.0."""
    lacking = cast("Sequence[tuple[str, str]]", facts["lacking"])
    lacking_text = "".join(f"; {file}: {name}" for file, name in lacking[:_SHOWN])
    detail = f"made by an unreleased EvPower, before {_FIRST_EDITION}{lacking_text}"
    return Finding("Supabase migrations", False, detail, _apply_over_unreleased())


def _apply_over_unreleased() -> str:
    versions = " ".join((*UNRELEASED, _FIRST_VERSION))
    return (
        f"{_APPLY}. Where the CLI applied an unreleased EvPower and `supabase db push` refuses or"
        f" finds nothing to do, before it: {_REPAIR} {versions} (docs/deploy.md, Upgrading to"
        f" {_FIRST_EDITION})"
    )


def _line(
    name: str,
    faults: Sequence[ObjectFault],
    fine: str,
    text: Callable[[ObjectFault], str],
    fix: str,
) -> Finding:
    parts = [text(fault) for fault in faults[:_SHOWN]]
    if len(faults) > _SHOWN:
        parts.append(f"and {len(faults) - _SHOWN} more")
    return Finding(name, not faults, "; ".join(parts) or fine, fix)


def _switch_on(fault: ObjectFault) -> str:
    if fault.kind == "table":
        return f"alter table {fault.name} enable row level security"
    trigger, _, table = fault.name.partition(" on ")
    return f"alter table {table} enable trigger {trigger} (as the owner of {table})"


async def _function(
    settings: Settings,
    http: HttpClient,
    installed: Installed | None,
    name: str,
    payload: Mapping[str, object],
) -> Finding:
    answer = await call(settings, http, name, payload)
    title = f"Supabase function {name}"
    if answer.status_code != _NOT_FOUND:
        is_ours = answer.status_code not in {401, 403}
        return Finding(title, is_ours, f"there ({answer.status_code})", _APPLY)
    if installed is None:
        return Finding(title, False, "missing", _APPLY)
    files = [
        fault.file for fault in installed.of("missing") if fault.name.startswith(f"public.{name}(")
    ]
    if not files:
        detail = "is there, and PostgREST does not know it yet"
        return Finding(title, False, detail, "in the SQL editor: notify pgrst, 'reload schema'")
    return Finding(title, False, f"missing: {files[0]}", _APPLY)


def _read(facts: Mapping[str, object]) -> Installed:
    return Installed(
        version=str(facts["version"]),
        owner=str(facts["owner"]),
        faults=tuple(
            ObjectFault.read(fault) for fault in cast("list[Mapping[str, object]]", facts["faults"])
        ),
        history=tuple(str(version) for version in cast("list[object]", facts["history"])),
    )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
