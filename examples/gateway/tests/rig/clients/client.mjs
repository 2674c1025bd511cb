// Makes calls as the JSON in the first argument says, and prints what came of each as a line of JSON.

import OpenAI from "openai";

const asked = JSON.parse(process.argv[2]);
const client = new OpenAI({
  baseURL: asked.url + "/v1",
  apiKey: "none",
  maxRetries: asked.retries,
  timeout: 20_000,
});
const request = { model: asked.model, messages: [{ role: "user", content: "Hello" }] };
if (asked.tools) {
  request.tools = [{ type: "function", function: { name: "weather" } }];
}

// Text and tool calls that came, until the end or until the client leaves.
async function* call(isStream) {
  if (!isStream) {
    const { message } = (await client.chat.completions.create(request)).choices[0];
    yield message.content ?? "";
    for (const tool of message.tool_calls ?? []) {
      yield tool.function.name + tool.function.arguments;
    }
    return;
  }
  const stream = await client.chat.completions.create({ ...request, stream: true });
  let number = 0;
  for await (const chunk of stream) {
    if (number++ === asked.leave_after) {
      return;
    }
    const { delta } = chunk.choices[0];
    yield delta.content ?? "";
    for (const tool of delta.tool_calls ?? []) {
      yield (tool.function.name ?? "") + (tool.function.arguments ?? "");
    }
  }
}

for (let number = 0; number < asked.times; number++) {
  const began = performance.now();
  const said = { text: "", error: null, status: null, code: null };
  try {
    for await (const part of call(asked.stream ?? number % 2 === 0)) {
      said.text += part;
    }
  } catch (raised) {
    if (!(raised instanceof OpenAI.APIError)) throw raised;
    said.error = raised.constructor.name;
    said.status = raised.status ?? null;
    said.code = raised.code ?? null;
  }
  console.log(JSON.stringify({ ...said, took: (performance.now() - began) / 1000 }));
  await new Promise((resolve) => setTimeout(resolve, asked.pause * 1000));
}
