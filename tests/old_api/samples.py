"""One answer of each route that every revision takes, but for the word for a free station."""

from typing import Any, Final

_NESTED: Final = {
    "id": "6f1c2d0e", "session_id": "6f1c2d0e", "status": "started", "station_id": "EVP-1",
    "connector_id": 1, "start_time": "2025-09-25T10:00:00Z", "stop_time": "2025-09-25T10:30:00Z",
    "energy_consumed": 3.25, "current_cost": 43.88, "reserved_amount": 100.0,
    "limit_type": "amount", "limit_value": 100.0, "limit_reached": False, "limit_percentage": 43.9,
    "rate_per_kwh": 13.5, "session_fee": 0.0, "ocpp_transaction_id": 812, "transaction_id": "812",
    "ocpp_status": "Started", "meter_start": 1000, "meter_current": 4250,
    "charging_duration_minutes": 12,
}  # fmt: skip
SAMPLES: Final[dict[str, dict[str, Any]]] = {
    "start": {
        "success": True, "session_id": "6f1c2d0e", "connector_id": 1, "reserved_amount": 100.0,
        "limit_type": "amount", "limit_value": 100, "rate_per_kwh": 13.5, "session_fee": 0.0,
        "message": "Зарядка начинается.",
    },
    "stop": {
        "success": True, "final_cost": 43.88, "energy_consumed": 3.25, "duration_minutes": 12,
        "refunded_amount": 56.12, "additional_charge": 0.0, "message": "Зарядка завершена.",
    },
    "status": {
        "success": True, "session": _NESTED, "session_id": "6f1c2d0e", "status": "started",
        "station_id": "EVP-1", "start_time": "2025-09-25T10:00:00Z", "cost": 43.88,
        "last_update": "2025-09-25T10:12:00Z", "transaction_id": "812",
        "ocpp_transaction_id": "812", "ocpp_status": "Started", "station_online": True,
        "temperatures": {"station_body": 31},
    },
    "station": {
        "success": True, "station_id": "EVP-1", "serial_number": "SN-1", "model": "X1",
        "manufacturer": "Maker", "online": True, "station_status": "active",
        "location_status": "active", "available_for_charging": True, "location_id": "mall",
        "location_name": "Mall", "location_address": "Chui 1, Бишкек", "total_connectors": 1,
        "available_connectors": 1, "occupied_connectors": 0, "faulted_connectors": 0,
        "tariff_rub_kwh": 13.5, "session_fee": 0.0, "currency": "KGS", "working_hours": "24h",
        "connectors": [
            {"id": 1, "type": "CCS2", "status": "Свободен", "available": True, "power_kw": 22.0,
             "error": None},
        ],
    },
    "locations": {
        "success": True, "total": 1,
        "locations": [
            {
                "id": "mall", "name": "Mall", "address": "Chui 1, Бишкек", "city": "Бишкек",
                "country": "KGZ", "latitude": 42.87, "longitude": 74.56,
                "coordinates": {"latitude": 42.87, "longitude": 74.56}, "status": "available",
                "stations_count": 1, "connectors_count": 1, "available_connectors": 1,
                "stations_summary": {
                    "total": 1, "available": 1, "occupied": 0, "offline": 0, "maintenance": 0,
                },
                "connectors_summary": {"total": 1, "available": 1, "occupied": 0, "faulted": 0},
                "stations": [
                    {
                        "id": "EVP-1", "serial_number": "SN-1", "model": "X1",
                        "manufacturer": "Maker", "status": "available", "power_capacity": 22.0,
                        "connectors_count": 1, "connector_types": ["CCS2"], "price_per_kwh": 13.5,
                        "session_fee": 0.0, "currency": "KGS",
                        "tariff": {"price_per_kwh": 13.5, "session_fee": 0.0, "currency": "KGS"},
                        "connectors_summary": {
                            "total": 1, "available": 1, "occupied": 0, "faulted": 0,
                        },
                    },
                ],
            },
        ],
    },
    "top_up": {
        "success": True, "invoice_id": "123456789012", "order_id": "EVP-9", "qr_code": "0002010102",
        "qr_code_url": "https://bank.example/qr.png", "app_link": "https://bank.example/pay",
        "payment_url": "https://bank.example/pay", "amount": 100.0, "client_id": "0c1f3a58",
        "current_balance": 0.0, "qr_expires_at": "2025-09-25T10:05:00Z",
        "invoice_expires_at": "2025-09-25T10:05:00Z", "qr_lifetime_seconds": 300,
        "invoice_lifetime_seconds": 300,
    },
    "payment": {
        "success": True, "status": 1, "status_text": "approved", "amount": 100.0,
        "paid_amount": 100.0, "invoice_id": "123456789012", "qr_expired": False,
        "invoice_expired": False, "qr_expires_at": "2025-09-25T10:05:00Z",
        "invoice_expires_at": "2025-09-25T10:05:00Z", "can_proceed": True,
        "can_start_charging": False, "last_status_check_at": "2025-09-25T10:01:00Z",
        "needs_callback_check": False,
    },
    "balance": {
        "success": True, "client_id": "0c1f3a58", "balance": 250.5, "currency": "KGS",
        "last_topup_at": "2025-09-25T10:01:00Z", "total_spent": 99.5,
    },
}  # fmt: skip
