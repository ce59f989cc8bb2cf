"""Clients of an emulated AWS."""

from __future__ import annotations

from http.client import HTTPException
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

# What a call may raise: no answer, a refusal, an answer that is not EC2's XML; the last two are those
# of calls that are not boto3's.
CALL_ERRORS = (BotoCoreError, ClientError, ResponseParserError, OSError, HTTPException)


def client(service: str, endpoint: str, region: str, patience: float = 30.0) -> Any:
    """A client with made-up credentials, so that real ones can never reach the emulator.

    `patience` is how many seconds it waits for an answer.
    """
    return boto3.client(
        service,
        endpoint_url=endpoint,
        region_name=region,
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(
            # A proxy from the environment must not come between us and loopback.
            proxies={},
            connect_timeout=5,
            read_timeout=patience,
            # Who calls decides about a second try.
            retries={"total_max_attempts": 1},
        ),
    )
