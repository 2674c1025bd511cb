"""Makes calls as the JSON in the first argument says, and prints what came of each as a line of JSON."""

import json
import sys
import time

from openai import APIError, APIStatusError, OpenAI

asked = json.loads(sys.argv[1])
client = OpenAI(
    base_url=asked["url"] + "/v1", api_key="none", max_retries=asked["retries"], timeout=20
)
request = {"model": asked["model"], "messages": [{"role": "user", "content": "Hello"}]}
if asked["tools"]:
    request["tools"] = [{"type": "function", "function": {"name": "weather"}}]


def call(is_stream):
    """Text and tool calls that came, until the end or until the client leaves."""
    if not is_stream:
        message = client.chat.completions.create(**request).choices[0].message
        yield message.content or ""
        for tool in message.tool_calls or []:
            yield tool.function.name + tool.function.arguments
        return
    stream = client.chat.completions.create(stream=True, **request)
    for number, chunk in enumerate(stream):
        if number == asked["leave_after"]:
            stream.close()
            return
        delta = chunk.choices[0].delta
        yield delta.content or ""
        for tool in delta.tool_calls or []:
            yield (tool.function.name or "") + (tool.function.arguments or "")


for number in range(asked["times"]):
    said = {"text": "", "error": None, "status": None, "code": None, "wait": None, "at": time.time()}
    try:
        for part in call(asked["stream"] or (asked["stream"] is None and number % 2 == 0)):
            said["text"] += part
    except APIError as raised:
        said["error"] = type(raised).__name__
        said["code"] = raised.code
        if isinstance(raised, APIStatusError):
            said["status"] = raised.status_code
            said["wait"] = raised.response.headers.get("retry-after-ms")
    said["took"] = time.time() - said["at"]
    print(json.dumps(said))
    time.sleep(asked["pause"])
