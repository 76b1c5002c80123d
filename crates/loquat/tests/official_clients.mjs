// What the official JavaScript clients send, as their documentation says to call them: one request a case, to the server at the
// first argument. The server records the requests; official_clients.rs compares them with ours. Answers are of no interest.

import Anthropic from "@anthropic-ai/sdk";
import OpenAI, { toFile } from "openai";

const base = process.argv[2];
const api = new OpenAI({ baseURL: `${base}/v1`, apiKey: "key", maxRetries: 0 });
const claude = new Anthropic({ baseURL: base, apiKey: "key", maxRetries: 0 });

const PIXEL = "iVBORw0KGgo=";
const PARAMETERS = {
  type: "object",
  properties: { city: { type: "string" } },
  required: ["city"],
  additionalProperties: false,
};
const FUNCTION = {
  type: "function",
  function: { name: "weather", description: "The weather.", parameters: PARAMETERS },
};
const TOOL = { name: "weather", description: "The weather.", input_schema: PARAMETERS };
const PLACE = {
  type: "object",
  properties: { name: { type: "string" }, people: { type: "integer" } },
  required: ["name", "people"],
  additionalProperties: false,
};

const chat = (more) => api.chat.completions.create({ model: "m", stream: false, ...more });
const respond = (more) => api.responses.create({ model: "m", stream: false, ...more });
const message = (more) => claude.messages.create({ model: "m", max_tokens: 100, stream: false, ...more });
const user = (...content) => ({ role: "user", content });
const text = (text) => ({ type: "text", text });
const call = (id, city) => ({
  id,
  type: "function",
  function: { name: "weather", arguments: `{"city":"${city}"}` },
});

const CASES = {
  "chat-plain": () =>
    chat({
      messages: [
        { role: "system", content: "be brief" },
        { role: "user", content: "hi" },
      ],
      temperature: 0.5,
      top_p: 0.25,
      max_completion_tokens: 9,
      stop: ["a", "b"],
      seed: 7,
      n: 2,
      logprobs: true,
      top_logprobs: 3,
      reasoning_effort: "low",
      prompt_cache_key: "k",
    }),
  "chat-stream": () =>
    chat({ messages: [{ role: "user", content: "hi" }], stream: true, stream_options: { include_usage: true } }),
  "chat-tools": () =>
    chat({
      messages: [
        { role: "user", content: "weather?" },
        { role: "assistant", content: null, tool_calls: [call("c1", "Oslo"), call("c2", "Rome")] },
        { role: "tool", tool_call_id: "c1", content: "rain" },
        { role: "tool", tool_call_id: "c2", content: "sun" },
      ],
      tools: [FUNCTION],
      tool_choice: { type: "function", function: { name: "weather" } },
      parallel_tool_calls: true,
    }),
  "chat-image": () =>
    chat({
      messages: [
        user(
          text("what is this?"),
          { type: "image_url", image_url: { url: `data:image/png;base64,${PIXEL}` } },
          { type: "image_url", image_url: { url: "https://example.com/a.png" } },
        ),
      ],
    }),
  "chat-structured": () =>
    chat({
      messages: [{ role: "user", content: "where?" }],
      response_format: { type: "json_schema", json_schema: { name: "Place", schema: PLACE, strict: true } },
    }),
  "responses-plain": () =>
    respond({
      input: [
        { role: "system", content: "be brief" },
        { role: "user", content: "hi" },
      ],
      temperature: 0.5,
      max_output_tokens: 20,
      reasoning: { effort: "low" },
    }),
  "responses-tools": () =>
    respond({
      input: [
        { role: "user", content: "weather?" },
        { type: "function_call", call_id: "c1", name: "weather", arguments: '{"city":"Oslo"}' },
        { type: "function_call_output", call_id: "c1", output: "rain" },
      ],
      tools: [{ type: "function", name: "weather", description: "The weather.", parameters: PARAMETERS, strict: true }],
      tool_choice: "required",
    }),
  "messages-plain": () =>
    message({
      system: [text("be brief")],
      messages: [user(text("hi"))],
      stop_sequences: ["a"],
      temperature: 0.5,
      top_p: 0.25,
    }),
  "messages-tools": () =>
    message({
      messages: [
        user(text("weather?")),
        {
          role: "assistant",
          content: [
            { type: "thinking", thinking: "hm", signature: "seal" },
            { type: "tool_use", id: "c1", name: "weather", input: { city: "Oslo" } },
          ],
        },
        user({ type: "tool_result", tool_use_id: "c1", content: "rain" }),
      ],
      tools: [TOOL],
      tool_choice: { type: "tool", name: "weather" },
    }),
  "messages-image": () =>
    message({
      messages: [
        user(text("what is this?"), {
          type: "image",
          source: { type: "base64", media_type: "image/png", data: PIXEL },
        }),
      ],
    }),
  "messages-count": () =>
    claude.messages.countTokens({ model: "m", system: [text("be brief")], messages: [user(text("hi"))] }),
  embeddings: () => api.embeddings.create({ model: "m", input: ["a", "b"], encoding_format: "float" }),
  files: async () =>
    api.files.create({ file: await toFile(Buffer.from("abc"), "a.txt", { type: "text/plain" }), purpose: "user_data" }),
  batch: () =>
    api.batches.create({ input_file_id: "file-1", endpoint: "/v1/chat/completions", completion_window: "24h" }),
  "messages-batch": () =>
    claude.messages.batches.create({
      requests: [
        {
          custom_id: "one",
          params: { model: "m", max_tokens: 5, messages: [user(text("hi"))], stream: false },
        },
      ],
    }),
};

for (const [name, send] of Object.entries(CASES)) {
  try {
    await send();
  } catch (error) {
    // An answer that is none; what was sent is what counts.
    console.error(`${name}: ${error}`);
  }
}
console.log(Object.keys(CASES).join("\n"));
