"""Streams one chat completion, and prints what came of it as JSON."""

import json
import sys

from openai import APIError, OpenAI

client = OpenAI(base_url=sys.argv[1], api_key="none", max_retries=0, timeout=20)
text, error = "", None
try:
    stream = client.chat.completions.create(
        model="any", messages=[{"role": "user", "content": "Hello"}], stream=True
    )
    for chunk in stream:
        text += chunk.choices[0].delta.content or ""
except APIError as raised:
    error = f"{type(raised).__name__} {getattr(raised, 'status_code', '')}".strip()
print(json.dumps({"text": text, "error": error}))
