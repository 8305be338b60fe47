"""Meter values as a station writes them, with the faults it makes in them."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from ocpp.v16.enums import ReadingContext

from evpower.foundation.clock import to_z
from evpower.simulator.faults import ENERGY, Faults
from evpower.simulator.frames import Payload
from evpower.simulator.model import VOLTAGE_V

_WH_PER_KWH: Final = 1000


@dataclass(frozen=True, slots=True)
class MeterReading:
    """What a connector measures at a moment."""

    register_wh: int
    power_w: int
    soc_percent: float | None


def write_stamp(now: datetime, offset_s: float, faults: Faults) -> str:
    """Returns the station's time as text."""
    if faults.clock_text is not None:
        return faults.clock_text
    at = now + timedelta(seconds=offset_s + faults.clock_skew_s)
    text = to_z(at.replace(microsecond=at.microsecond // 1000 * 1000))
    return text.removesuffix("Z") if faults.clock_without_zone else text


def write_meter_value(
    reading: MeterReading,
    stamp: str,
    context: ReadingContext,
    measurands: list[str],
    faults: Faults,
) -> Payload | None:
    """Returns a MeterValue, None when the faults leave no sample."""
    samples = [
        _write_sample(measurand, reading, context, faults)
        for measurand in measurands
        if measurand not in faults.missing
    ]
    samples = [sample for sample in samples if sample]
    if faults.two_registers:
        samples.append({"value": "0", "context": ReadingContext.transaction_begin.value})
    if faults.current_max:
        samples.append({"value": "16.000", "context": "CurrentMax", "unit": "A"})
    if faults.values_as_numbers:
        for sample in samples:
            sample["value"] = float(sample["value"] or 0)
    return {"timestamp": stamp, "sampledValue": samples} if samples else None


def _write_sample(
    measurand: str, reading: MeterReading, context: ReadingContext, faults: Faults
) -> Payload:
    place = {"context": context.value, "measurand": measurand}
    if measurand == ENERGY:
        written = _write_energy(reading.register_wh, context, faults)
    elif measurand == "Power.Active.Import":
        written = place | {"value": str(reading.power_w), "unit": "W"}
    elif measurand == "SoC":
        if reading.soc_percent is None:
            return {}
        value = f"{reading.soc_percent:.0f}"
        written = place | {"value": value, "unit": "Percent", "location": "EV"}
    elif measurand == "Current.Import":
        written = place | {"value": f"{reading.power_w / VOLTAGE_V:.1f}", "unit": "A"}
    elif measurand == "Voltage":
        written = place | {"value": f"{VOLTAGE_V:.1f}", "unit": "V"}
    else:
        return {}
    if measurand in faults.blank:
        written["value"] = ""
    return written


def _write_energy(register_wh: int, context: ReadingContext, faults: Faults) -> Payload:
    if context is ReadingContext.sample_periodic and faults.zero_samples > 0:
        faults.zero_samples -= 1
        register_wh = 0
    sample: Payload = {"value": str(register_wh), "context": context.value}
    if faults.kwh_samples:
        kwh = register_wh / _WH_PER_KWH
        sample |= {"value": f"{kwh:.{faults.kwh_decimals}f}", "unit": "kWh"}
    elif not faults.without_unit:
        sample["unit"] = "Wh"
    if not faults.without_unit:
        sample["measurand"] = ENERGY
    return sample
