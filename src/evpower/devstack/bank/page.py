"""The sandbox bank's checkout page, in Russian, Kyrgyz and English."""

from html import escape
from typing import Any, Final

import segno

from evpower.devstack.bank.state import BankInvoice

_TEXTS: Final = {
    "ru": {
        "title": "Оплата",
        "bank": "Банк-песочница: деньги не настоящие",
        "scan": "Отсканируйте QR или нажмите кнопку",
        "approve": "Оплатить",
        "cancel": "Отменить",
        "processing": "Ожидает оплаты",
        "approved": "Оплачено",
        "canceled": "Отменено",
        "refunded": "Возвращено",
        "partial_refund": "Возвращено частично",
        "som": "сом",
    },
    "ky": {
        "title": "Төлөм",
        "bank": "Сыноо банкы: акча чыныгы эмес",
        "scan": "QR-кодду сканерлеңиз же баскычты басыңыз",
        "approve": "Төлөө",
        "cancel": "Жокко чыгаруу",
        "processing": "Төлөм күтүлүүдө",
        "approved": "Төлөндү",
        "canceled": "Жокко чыгарылды",
        "refunded": "Кайтарылды",
        "partial_refund": "Жарым-жартылай кайтарылды",
        "som": "сом",
    },
    "en": {
        "title": "Payment",
        "bank": "Sandbox bank: no real money",
        "scan": "Scan the QR or press a button",
        "approve": "Approve",
        "cancel": "Cancel",
        "processing": "Waiting for payment",
        "approved": "Paid",
        "canceled": "Canceled",
        "refunded": "Refunded",
        "partial_refund": "Partly refunded",
        "som": "som",
    },
}
_STYLE: Final = """
:root{color-scheme:light dark}
body{margin:0;min-height:100vh;display:grid;place-items:center;background:#eef2f0;color:#16261f;
font:16px/1.45 system-ui,sans-serif}
main{background:#fff;border-radius:20px;padding:28px;width:min(92vw,416px);box-sizing:border-box;
text-align:center;
box-shadow:0 8px 40px #0002}
h1{font-size:15px;font-weight:600;margin:0;color:#5b6f66}
.amount{font-size:44px;font-weight:700;margin:4px 0}
.qr{background:#fff;border-radius:12px;padding:8px;display:inline-block}
.qr svg{width:220px;height:220px;display:block}
p{margin:8px 0;color:#5b6f66;overflow-wrap:anywhere}
.state{font-weight:600;color:#0a7d4f}
button{width:100%;border:0;border-radius:12px;padding:14px;font:inherit;font-weight:600;
cursor:pointer;margin-top:8px}
.yes{background:#0a7d4f;color:#fff}.no{background:#e4ebe7;color:#16261f}
nav a{color:inherit;margin:0 6px}
@media(prefers-color-scheme:dark){body{background:#0f1714;color:#e7efeb}
main{background:#18231f}p,h1{color:#9fb3a9}.no{background:#26352f;color:#e7efeb}}
"""
HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; form-action 'self'"
    ),
    "Cache-Control": "no-store",
}


def choose_language(wanted: str | None, accept_language: str) -> str:
    """Returns the first supported language that was requested; Russian by default."""
    for tag in [wanted or "", *accept_language.split(",")]:
        code = tag.strip().lower()[:2]
        if code in _TEXTS:
            return code
    return "ru"


def page(invoice: BankInvoice, status: str, link: str, language: str) -> str:
    """Returns the whole page; it reloads every 3 s while the invoice is open."""
    text = _TEXTS[language]
    som, tyiyn = divmod(invoice.amount, 100)
    amount = f"{som:,}".replace(",", "\N{NO-BREAK SPACE}") + (f",{tyiyn:02}" if tyiyn else "")
    is_open = status == "processing"
    reload = '<meta http-equiv="refresh" content="3">' if is_open else ""
    buttons = "".join(
        f'<form method="post" action="{escape(invoice.ref)}/{action}?lang={language}">'
        f'<button class="{look}">{text[action]}</button></form>'
        for action, look in (("approve", "yes"), ("cancel", "no"))
    )
    drawing = qr_code(link).svg_inline(border=2, omitsize=True)  # the page sets its size
    qr = f'<div class="qr">{drawing}</div><p>{text["scan"]}</p>'
    languages = "".join(f'<a href="?lang={code}">{code}</a>' for code in _TEXTS)
    return (
        f'<!doctype html><html lang="{language}"><head><meta charset="utf-8">{reload}'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<link rel="icon" href="data:,">'
        f"<title>{text['title']}</title><style>{_STYLE}</style></head><body><main>"
        f"<h1>{text['title']} · EvPower</h1>"
        f'<div class="amount">{amount} {text["som"]}</div>'
        f"<p>{escape(invoice.description)}</p>"
        f'<p class="state" data-status="{status}">{text[status]}</p>'
        f"{qr + buttons if is_open else ''}"
        f"<p><small>{text['bank']}</small></p><nav><small>{languages}</small></nav>"
        "</main></body></html>"
    )


def qr_code(link: str) -> Any:  # noqa: ANN401 - segno has no types
    """Returns the QR code that opens the page on a phone."""
    return segno.make(link, error="m", micro=False)
