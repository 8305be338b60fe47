"""What a message says, in Russian, Kyrgyz and English."""

from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Decimal
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from evpower.foundation.language import Sentence
from evpower.foundation.money import to_text
from evpower.push.model import PushEvent, PushLanguage, PushMessage

_WH_PER_KWH: Final = 1000
_SHOWN_KWH: Final = Decimal("0.01")


class PushText(NamedTuple):
    """A notification's two lines."""

    title: str
    body: str


# The body of a failed start and the end of a stop's are the sentences that the app itself shows.
TEXTS: Final[Mapping[PushLanguage, Mapping[PushEvent, PushText]]] = MappingProxyType({
    "ru": {
        "started": PushText("Зарядка началась", "{place}."),
        "start_failed": PushText("Зарядка не началась", "{place}. {sentence}"),
        "limit_near": PushText(
            "Лимит почти достигнут", "Заряжено {energy} кВт·ч на {cost} сом. Лимит: {limit}."
        ),
        "hold_near": PushText(
            "Деньги на зарядку заканчиваются",
            "Потрачено {cost} из {held} сом. Пополните баланс, иначе зарядка остановится.",
        ),
        "stopped": PushText("Зарядка завершена", "{energy} кВт·ч, {cost} сом. {sentence}"),
        "station_lost": PushText("Станция не на связи", "{place}. {sentence}"),
    },
    "ky": {
        "started": PushText("Кубаттоо башталды", "{place}."),
        "start_failed": PushText("Кубаттоо башталган жок", "{place}. {sentence}"),
        "limit_near": PushText(
            "Чекке аз калды", "{energy} кВт·саат кубатталды, {cost} сом. Чек: {limit}."
        ),
        "hold_near": PushText(
            "Кубаттоого акча түгөнүп баратат",
            "{held} сомдун {cost} сому жумшалды. Балансты толуктаңыз, болбосо кубаттоо токтойт.",
        ),
        "stopped": PushText("Кубаттоо бүттү", "{energy} кВт·саат, {cost} сом. {sentence}"),
        "station_lost": PushText("Станция менен байланыш жок", "{place}. {sentence}"),
    },
    "en": {
        "started": PushText("Charging has started", "{place}."),
        "start_failed": PushText("Charging did not start", "{place}. {sentence}"),
        "limit_near": PushText(
            "The limit is nearly reached", "{energy} kWh for {cost} som. The limit: {limit}."
        ),
        "hold_near": PushText(
            "The money for this charge is nearly used",
            "{cost} of {held} som are used. Top up, or charging will stop.",
        ),
        "stopped": PushText("Charging is finished", "{energy} kWh, {cost} som. {sentence}"),
        "station_lost": PushText("The station can't be reached", "{place}. {sentence}"),
    },
})  # fmt: skip
_KWH: Final[Mapping[PushLanguage, str]] = MappingProxyType(
    {"ru": "кВт·ч", "ky": "кВт·саат", "en": "kWh"}
)
_SOM: Final[Mapping[PushLanguage, str]] = MappingProxyType({"ru": "сом", "ky": "сом", "en": "som"})


def text_of(message: PushMessage, sentence: Sentence) -> PushText:
    """Returns the lines of a message in its device's language."""
    language, facts = message.language, message.facts
    pattern = TEXTS[language][message.event]
    values = {
        "place": _place(facts),
        "energy": _energy(facts.get("energy_wh", 0), language),
        "cost": _money(facts.get("cost_minor", 0), language),
        "held": _money(facts.get("held_minor", 0), language),
        "limit": _limit(facts, language),
        "sentence": sentence(_codes(message), language),
    }
    return PushText(pattern.title, pattern.body.format_map(values))


def _codes(message: PushMessage) -> list[str]:
    facts = message.facts
    if message.event == "start_failed":
        return [f"failed_{facts.get('start_failure')}", f"session_{facts.get('state')}"]
    if message.event == "station_lost":
        return ["session_station_lost"]
    if facts.get("is_quarantined"):
        return ["session_under_review"]
    return [f"ended_{facts.get('end_reason')}", "session_finished"]


def _place(facts: Mapping[str, Any]) -> str:
    station = f"{facts.get('station_id')}/{facts.get('connector_id')}"
    location = facts.get("location")
    return f"{location}, {station}" if location else station


def _limit(facts: Mapping[str, Any], language: PushLanguage) -> str:
    parts: list[str] = []
    if (energy_wh := facts.get("limit_energy_wh")) is not None:
        parts.append(f"{_energy(energy_wh, language)} {_KWH[language]}")
    if (amount_minor := facts.get("limit_amount_minor")) is not None:
        parts.append(f"{_money(amount_minor, language)} {_SOM[language]}")
    return ", ".join(parts)


def _energy(energy_wh: int, language: PushLanguage) -> str:
    kwh = (Decimal(energy_wh) / _WH_PER_KWH).quantize(_SHOWN_KWH, ROUND_HALF_UP)
    return _decimal(str(kwh), language)


def _money(minor: int, language: PushLanguage) -> str:
    return _decimal(to_text(minor), language)


def _decimal(number: str, language: PushLanguage) -> str:
    return number if language == "en" else number.replace(".", ",")
