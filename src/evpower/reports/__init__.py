"""What a day brought: energy, revenue and uptime by station, location and owner."""

from evpower.reports.daily import daily_report, last_day
from evpower.reports.model import DailyReport, Figures
from evpower.reports.module import module
from evpower.reports.shown import report_csv, report_json
from evpower.reports.totals import period_totals

__all__ = [
    "DailyReport",
    "Figures",
    "daily_report",
    "last_day",
    "module",
    "period_totals",
    "report_csv",
    "report_json",
]
