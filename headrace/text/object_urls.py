"""Addresses in object stores, told from paths without importing what reads them."""

from __future__ import annotations

import re

OBJECT_URL = re.compile(r"(s3a?|gs|az|azure|abfss?)://", re.IGNORECASE)
"""The beginning of an address on S3 and what speaks its protocol, Google Cloud Storage or Azure."""
