"""Instruments: how what `headrace.telemetry` lists is counted, read from the ledger and written for Prometheus and OpenTelemetry.

Whose figures they are, and when they change, belongs to the worker and the gateway.
"""
